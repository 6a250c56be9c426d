//! The client for calls: a bounded number of them is under way at once, and one that the API server
//! refuses with a `Retry-After` is sent again after that time.
//!
//! kube's client speaks HTTP/1.1, in which each call that is under way has a connection of its own:
//! without the bound a burst of calls is a burst of TLS handshakes. kube's own retries are off:
//! they begin after 5 ms and would count as one call here.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{Request, Response, StatusCode, header::RETRY_AFTER};
use kube::{Client, client::Body};
use tokio::sync::Semaphore;
use tower::BoxError;

/// So many calls are under way at once; the others wait in the order in which they came.
pub const AT_ONCE: usize = 16;
/// The part of a refusal that is read, so that its connection can be used again.
const REFUSAL_BYTES: usize = 64 * 1024;
/// A refused call is sent again this much later than the API server said, or up to twice as much:
/// calls that were refused together do not come back together, and `Retry-After: 0` is no loop
/// without a pause.
const MARGIN: Duration = Duration::from_millis(250);

/// A client that sends through `client`, which does not retry by itself.
pub fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let service = tower::service_fn(move |request| call(client.clone(), Arc::clone(&permits), request));
    Client::new(service, namespace)
}

/// Has no deadline: its caller has.
async fn call(
    client: Client,
    permits: Arc<Semaphore>,
    mut request: Request<Body>,
) -> Result<Response<impl hyper::body::Body<Data = hyper::body::Bytes, Error = kube::Error>>, BoxError> {
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let again = copy(&request);
        let response = client.send(request).await?;
        let (Some(wait), Some(next)) = (told_to_wait(&response), again) else {
            // The connection is busy until the answer's body has been read, or dropped.
            return Ok(response.map(|body| {
                body.map_frame(move |frame| {
                    let _held = &permit;
                    frame
                })
            }));
        };
        let _ = Limited::new(response.into_body(), REFUSAL_BYTES).collect().await;
        drop(permit);
        let margin = MARGIN.mul_f64(1.0 + fastrand::f64());
        tokio::time::sleep(wait.saturating_add(margin)).await;
        request = next;
    }
}

fn told_to_wait(response: &Response<Body>) -> Option<Duration> {
    let overloaded = matches!(
        response.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    retry_after(response).filter(|_| overloaded)
}

/// The seconds of a `Retry-After`. Its other form, a date, is not used by the API server.
pub fn retry_after<T>(response: &Response<T>) -> Option<Duration> {
    let told = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    told.trim().parse().ok().map(Duration::from_secs)
}

fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let body = request.body().try_clone()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}
