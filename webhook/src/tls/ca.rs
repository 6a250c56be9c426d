//! Self-managed certificates: a long-lived CA in a Secret, shared by all replicas; its certificate
//! in the `caBundle` of both registrations; a short-lived serving pair per replica, signed in
//! memory.
//!
//! # Flow
//! Each replica reconciles: it reads the registrations and the Secret, writes what is missing, and
//! sleeps until something changes or is due.
//!
//! # Guarantees
//! A reconcile may stop anywhere, and any number of replicas may run at once: each write names the
//! version of what it read, so the second of two conflicting writes fails and is retried.
//!
//! # Errors
//! A failed reconcile leaves the pair in use in place, and is retried with backoff.

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

/// The longest time between two reconciles, also without a change: watches can be forbidden or
/// lost.
const RESYNC: Duration = Duration::from_secs(30);
/// Backoff after a failed reconcile: first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Pause after a reconcile that wrote: first, and at most, when another writer keeps undoing it.
const AFTER_WRITE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Conflicts in a row that other replicas cause in normal operation; more are logged.
const USUAL_CONFLICTS: u32 = 2;

/// Reconciles the certificates of one replica.
pub struct Manager<C> {
    cluster: C,
    names: Vec<String>,
    certificates: Arc<CertificateStore>,
    /// The CA that signed the serving pair.
    signer: Option<Authority>,
    /// Whether API servers trusted the serving pair after any reconcile.
    was_trusted: bool,
    /// The last reconcile wrote something.
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

    /// Reconciles at once, whenever `changed` is notified, and when something is due. Never
    /// returns.
    pub async fn run(mut self, changed: &Notify) {
        let mut retry = RETRY.0;
        let mut last_problem = String::new();
        let mut conflicts = 0;
        let mut damping = Damping::default();
        loop {
            let begun = Instant::now();
            let pause = match self.reconcile(OffsetDateTime::now_utc()).await {
                Ok(due) => {
                    retry = RETRY.0;
                    last_problem.clear();
                    conflicts = 0;
                    due.min(RESYNC)
                }
                Err(error) => {
                    let problem = error.to_string();
                    conflicts = match error {
                        ReconcileError::Cluster(ClusterError::Conflict) => conflicts + 1,
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
                // Backs off from another writer that keeps undoing ours.
                tokio::time::sleep(damping.after_write(tokio::time::Instant::now())).await;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = changed.notified() => {}
            }
        }
    }

    /// Reconciles once at `now`; returns how long nothing will be due.
    ///
    /// # Errors
    /// A read or a write failed. The serving pair stays, and the last known CA renews it.
    pub async fn reconcile(&mut self, now: OffsetDateTime) -> Result<Duration, ReconcileError> {
        let result = self.reconcile_cluster(now).await;
        // Signing needs no API server, once the CA is known.
        self.renew(now)?;
        match &result {
            Ok(_) => {
                self.was_trusted = true;
                self.certificates.set_error(None);
            }
            // A replica that no API server trusts yet is not ready; one that was trusted stays
            // ready.
            Err(error) if !self.was_trusted => self.certificates.set_error(Some(error.to_string())),
            Err(_) => {}
        }
        let due = result?
            .into_iter()
            .chain(self.certificates.pair().map(|pair| pair.renewal_time()))
            .min();
        Ok(due.map_or(RESYNC, |due| (due - now).max(time::Duration::ZERO).unsigned_abs()))
    }

    /// Reconciles Secret and registrations; returns when the CA takes its next step.
    async fn reconcile_cluster(
        &mut self,
        now: OffsetDateTime,
    ) -> Result<Option<OffsetDateTime>, ReconcileError> {
        // In this order: if another replica changes the Secret and has patched in between, our
        // write below fails; if it has not, it patches after us.
        let registrations = self.cluster.registrations().await?;
        let mut secret = self.cluster.secret().await?;
        let mut state = CaState::read(&secret.data, now);
        if let Some(not_before) = state.not_yet_valid {
            // Made by a replica with another clock: it must not be replaced.
            if let Some(active) = state.active {
                self.sign_with(active, now)?;
            }
            return Err(ReconcileError::Clock(not_before));
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

    /// Serves a pair signed by `active`, unless it signed the one in use.
    fn sign_with(&mut self, active: Authority, now: OffsetDateTime) -> Result<(), ReconcileError> {
        let known = self.signer.as_ref().map(Authority::certificate_pem);
        if known != Some(active.certificate_pem()) {
            self.certificates.install(active.sign(&self.names, now)?);
            self.signer = Some(active);
        }
        Ok(())
    }

    /// Serves a new pair when the one in use is due for renewal.
    fn renew(&self, now: OffsetDateTime) -> Result<(), ReconcileError> {
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

/// The pause after a write: doubled when the last write was recent.
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

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A call to the API server failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A CA in the Secret is not valid yet.
    #[error("a CA in the Secret is not valid before {0}: check the clock of this node")]
    Clock(OffsetDateTime),
    /// A CA could not be made, or could not sign.
    #[error(transparent)]
    Authority(#[from] certs::AuthorityError),
}

#[cfg(test)]
mod tests;
