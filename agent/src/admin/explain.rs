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
    let address = address_of(listen);
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

/// Where an agent that listens there answers this node.
fn address_of(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        // Every node has this one, also where pods have IPv6 only.
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port())
    } else {
        listen
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("[::]:8080", "127.0.0.1:8080")]
    #[case("0.0.0.0:8080", "127.0.0.1:8080")]
    #[case("[::1]:1", "[::1]:1")]
    #[case("192.0.2.1:1", "192.0.2.1:1")]
    fn asks_where_the_agent_listens(#[case] listen: SocketAddr, #[case] asked: SocketAddr) {
        assert_eq!(address_of(listen), asked);
    }
}
