//! How often one agent calls the API server and the container runtime, by the doubles before both; and what a bad client does to the port
//! that it serves.

use std::{net::SocketAddr, time::Duration};

use crate::{
    api_double::{ApiDouble, RequestKind},
    cri_double::CriDouble,
    error::{Error, Result},
    node::Node,
    pod::Pod,
    process::built,
    wait::{eventually, passes},
};

/// The doubles before one agent's API server and runtime.
pub struct Traffic {
    /// Before the API server.
    pub api: ApiDouble,
    /// Before the container runtime.
    pub cri: CriDouble,
}

/// Calls and requests in a second, on average.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// To the container runtime.
    pub calls: f64,
    /// To the API server.
    pub requests: f64,
}

impl Traffic {
    /// The most calls, and the most requests, that an agent may make in a second while what it depends on is away.
    pub const BOUND: f64 = 5.0;

    /// The rates over `window` from now on, of requests about all namespaces but `apart`.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn rates(&self, window: Duration, apart: &str) -> Result<Rates> {
        let counts = |_: RequestKind, namespace: &str| apart.is_empty() || namespace != apart;
        let (calls, requests) = (self.cri.calls().await?, self.api.asked(counts));
        passes(window).await;
        let per_second = |before: u64, after: u64| {
            let number = u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
            f64::from(number) / window.as_secs_f64()
        };
        Ok(Rates {
            calls: per_second(calls, self.cri.calls().await?),
            requests: per_second(requests, self.api.asked(counts)),
        })
    }

    /// Waits until the rates over `window` are within [`Self::BOUND`].
    ///
    /// # Errors
    /// [`Error::Deadline`] with the last rates.
    pub async fn calms_down(&self, within: Duration, window: Duration) -> Result<Rates> {
        eventually(within, "the agent is calm", async || {
            let rates = self.rates(window, "").await?;
            rates.is_bounded().then_some(rates).ok_or_else(|| rates.excess())
        })
        .await
    }
}

impl Rates {
    /// Whether both are within [`Traffic::BOUND`].
    pub fn is_bounded(&self) -> bool {
        self.calls <= Traffic::BOUND && self.requests <= Traffic::BOUND
    }

    /// As an error that names both.
    pub fn excess(&self) -> Error {
        let Self { calls, requests } = self;
        Error::Unexpected(format!(
            "{calls:.1} calls to the runtime and {requests:.1} requests to the API server a second"
        ))
    }
}

/// Opens `count` connections from the network namespace of `pod` to `address`, half of them idle and half of them slow, and opens each
/// again that is closed, for so many seconds. Returns how many were open at most and how many were closed.
///
/// # Errors
/// [`Error::Command`].
pub async fn hold_connections(
    node: &Node,
    pod: &Pod,
    address: SocketAddr,
    count: u32,
    seconds: u32,
) -> Result<(u32, u32)> {
    const PROGRAM: &str = "/run/tests/connection-holder";
    node.install(&built("connection-holder")?, PROGRAM.as_ref())
        .await?;
    let namespace = format!("--net={}", pod.sandbox().await?.namespace_path);
    let script = "ulimit -n $(($3 + 100)) && exec \"$1\" \"$2\" \"$3\" \"$4\"";
    let (address, count, seconds) = (address.to_string(), count.to_string(), seconds.to_string());
    let command = [
        "nsenter", &namespace, "sh", "-c", script, "sh", PROGRAM, &address, &count, &seconds,
    ];
    let printed = node.run(&command).await?;
    let mut numbers = printed.split_whitespace().map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(Some(open)), Some(Some(closed))) => Ok((open, closed)),
        _ => Err(Error::Unexpected(printed)),
    }
}
