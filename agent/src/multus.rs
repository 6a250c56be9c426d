//! Talks to the multus thick daemon: `POST /delegate` on its unix socket plugs or unplugs one
//! attachment.
//!
//! Multus does not notice when a caller hangs up, and the plugin runs on. So nothing here gives up
//! on a request that has been sent: [`Multus::delegate`] answers when multus does, or when the
//! connection ends. Who finds that late decides so outside.

mod answer;
mod exchange;
pub mod limiter;
mod refusal;
mod request;

use std::{path::PathBuf, time::Duration};

use agent_core::delegate::{Answer, Call};
use hyper::Method;
use tokio::time::timeout;

use crate::uds::{DialError, Socket};
use exchange::{Failure, exchange};
use request::Request;

/// How long `/healthz` may take.
pub const HEALTH_DEADLINE: Duration = Duration::from_secs(5);

/// The multus daemon of this node.
#[derive(Clone, Debug)]
pub struct Multus {
    sockets: Vec<PathBuf>,
}

/// Multus is not well.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] DialError),
    /// It did not answer `/healthz` in time, or not with 200.
    #[error("multus is not well: {0}")]
    Unwell(String),
}

impl Multus {
    /// A client of the first of `sockets` that accepts a connection at the time of a call.
    pub fn new(sockets: Vec<PathBuf>) -> Self {
        Self { sockets }
    }

    /// Plugs or unplugs one attachment, and waits for as long as that takes (the module says why).
    /// Memory is bounded.
    pub async fn delegate(&self, call: &Call) -> Answer {
        let body = match serde_json::to_vec(&Request::new(call)) {
            Ok(body) => body,
            Err(error) => return Answer::NotSent(error.to_string()),
        };
        match exchange(&self.sockets, Method::POST, "/delegate", body).await {
            Ok(reply) => answer::parse(call, &reply),
            Err(Failure::Unreachable(error)) => Answer::NotSent(error.to_string()),
            Err(Failure::NotSent(reason)) => Answer::NotSent(reason),
            Err(Failure::Broken(reason)) => Answer::Lost(reason),
            Err(Failure::Closed(socket)) if is_still(&socket).await => Answer::Crashed,
            Err(Failure::Closed(_)) => {
                Answer::Lost("multus closed the connection, and was stopped or is not well".to_owned())
            }
        }
    }

    /// Asks `/healthz`, at most [`HEALTH_DEADLINE`] long.
    ///
    /// # Errors
    /// See [`HealthError`].
    pub async fn healthy(&self) -> Result<(), HealthError> {
        ask_health(&self.sockets).await
    }
}

/// Whether the daemon at `socket` is healthy and the one that was asked. One that was started in
/// the meantime does not know of plugins that its predecessor left running.
async fn is_still(socket: &Socket) -> bool {
    ask_health(std::slice::from_ref(&socket.path)).await.is_ok() && socket.is_current()
}

async fn ask_health(sockets: &[PathBuf]) -> Result<(), HealthError> {
    let asked = exchange(sockets, Method::GET, "/healthz", Vec::new());
    match timeout(HEALTH_DEADLINE, asked).await {
        Ok(Ok(reply)) if reply.status.is_success() => Ok(()),
        Ok(Ok(reply)) => Err(HealthError::Unwell(format!("HTTP {}", reply.status.as_u16()))),
        Ok(Err(Failure::Unreachable(error))) => Err(HealthError::Unreachable(error)),
        Ok(Err(Failure::Closed(_))) => Err(HealthError::Unwell("it closed the connection".to_owned())),
        Ok(Err(Failure::NotSent(reason) | Failure::Broken(reason))) => Err(HealthError::Unwell(reason)),
        Err(_) => Err(HealthError::Unwell(format!(
            "no answer within {} s",
            HEALTH_DEADLINE.as_secs()
        ))),
    }
}
