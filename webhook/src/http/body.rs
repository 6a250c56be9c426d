//! Reads request bodies within three limits: size, pace, and the memory of all bodies and unread
//! answers together.
//!
//! A body takes its whole share of the memory before it is read, as its Content-Length announces
//! (API servers always send one), so no body waits for memory while it holds some. While others
//! wait, a body that falls behind its pace is rejected, so that clients that announce much and send
//! little do not block others. Few large bodies are read at once, which leaves memory for small
//! ones.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep_until, timeout_at},
};

/// The largest body, in bytes: an API server takes objects of 3 MiB, and a review of an update
/// holds two.
pub const MAX_BODY: usize = 7 * 1024 * 1024;
/// All bodies in memory together, in bytes: about a thousand usual ones.
const BUDGET: usize = 32 * 1024 * 1024;
/// Beyond this many bytes a body is a large one: reviews of pods have ten to forty thousand.
const LARGE: usize = 256 * 1024;
/// Large bodies that are read at once.
const LARGE_AT_ONCE: usize = 3;
/// Granularity of the budget, in bytes. A body takes at least one unit. Its share stands for its
/// answer, too, which is written after the body is gone: that is at most a third longer (a patch in
/// base64) and has 16 KiB of refusals and warnings.
const UNIT: usize = 16 * 1024;
/// Bytes per second that a body must bring while others wait for memory: far less than any network
/// between nodes carries.
const PACE: f64 = 1024.0 * 1024.0;
/// How far a body may fall behind that pace.
const GRACE: Duration = Duration::from_millis(100);

/// The limits on bodies, shared by all requests.
#[derive(Clone, Debug)]
pub struct Bodies {
    room: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// How many bodies wait for memory, without large ones that wait for their turn.
    waiting: Arc<watch::Sender<usize>>,
    deadline: Duration,
}

impl Default for Bodies {
    /// Five seconds: no registration waits longer for the whole answer.
    fn default() -> Self {
        Self::with_deadline(Duration::from_secs(5))
    }
}

/// The room that a body takes, and its turn if it is a large one, until this is dropped.
#[derive(Debug)]
pub struct Share {
    _room: OwnedSemaphorePermit,
    _turn: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not plain JSON.
    #[error("the body must be application/json without a content encoding")]
    NotJson,
    /// No Content-Length.
    #[error("the request must have a Content-Length")]
    NoLength,
    /// More than [`MAX_BODY`].
    #[error("the body is larger than 7 MiB")]
    TooLarge,
    /// It arrived too slowly.
    #[error("the body arrived too slowly")]
    TooSlow,
    /// Other bodies took all memory for longer than a client waits.
    #[error("too many requests at once; retry")]
    Busy,
    /// The connection broke.
    #[error("the connection closed before the end of the body")]
    BrokeOff,
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoLength => StatusCode::LENGTH_REQUIRED,
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
            room: Arc::new(Semaphore::new(BUDGET / UNIT)),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            waiting: Arc::default(),
            deadline,
        }
    }

    /// Whether no body holds memory.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.room.available_permits() == BUDGET / UNIT
    }

    /// Reads the body of a request. Its share is to be kept until the answer is written.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn read(&self, request: Request<Body>) -> Result<(Vec<u8>, Share), BodyError> {
        let (parts, body) = request.into_parts();
        if !is_plain_json(&parts.headers) {
            return Err(BodyError::NotJson);
        }
        // hyper enforces the Content-Length.
        let size = body.size_hint().exact().ok_or(BodyError::NoLength)?;
        let size = usize::try_from(size).map_err(|_| BodyError::TooLarge)?;
        if size > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        let end = Instant::now() + self.deadline;
        let share = timeout_at(end, self.share(size))
            .await
            .map_err(|_elapsed| BodyError::Busy)??;
        let bytes = timeout_at(end, self.collect(body, size))
            .await
            .map_err(|_elapsed| BodyError::TooSlow)??;
        Ok((bytes, share))
    }

    /// Waits for the room that a body of `size` bytes takes.
    async fn share(&self, size: usize) -> Result<Share, BodyError> {
        let units = u32::try_from(size.div_ceil(UNIT).max(1)).map_err(|_| BodyError::TooLarge)?;
        // The semaphores are never closed.
        let turn = if size > LARGE {
            let turn = Arc::clone(&self.large).acquire_owned().await;
            Some(turn.map_err(|_| BodyError::Busy)?)
        } else {
            None
        };
        // A large body that waits for its turn does not put others under the pace.
        let waiting = Waiting::one_of(&self.waiting);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        drop(waiting);
        Ok(Share {
            _room: room.map_err(|_| BodyError::Busy)?,
            _turn: turn,
        })
    }

    async fn collect(&self, mut body: Body, size: usize) -> Result<Vec<u8>, BodyError> {
        let begun = Instant::now();
        let mut bytes = Vec::with_capacity(size);
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = self.too_slow(begun, bytes.len()) => return Err(BodyError::TooSlow),
            };
            let Some(frame) = frame else {
                return Ok(bytes);
            };
            let Ok(data) = frame.map_err(|_| BodyError::BrokeOff)?.into_data() else {
                continue;
            };
            // hyper ends the body at its announced length.
            if data.len() > size - bytes.len() {
                return Err(BodyError::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }

    /// Returns when a body that brought `received` bytes since `begun` is behind its pace while
    /// another one waits for memory.
    async fn too_slow(&self, begun: Instant, received: usize) {
        let mut waiting = self.waiting.subscribe();
        sleep_until(begun + GRACE + time_for(received)).await;
        // The sender lives as long as `self`.
        _ = waiting.wait_for(|waiting| *waiting > 0).await;
    }
}

/// How long `bytes` take at the pace.
#[expect(clippy::cast_precision_loss, reason = "a body has at most some million bytes")]
fn time_for(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / PACE)
}

/// Counts as one waiting body until it is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn one_of(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

/// The API server sends plain JSON; an encoded body is refused without decoding it.
fn is_plain_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let encoding = text(header::CONTENT_ENCODING).unwrap_or("identity");
    media_type.eq_ignore_ascii_case("application/json") && encoding.eq_ignore_ascii_case("identity")
}
