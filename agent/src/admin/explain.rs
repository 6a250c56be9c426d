//! `dynamic-networks-agent explain NAMESPACE/POD`: asks the running agent of this node over
//! loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The agent's answer for `pod` (`NAMESPACE/POD`); `listen` is its admin address.
///
/// # Errors
/// What to tell the person who asked.
pub async fn explain(listen: SocketAddr, pod: &str) -> Result<String, String> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port());
    if !pod
        .split_once('/')
        .is_some_and(|(namespace, name)| is_name(namespace) && is_name(name))
    {
        return Err(format!("{pod:?} is not NAMESPACE/POD"));
    }
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("no agent answers at {address}: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get(format!("/explain/{pod}"))
        .header("Host", "localhost")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        drop(sender);
        Ok::<_, hyper::Error>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (answer, _) = tokio::join!(exchange, connection);
    match answer.map_err(|error| error.to_string())? {
        (status, text) if status.is_success() => Ok(text),
        (_, text) => Err(text.trim_end().to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}
