//! Reading a request's body under three limits: its size, its time, and the memory that all bodies take together.
//!
//! Memory is accounted for as bytes arrive, not as they are announced: whoever promises a large body and sends a byte a
//! second holds a kilobyte. The few bodies that are really large queue for room of their own, each for all that it may
//! need, so that none waits for another's second half, and the usual ones never wait for them.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest body, in bytes: an API server takes objects of 3 MiB, and a review of an update holds two.
pub const MAX_BODY: usize = 7 * 1024 * 1024;
/// Up to this many bytes a body is a usual one: reviews of pods have ten to forty thousand.
const USUAL: usize = 256 * 1024;
/// All usual bodies in memory together, in bytes: about a thousand.
const USUAL_BUDGET: usize = 16 * 1024 * 1024;
/// All large ones, in bytes: four of the largest.
const LARGE_BUDGET: usize = 4 * MAX_BODY;
/// Granularity of the budget, in bytes.
const UNIT: usize = 1024;

/// How much may be read at once, and how fast it must come.
#[derive(Clone, Debug)]
pub struct Bodies {
    usual: Arc<Semaphore>,
    large: Arc<Semaphore>,
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
    bytes: Vec<u8>,
    share: Option<OwnedSemaphorePermit>,
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
            usual: Arc::new(Semaphore::new(USUAL_BUDGET / UNIT)),
            large: Arc::new(Semaphore::new(LARGE_BUDGET / UNIT)),
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
        let announced = announced_size(&parts.headers);
        if announced.is_some_and(|size| size > MAX_BODY) {
            return Err(BodyError::TooLarge);
        }
        let mut reading = Reading::of(announced);
        let read = tokio::time::timeout(self.deadline, self.collect(&mut reading, body)).await;
        match read {
            Ok(read) => read.map(|()| reading.body),
            Err(_elapsed) if reading.waits_for_room => Err(BodyError::Busy),
            Err(_elapsed) => Err(BodyError::TooSlow),
        }
    }

    async fn collect(&self, reading: &mut Reading, mut body: Body) -> Result<(), BodyError> {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::BrokeOff)?.into_data() else {
                continue;
            };
            let size = reading.body.bytes.len() + data.len();
            if size > MAX_BODY {
                return Err(BodyError::TooLarge);
            }
            reading.waits_for_room = true;
            self.make_room(reading, size).await?;
            reading.waits_for_room = false;
            reading.body.bytes.extend_from_slice(&data);
        }
        Ok(())
    }

    /// Waits until the body may have `size` bytes.
    async fn make_room(&self, reading: &mut Reading, size: usize) -> Result<(), BodyError> {
        let ReadBody { bytes, share } = &mut reading.body;
        if size <= USUAL {
            let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = take(&self.usual, size.div_ceil(UNIT).saturating_sub(held)).await?;
            match share {
                Some(share) => share.merge(more),
                None => *share = Some(more),
            }
        } else if !reading.is_large {
            let all = reading.announced.unwrap_or(MAX_BODY).max(size);
            *share = Some(take(&self.large, all.div_ceil(UNIT)).await?);
            bytes.reserve_exact(all - bytes.len());
            reading.is_large = true;
        }
        Ok(())
    }
}

/// A body on its way.
struct Reading {
    body: ReadBody,
    announced: Option<usize>,
    is_large: bool,
    /// The next step is ours, not the client's.
    waits_for_room: bool,
}

impl Reading {
    fn of(announced: Option<usize>) -> Self {
        Self {
            body: ReadBody {
                bytes: Vec::with_capacity(announced.unwrap_or_default().min(USUAL)),
                share: None,
            },
            announced,
            is_large: false,
            waits_for_room: false,
        }
    }
}

async fn take(budget: &Arc<Semaphore>, units: usize) -> Result<OwnedSemaphorePermit, BodyError> {
    let units = u32::try_from(units).map_err(|_| BodyError::TooLarge)?;
    // The semaphore is never closed.
    let share = Arc::clone(budget).acquire_many_owned(units).await;
    share.map_err(|_| BodyError::Busy)
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
