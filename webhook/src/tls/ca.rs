//! Self-managed certificates: a long-lived CA in a Secret, shared by all replicas; its certificate in the `caBundle` of
//! both registrations; a short-lived serving pair per replica, signed in memory.
//!
//! Everything is done in *passes*: look at the registrations and the Secret, do what is missing, sleep until something
//! changes or is due. A pass can be broken off anywhere and run by any number of replicas at once: each write names the
//! version of what it read, so of two that disagree the second fails and looks again.

mod cluster;
pub mod rotation;
mod watch;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use certs::{Authority, service_names};
use time::OffsetDateTime;
use tokio::sync::Notify;

pub use cluster::{ApiServer, Cluster, ClusterError, Registration, SecretData};
pub use watch::watch;

use crate::tls::CertificateStore;
use rotation::CaState;

/// A pass is made at least this often, also when nothing was seen to change: watches can be forbidden or lost.
const RESYNC: Duration = Duration::from_secs(30);
/// After a failed pass: first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// After a pass that wrote something: first, and at most, when each write is undone soon.
const AFTER_WRITE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Conflicts in a row that other replicas cause in the usual course.
const USUAL_CONFLICTS: u32 = 2;

/// One replica's part in it.
pub struct Manager<C> {
    cluster: C,
    names: Vec<String>,
    certificates: Arc<CertificateStore>,
    /// The CA that signed what is being served.
    signer: Option<Authority>,
    /// Whether clients trusted what is served at the end of some pass.
    was_trusted: bool,
    /// The last pass wrote something.
    wrote: bool,
}

impl<C: Cluster> Manager<C> {
    /// A replica of `service` in `namespace` that serves its pair from `certificates`.
    pub fn new(cluster: C, service: &str, namespace: &str, certificates: Arc<CertificateStore>) -> Self {
        let names = service_names(service, namespace).to_vec();
        Self {
            cluster,
            names,
            certificates,
            signer: None,
            was_trusted: false,
            wrote: false,
        }
    }

    /// Makes passes: now, when `changed` says so, when something is due. Never returns.
    pub async fn run(mut self, changed: &Notify) {
        let mut retry = RETRY.0;
        let mut last_problem = String::new();
        let mut conflicts = 0;
        let mut damping = Damping::default();
        loop {
            let begun = Instant::now();
            let pause = match self.pass(OffsetDateTime::now_utc()).await {
                Ok(due) => {
                    retry = RETRY.0;
                    last_problem.clear();
                    conflicts = 0;
                    due.min(RESYNC)
                }
                Err(error) => {
                    let problem = error.to_string();
                    conflicts = match error {
                        PassError::Cluster(ClusterError::Conflict) => conflicts + 1,
                        _ => 0,
                    };
                    let is_usual = (1..=USUAL_CONFLICTS).contains(&conflicts);
                    if !is_usual {
                        if problem != last_problem {
                            tracing::warn!(problem, "certificate reconcile failed; will retry");
                        }
                        last_problem = problem;
                    }
                    retry = (retry * 2).min(RETRY.1);
                    retry
                }
            };
            tracing::debug!(took = ?begun.elapsed(), ?pause, "certificates reconciled");
            if std::mem::take(&mut self.wrote) {
                // Another writer that wants something else is answered ever more slowly.
                tokio::time::sleep(damping.after_write(tokio::time::Instant::now())).await;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = changed.notified() => {}
            }
        }
    }

    /// One pass at `now`; says how long nothing will be due.
    ///
    /// # Errors
    /// Something could not be read or written. What is being served stays, and is renewed by the CA last seen.
    pub async fn pass(&mut self, now: OffsetDateTime) -> Result<Duration, PassError> {
        let result = self.converge(now).await;
        // Signing needs no API server, once the CA is known.
        self.renew(now)?;
        match &result {
            Ok(_) => {
                self.was_trusted = true;
                self.certificates.set_error(None);
            }
            // A replica that nobody trusts yet should not be called; one that was trusted goes on.
            Err(error) if !self.was_trusted => self.certificates.set_error(Some(error.to_string())),
            Err(_) => {}
        }
        let due = result?
            .into_iter()
            .chain(self.certificates.pair().map(|pair| pair.renewal_time()))
            .min();
        Ok(due.map_or(RESYNC, |due| (due - now).max(time::Duration::ZERO).unsigned_abs()))
    }

    /// Brings Secret and registrations in order; gives the moment at which the CA needs attention.
    async fn converge(&mut self, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, PassError> {
        // In this order: whoever changes the Secret later makes the write below fail if it patched in between, and
        // patches after us if it did not.
        let registrations = self.cluster.registrations().await?;
        let mut secret = self.cluster.secret().await?;
        let mut state = CaState::read(&secret.data, now);
        if let Some(not_before) = state.not_yet_valid {
            // Made by a replica with another clock: it is there and must stay.
            if let Some(active) = state.active {
                self.sign_with(active, now)?;
            }
            return Err(PassError::Clock(not_before));
        }
        let everywhere = |certificate: &str| {
            registrations
                .iter()
                .all(|registration| registration.trusts(certificate))
        };
        if let Some(step) = state.step(now, everywhere)? {
            secret.data = state.write(&secret.data);
            self.cluster.write_secret(&secret).await?;
            self.wrote = true;
            tracing::info!(%step, "CA state changed");
        }
        let bundle = state.bundle();
        let due = state.due();
        if let Some(active) = state.active {
            self.sign_with(active, now)?;
        }
        for registration in &registrations {
            if !registration.carries_exactly(&bundle) {
                self.cluster.patch_bundle(registration, &bundle).await?;
                self.wrote = true;
                tracing::info!(registration = registration.kind, "updated caBundle");
            }
        }
        Ok(due)
    }

    /// Serves what `active` signs, if it is not the CA that signed what is served.
    fn sign_with(&mut self, active: Authority, now: OffsetDateTime) -> Result<(), PassError> {
        let known = self.signer.as_ref().map(Authority::certificate_pem);
        if known != Some(active.certificate_pem()) {
            self.certificates.install(active.sign(&self.names, now)?);
            self.signer = Some(active);
        }
        Ok(())
    }

    /// Serves a new pair when the one in use is due.
    fn renew(&self, now: OffsetDateTime) -> Result<(), PassError> {
        let due = self
            .certificates
            .pair()
            .is_some_and(|pair| pair.renewal_time() <= now);
        if let Some(signer) = self
            .signer
            .as_ref()
            .filter(|signer| due && now < signer.not_after())
        {
            self.certificates.install(signer.sign(&self.names, now)?);
            tracing::info!("serving certificate renewed");
        }
        Ok(())
    }
}

/// How long nothing is written after a write: twice as long as before when the last write was not
/// long ago.
#[derive(Default)]
struct Damping {
    last: Option<(tokio::time::Instant, Duration)>,
}

impl Damping {
    fn after_write(&mut self, now: tokio::time::Instant) -> Duration {
        let soon = self
            .last
            .filter(|(last, pause)| now.duration_since(*last) < *pause + AFTER_WRITE.1);
        let pause = soon.map_or(AFTER_WRITE.0, |(_, pause)| (pause * 2).min(AFTER_WRITE.1));
        self.last = Some((now, pause));
        pause
    }
}

/// Why a pass was not completed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A CA in the Secret is not valid yet.
    #[error("a CA in the Secret is not valid before {0}: check the clock of this node")]
    Clock(OffsetDateTime),
    /// Making a CA or signing with one.
    #[error(transparent)]
    Authority(#[from] certs::AuthorityError),
}

#[cfg(test)]
mod tests;
