//! Reading a request's body under three limits: its size, its time, and the memory that all bodies take together.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest body, in bytes: an API server takes objects of 3 MiB, and a review of an update holds two.
pub const MAX_BODY: usize = 7 * 1024 * 1024;
/// All bodies in memory together, in bytes: four of the largest, or a thousand of the usual ones.
const BUDGET: usize = 4 * MAX_BODY;
/// Granularity of the budget, in bytes.
const UNIT: usize = 1024;

/// How much may be read at once, and how fast it must come.
#[derive(Clone, Debug)]
pub struct Bodies {
    budget: Arc<Semaphore>,
    deadline: Duration,
}

impl Default for Bodies {
    /// Five seconds: no registration waits longer for the whole answer.
    fn default() -> Self {
        Self::with_deadline(Duration::from_secs(5))
    }
}

/// A body, which counts against the budget as long as it lives.
#[derive(Debug)]
pub struct ReadBody {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl std::ops::Deref for ReadBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Something else than plain JSON.
    #[error("the body must be application/json without a content encoding")]
    NotJson,
    /// More than [`MAX_BODY`].
    #[error("the body is larger than 7 MiB")]
    TooLarge,
    /// It did not come in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// Other bodies took all memory for longer than anybody waits.
    #[error("too many requests are being read; try again")]
    Busy,
    /// The connection broke.
    #[error("the body broke off")]
    BrokeOff,
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokeOff => StatusCode::BAD_REQUEST,
        };
        (status, self.to_string()).into_response()
    }
}

impl Bodies {
    /// As the default, but with another deadline.
    pub fn with_deadline(deadline: Duration) -> Self {
        Self {
            budget: Arc::new(Semaphore::new(BUDGET / UNIT)),
            deadline,
        }
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn read(&self, request: Request<Body>) -> Result<ReadBody, BodyError> {
        let (parts, body) = request.into_parts();
        if !is_plain_json(&parts.headers) {
            return Err(BodyError::NotJson);
        }
        let size = announced_size(&parts.headers).unwrap_or(MAX_BODY);
        if size > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        let share = self.share(size).await?;
        let read = tokio::time::timeout(self.deadline, Limited::new(body, MAX_BODY).collect());
        match read.await {
            Err(_elapsed) => Err(BodyError::TooSlow),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
            Ok(Err(_)) => Err(BodyError::BrokeOff),
            Ok(Ok(body)) => Ok(ReadBody {
                bytes: body.to_bytes(),
                _share: share,
            }),
        }
    }

    async fn share(&self, size: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let units = u32::try_from(size.div_ceil(UNIT)).map_err(|_| BodyError::TooLarge)?;
        let share = tokio::time::timeout(self.deadline, Arc::clone(&self.budget).acquire_many_owned(units));
        // The semaphore is never closed, so both errors mean the same.
        share.await.ok().and_then(Result::ok).ok_or(BodyError::Busy)
    }
}

/// The API server sends plain JSON; anything packed is refused unopened.
fn is_plain_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let encoding = text(header::CONTENT_ENCODING).unwrap_or("identity");
    media_type.eq_ignore_ascii_case("application/json") && encoding.eq_ignore_ascii_case("identity")
}

fn announced_size(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
