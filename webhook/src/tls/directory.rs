//! A pair in a directory that another program writes: cert-manager, a Secret volume, plain files.
//!
//! The files are read once a second. A Secret volume swaps a link beside the files, so a watch on
//! the files themselves would survive one rotation only; a few small reads are simpler and work on
//! every file system. A pair that is torn, empty, expired or for another name is not used: the
//! previous one stays, and the files are read again.

use std::{path::Path, time::Duration};

use certs::{Pair, PairError};
use time::OffsetDateTime;

use super::CertificateStore;
use crate::metrics::Metrics;

/// Between two reads.
const INTERVAL: Duration = Duration::from_secs(1);

/// Serves the pair of `directory` (`tls.crt`, `tls.key`), also after it changes; it must be valid
/// for `name`. Never returns.
pub async fn follow(directory: &Path, name: &str, certificates: &CertificateStore, metrics: &Metrics) {
    follow_every(INTERVAL, directory, name, certificates, metrics).await;
}

async fn follow_every(
    interval: Duration,
    directory: &Path,
    name: &str,
    certificates: &CertificateStore,
    metrics: &Metrics,
) {
    let mut shown = None;
    let mut last_problem = None;
    loop {
        let outcome = match read(directory).await {
            Ok(files) if shown.as_ref() == Some(&files) => None,
            Ok(files) => {
                let (certificate, key) = &files;
                let pair = Pair::parse(certificate, key, name, OffsetDateTime::now_utc());
                Some(pair.map(|pair| (pair, files)))
            }
            Err(error) => Some(Err(error)),
        };
        let problem = match outcome {
            None => None,
            Some(Ok((pair, files))) => {
                tracing::info!(directory = %directory.display(), not_after = %pair.not_after(), "serving certificate loaded");
                certificates.install(pair);
                shown = Some(files);
                None
            }
            Some(Err(error)) => Some(error),
        };
        // The same problem is reported once, not every second.
        if problem != last_problem {
            report(directory, problem.as_ref(), certificates, metrics);
            last_problem = problem;
        }
        tokio::time::sleep(interval).await;
    }
}

fn report(directory: &Path, problem: Option<&PairError>, certificates: &CertificateStore, metrics: &Metrics) {
    let Some(error) = problem else {
        return certificates.set_error(None);
    };
    metrics.certificate(error.kind());
    let text = format!("{}: {error}", directory.display());
    if certificates.pair().is_some() {
        tracing::warn!(
            problem = text,
            "cannot load a new certificate; the previous one stays in use"
        );
    } else {
        tracing::error!(
            problem = text,
            "cannot load a certificate; TLS handshakes fail until one can be loaded"
        );
        certificates.set_error(Some(text));
    }
}

/// Both files of the same version: if they were swapped between the two reads, a second read of the
/// certificate differs.
async fn read(directory: &Path) -> Result<(Vec<u8>, Vec<u8>), PairError> {
    let file = async |what, name| {
        let unreadable = |error: std::io::Error| PairError::Unreadable {
            what,
            cause: format!("{name}: {error}"),
        };
        tokio::fs::read(directory.join(name)).await.map_err(unreadable)
    };
    let certificate = async || file("certificate", "tls.crt").await;
    let mut before = certificate().await?;
    loop {
        let key = file("key", "tls.key").await?;
        let after = certificate().await?;
        if before == after {
            return Ok((after, key));
        }
        before = after;
    }
}

#[cfg(test)]
mod tests;
