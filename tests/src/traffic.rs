//! Counts how often one agent calls the API server and the container runtime, with a double before
//! each; and opens many connections to the agent's admin port.

use std::{net::SocketAddr, time::Duration};

use crate::{
    api_double::{ApiDouble, RequestKind},
    cri_double::CriDouble,
    error::{Error, Result},
    node::Node,
    pod::Pod,
    process::built,
    wait::{elapse, eventually},
};

/// The doubles before one agent's API server and runtime.
pub struct Traffic {
    /// Before the API server.
    pub api: ApiDouble,
    /// Before the container runtime.
    pub cri: CriDouble,
}

/// Average rates.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// CRI calls a second.
    pub calls: f64,
    /// API requests a second.
    pub requests: f64,
}

impl Traffic {
    /// DESIGN §7: at most so many CRI calls, and so many API requests, a second during an outage.
    pub const BOUND: f64 = 5.0;

    /// Measures the rates for `window`.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn rates(&self, window: Duration) -> Result<Rates> {
        let all = |_: RequestKind, _: &str| true;
        let (calls, requests) = (self.cri.calls().await?, self.api.asked(all));
        elapse(window).await;
        let per_second = |before: u64, after: u64| {
            let number = u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
            f64::from(number) / window.as_secs_f64()
        };
        Ok(Rates {
            calls: per_second(calls, self.cri.calls().await?),
            requests: per_second(requests, self.api.asked(all)),
        })
    }

    /// Waits until both rates, measured for `window`, are within [`Self::BOUND`].
    ///
    /// # Errors
    /// [`Error::Deadline`] with the last rates.
    pub async fn wait_until_calm(&self, within: Duration, window: Duration) -> Result<Rates> {
        eventually(within, "the agent is calm", async || {
            let rates = self.rates(window).await?;
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

    /// The error for rates that are too high.
    pub fn excess(&self) -> Error {
        let Self { calls, requests } = self;
        Error::Unexpected(format!(
            "{calls:.1} calls to the runtime and {requests:.1} requests to the API server a second"
        ))
    }
}

/// Opens `count` connections from `pod` to `address` and keeps them for so many seconds: half of
/// them idle, half of them slow. Opens a closed one again. Returns the maximum of open connections
/// and the number of closed ones.
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
