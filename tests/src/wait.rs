//! Waiting for conditions: the only place of the harness that lets time pass.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// Within this, an edit must have reached the kernel of a healthy node, however busy the machine
/// is.
pub const PLUG: Duration = Duration::from_secs(30);
/// For what restarts programs or waits for Kubernetes' own controllers.
pub const LONG: Duration = Duration::from_secs(90);

/// Conditions are asked for this often, and less often the longer it takes already: each look costs
/// the machine as much as a step of what is waited for.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(400);

/// Asks `condition` until it answers `Ok`; `Err` says what is there instead.
///
/// # Errors
/// [`Error::Deadline`] with the last answer, `deadline` after the call.
pub async fn eventually<T>(
    deadline: Duration,
    description: impl Into<String>,
    mut condition: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    let mut last_seen = "nothing".to_owned();
    loop {
        // A condition that hangs must not outlive the deadline.
        let left = deadline.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(SHORTEST), condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last_seen = error.to_string(),
            Err(_) => last_seen = format!("no answer any more, and before that: {last_seen}"),
        }
        if start.elapsed() >= deadline {
            return Err(Error::Deadline {
                description: description.into(),
                waited: deadline,
                last_seen,
            });
        }
        tokio::time::sleep((start.elapsed() / 8).clamp(SHORTEST, LONGEST)).await;
    }
}

/// Lets the time pass over which a rate is measured. For nothing else.
pub(crate) async fn elapse(window: Duration) {
    tokio::time::sleep(window).await;
}

/// Does something again and again, with a pause between, until its caller is done.
pub(crate) async fn repeatedly(pause: Duration, mut what: impl AsyncFnMut()) -> Infallible {
    loop {
        what().await;
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tells_what_was_seen_last_when_the_deadline_passes() {
        let error = eventually(Duration::from_millis(1), "the sun rises", async || {
            Err::<(), _>(Error::Unexpected("the moon".to_owned()))
        })
        .await
        .unwrap_err();
        assert!(
            error.to_string().contains("the sun rises") && error.to_string().contains("the moon"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn gives_up_on_a_condition_that_hangs() {
        let answer = eventually(Duration::from_millis(1), "it answers", async || {
            std::future::pending::<()>().await;
            Ok(())
        })
        .await;
        assert!(matches!(answer, Err(Error::Deadline { .. })));
    }
}
