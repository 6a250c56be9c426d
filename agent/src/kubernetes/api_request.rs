//! Requests whose answer is bounded in size and time. kube's own calls read an answer of any size,
//! and forget the `Retry-After` of a refusal.

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{Request, Response, body::Bytes};
use kube::{Client, client::Body, core::Status};

use crate::kubernetes::{api_error, client::calls::retry_after};

/// The part of a refusal that is read.
const REFUSAL_BYTES: usize = 64 * 1024;

/// Why a request has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server refused it.
    #[error("{} ({})", .status.message, .status.code)]
    Refused {
        /// In its words.
        status: Box<Status>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It could not be sent, or the answer broke off.
    #[error("{}", api_error::text(.0))]
    Transport(#[source] kube::Error),
    /// No answer in time.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The answer is longer than what is read.
    #[error("the API server's answer has more than {0} bytes")]
    TooLarge(usize),
    /// The answer is not JSON of the expected form.
    #[error("the API server's answer cannot be read: {0}")]
    Undecodable(#[from] serde_json::Error),
}

impl From<kube::core::request::Error> for RequestError {
    fn from(error: kube::core::request::Error) -> Self {
        Self::Transport(kube::Error::BuildRequest(error))
    }
}

impl RequestError {
    /// The answer lacks `field`.
    pub fn without(field: &'static str) -> Self {
        Self::Undecodable(serde::de::Error::missing_field(field))
    }
}

/// Sends `request` and returns the answer once its head has come and says that it is one.
///
/// # Errors
/// See [`RequestError`].
pub async fn open(
    client: &Client,
    request: Request<Vec<u8>>,
    deadline: Duration,
) -> Result<Response<Body>, RequestError> {
    let answered = async {
        let response = client.send(request.map(Body::from)).await;
        let response = response.map_err(RequestError::Transport)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (code, retry_after) = (response.status().as_u16(), retry_after(&response));
        let text = collect(response.into_body(), REFUSAL_BYTES).await?;
        let status = serde_json::from_slice(&text).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&text);
            Status::failure(text.trim(), "").with_code(code)
        });
        Err(RequestError::Refused {
            status: status.boxed(),
            retry_after,
        })
    };
    let answered = tokio::time::timeout(deadline, answered).await;
    answered.unwrap_or(Err(RequestError::Late(deadline)))
}

/// Sends `request` and returns the body of the answer, of at most `limit` bytes.
///
/// # Errors
/// See [`RequestError`].
pub async fn read(
    client: &Client,
    request: Request<Vec<u8>>,
    limit: usize,
    deadline: Duration,
) -> Result<Bytes, RequestError> {
    let answered = async { collect(open(client, request, deadline).await?.into_body(), limit).await };
    let answered = tokio::time::timeout(deadline, answered).await;
    answered.unwrap_or(Err(RequestError::Late(deadline)))
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, RequestError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(RequestError::TooLarge(limit)),
        Err(error) => Err(RequestError::Transport(kube::Error::Service(error))),
    }
}
