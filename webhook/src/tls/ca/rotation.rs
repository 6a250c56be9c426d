//! The state machine of CA rotation, without I/O: which CAs exist, which one signs, which step is
//! next.
//!
//! # Flow
//! 1. The *next* CA is created and only added to the bundle.
//! 2. When all registrations carry it, the time is recorded.
//! 3. After a grace period, in which every API server sees the new bundle, it becomes the *active*
//!    one, and each replica signs with it once it reads it. The former one stays in the bundle as
//!    *previous* until it expires, so a replica that is cut off from the API server stays trusted.
//!
//! # Guarantees
//! During a rotation no replica serves a pair that any API server does not trust. Emptying the
//! Secret withdraws all trust at once: a new CA is created without overlap.

use std::{collections::BTreeMap, fmt};

use certs::{Authority, AuthorityError};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// Time for every API server to see a changed registration; their watches take less than a second.
pub const GRACE: Duration = Duration::seconds(60);

mod key {
    pub(super) const ACTIVE: (&str, &str) = ("ca.crt", "ca.key");
    pub(super) const NEXT: (&str, &str) = ("next-ca.crt", "next-ca.key");
    /// When all registrations were first seen to carry the next CA, RFC 3339.
    pub(super) const NEXT_TRUSTED_SINCE: &str = "next-ca.trusted-since";
    pub(super) const PREVIOUS: &str = "previous-ca.crt";
    pub(super) const ALL: [&str; 6] = [ACTIVE.0, ACTIVE.1, NEXT.0, NEXT.1, NEXT_TRUSTED_SINCE, PREVIOUS];
}

/// The content of a Secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// The CAs of a cluster.
#[derive(Debug, Default)]
pub struct CaState {
    /// Signs serving certificates.
    pub active: Option<Authority>,
    next: Option<Authority>,
    next_trusted_since: Option<OffsetDateTime>,
    /// Certificate of the former CA, PEM.
    previous: Option<String>,
    /// Set when the validity of a CA begins in the future, at this time: one of the clocks is
    /// wrong.
    pub not_yet_valid: Option<OffsetDateTime>,
}

/// The step that was taken, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No CA was usable.
    Created,
    /// The active CA is due for renewal.
    SuccessorCreated,
    /// All registrations carry the successor.
    SuccessorTrusted,
    /// The successor signs from now on.
    SuccessorActivated,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created a CA",
            Self::SuccessorCreated => "created the next CA; it signs once every API server trusts it",
            Self::SuccessorTrusted => "every registration carries the next CA",
            Self::SuccessorActivated => "the next CA signs from now on",
        })
    }
}

impl CaState {
    /// Reads the Secret. A CA that is absent, unreadable or expired is ignored and replaced by a
    /// new one: clients would reject its certificates anyway.
    pub fn read(data: &Data, now: OffsetDateTime) -> Self {
        let text = |key: &str| data.get(key).and_then(|value| std::str::from_utf8(value).ok());
        let mut not_yet_valid = None;
        let mut authority = |(certificate, key)| {
            let (certificate, key) = (text(certificate)?, text(key)?);
            Authority::from_pem(certificate, key, now)
                .inspect_err(|error| match error {
                    AuthorityError::NotValid { not_before, .. } if now < *not_before => {
                        not_yet_valid = Some(*not_before);
                    }
                    error => tracing::warn!(%error, "ignoring a CA of the Secret that cannot be used"),
                })
                .ok()
        };
        let (active, next) = (authority(key::ACTIVE), authority(key::NEXT));
        Self {
            active,
            next,
            not_yet_valid,
            next_trusted_since: text(key::NEXT_TRUSTED_SINCE)
                .and_then(|since| OffsetDateTime::parse(since, &Rfc3339).ok()),
            previous: text(key::PREVIOUS)
                .filter(|pem| certs::expires_after(pem, now))
                .map(str::to_owned),
        }
    }

    /// The new content of the Secret; foreign keys of `old` stay.
    pub fn write(&self, old: &Data) -> Data {
        let mut data = old.clone();
        data.retain(|key, _| !key::ALL.contains(&key.as_str()));
        let mut put = |key: &str, value: String| data.insert(key.to_owned(), value.into_bytes());
        for ((certificate, key), authority) in [(key::ACTIVE, &self.active), (key::NEXT, &self.next)] {
            if let Some(authority) = authority {
                put(certificate, authority.certificate_pem().to_owned());
                put(key, authority.key_pem());
            }
        }
        if let Some(since) = self
            .next_trusted_since
            .and_then(|since| since.format(&Rfc3339).ok())
        {
            put(key::NEXT_TRUSTED_SINCE, since);
        }
        if let Some(previous) = &self.previous {
            put(key::PREVIOUS, previous.clone());
        }
        data
    }

    /// Takes the next step of the CA's life, if one is due; `trusted_everywhere` says whether all
    /// registrations carry a certificate (PEM).
    ///
    /// # Errors
    /// A CA could not be made.
    pub fn step(
        &mut self,
        now: OffsetDateTime,
        trusted_everywhere: impl Fn(&str) -> bool,
    ) -> Result<Option<Step>, AuthorityError> {
        let Some(active) = &self.active else {
            // The next CA may be trusted already; a new one is not.
            self.active = Some(self.next.take().map_or_else(|| Authority::generate(now), Ok)?);
            self.next_trusted_since = None;
            return Ok(Some(Step::Created));
        };
        let Some(next) = &self.next else {
            if now < active.renewal_time() {
                return Ok(None);
            }
            self.next = Some(Authority::generate(now)?);
            self.next_trusted_since = None;
            return Ok(Some(Step::SuccessorCreated));
        };
        if !trusted_everywhere(next.certificate_pem()) {
            return Ok(None);
        }
        match self.next_trusted_since {
            None => {
                self.next_trusted_since = Some(now);
                Ok(Some(Step::SuccessorTrusted))
            }
            Some(since) if now < since + GRACE => Ok(None),
            Some(_) => {
                self.previous = self
                    .active
                    .take()
                    .map(|former| former.certificate_pem().to_owned());
                self.active = self.next.take();
                self.next_trusted_since = None;
                Ok(Some(Step::SuccessorActivated))
            }
        }
    }

    /// The certificates that clients should trust, PEM.
    pub fn bundle(&self) -> String {
        let own = [&self.active, &self.next]
            .into_iter()
            .flatten()
            .map(Authority::certificate_pem);
        own.chain(self.previous.as_deref()).collect()
    }

    /// When [`Self::step`] is due next, if that is known.
    pub fn due(&self) -> Option<OffsetDateTime> {
        match (&self.next, self.next_trusted_since) {
            (Some(_), since) => since.map(|since| since + GRACE),
            (None, _) => self.active.as_ref().map(Authority::renewal_time),
        }
    }
}

#[cfg(test)]
mod tests;
