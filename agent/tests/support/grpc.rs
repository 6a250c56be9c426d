//! Serves gRPC at a unix socket.

use std::convert::Infallible;

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::UnixListener, task::JoinHandle};
use tonic::{body::Body, codegen::Service};

/// Serves every connection until the task is aborted.
pub fn serve<S>(listener: UnixListener, service: S) -> JoinHandle<()>
where
    S: Service<hyper::Request<hyper::body::Incoming>, Response = hyper::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let service = TowerToHyperService::new(service);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let connection = auto::Builder::new(TokioExecutor::new());
                connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            });
        }
    })
}
