//! One HTTP exchange on a connection of its own, sorted by what may have reached multus.

use std::{path::PathBuf, pin::pin};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST},
};
use tokio::select;

use crate::{
    failpoint::{self, FailPoint},
    uds::{self, DialError, Dialled, Socket},
};

/// The longest answer that is read. A CNI result has some hundred bytes for each address.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A complete answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why there is no complete answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No socket accepted a connection.
    Unreachable(DialError),
    /// Connected, but not one byte was sent.
    NotSent(String),
    /// The connection to this socket ended before an answer began.
    Closed(Socket),
    /// An answer began, and broke off, was too long or was not HTTP.
    Broken(String),
}

/// Sends one request and reads the whole answer, however long that takes.
pub(super) async fn exchange(
    sockets: &[PathBuf],
    method: Method,
    path: &'static str,
    body: Vec<u8>,
) -> Result<Reply, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        // There is no host; HTTP wants one.
        .header(HOST, "multus")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failure::NotSent(error.to_string()))?;
    let Dialled { stream, socket } = uds::dial(sockets).await.map_err(Failure::Unreachable)?;
    if *request.method() == Method::POST {
        failpoint::hit(FailPoint::Connected);
    }
    let (sender, connection) = http1::handshake(stream)
        .await
        .map_err(|error| Failure::NotSent(error.to_string()))?;
    let mut conversation = pin!(converse(sender, request, socket));
    select! {
        biased;
        outcome = &mut conversation => outcome,
        // The connection ends before the conversation when its last bytes are buffered, and when it
        // breaks: the conversation knows which.
        _ = connection => conversation.await,
    }
}

async fn converse(
    mut sender: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    socket: Socket,
) -> Result<Reply, Failure> {
    let response = sender.try_send_request(request).await.map_err(|mut failed| {
        let unsent = failed.take_message().is_some();
        let error = failed.into_error();
        match error {
            error if unsent => Failure::NotSent(error.to_string()),
            error if error.is_parse() => Failure::Broken(format!("not an HTTP answer: {error}")),
            _ => Failure::Closed(socket),
        }
    })?;
    let status = response.status();
    let body = read(response.into_body()).await?;
    Ok(Reply { status, body })
}

async fn read(body: Incoming) -> Result<Bytes, Failure> {
    let collected = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    collected.map(|whole| whole.to_bytes()).map_err(|error| {
        Failure::Broken(if error.is::<LengthLimitError>() {
            format!("the answer is longer than {MAX_ANSWER_BYTES} bytes")
        } else {
            format!("the answer broke off: {error}")
        })
    })
}
