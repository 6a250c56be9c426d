//! A serving pair: certificate chain and private key, checked as a whole before it may replace a
//! working one.

use std::sync::Arc;

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::renewal_time;

/// A chain and key that belong together and are valid for the wanted name at the time of the check.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// Why a pair is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// The certificate or the key has no bytes, or whitespace only.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// Not PEM, a section without its end, or bytes that are not a certificate or key.
    #[error("the {what} is unreadable: {cause}")]
    Unreadable {
        /// `certificate` or `key`
        what: &'static str,
        /// the parser's words
        cause: String,
    },
    /// The key does not belong to the certificate.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// The certificate has expired.
    #[error("the certificate expired at {0}")]
    Expired(OffsetDateTime),
    /// The certificate is not valid yet.
    #[error("the certificate is not valid before {0}")]
    NotYetValid(OffsetDateTime),
    /// The certificate is for another name.
    #[error("the certificate is not valid for {0}")]
    Foreign(String),
}

impl PairError {
    /// A metric label out of a closed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty(_) => "empty",
            Self::Unreadable { .. } => "unreadable",
            Self::Mismatch => "mismatch",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::Foreign(_) => "foreign",
        }
    }
}

impl Pair {
    /// Checks a PEM pair as found in `tls.crt` and `tls.key`: a chain (leaf first) with an RSA,
    /// P-256, P-384 or Ed25519 key in PKCS#8, PKCS#1 or SEC1 form, valid at `now` for the DNS name
    /// `name`.
    ///
    /// # Errors
    /// See [`PairError`].
    pub fn parse(certificate: &[u8], key: &[u8], name: &str, now: OffsetDateTime) -> Result<Self, PairError> {
        for (what, bytes) in [("certificate", certificate), ("key", key)] {
            if bytes.trim_ascii().is_empty() {
                return Err(PairError::Empty(what));
            }
        }
        let unreadable = |what| {
            move |error: pem::Error| PairError::Unreadable {
                what,
                cause: error.to_string(),
            }
        };
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(unreadable("key"))?;
        Self::from_der(chain, &key, name, now)
    }

    fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
        name: &str,
        now: OffsetDateTime,
    ) -> Result<Self, PairError> {
        let unreadable = |what, cause: String| PairError::Unreadable { what, cause };
        let leaf = chain
            .first()
            .ok_or_else(|| unreadable("certificate", "no PEM certificate in it".to_owned()))?;
        let (not_before, not_after) = validity(&parse_x509(leaf)?);
        let server_name = ServerName::try_from(name).map_err(|_| PairError::Foreign(name.to_owned()))?;
        let parsed = ParsedCertificate::try_from(leaf)
            .map_err(|error| unreadable("certificate", error.to_string()))?;
        rustls::client::verify_server_name(&parsed, &server_name)
            .map_err(|_| PairError::Foreign(name.to_owned()))?;
        let key =
            ring::sign::any_supported_type(key).map_err(|error| unreadable("key", error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| PairError::Mismatch)?;
        if not_after <= now {
            return Err(PairError::Expired(not_after));
        }
        if now < not_before {
            return Err(PairError::NotYetValid(not_before));
        }
        Ok(Self {
            certified: Arc::new(certified),
            not_before,
            not_after,
        })
    }

    /// The pair as rustls serves it.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The end of the leaf's validity.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// When two thirds of the leaf's validity are over.
    pub fn renewal_time(&self) -> OffsetDateTime {
        renewal_time(self.not_before, self.not_after)
    }
}

/// Reads the parts of a certificate that rustls does not expose.
pub(crate) fn parse_x509<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PairError> {
    let unreadable = |cause: String| PairError::Unreadable {
        what: "certificate",
        cause,
    };
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    if rest.is_empty() {
        Ok(certificate)
    } else {
        Err(unreadable("bytes after its end".to_owned()))
    }
}

/// First and last moment of a certificate's validity.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> (OffsetDateTime, OffsetDateTime) {
    let validity = certificate.validity();
    (
        validity.not_before.to_datetime(),
        validity.not_after.to_datetime(),
    )
}

/// Whether `pem` is a certificate that is still valid after `time`.
pub fn expires_after(pem: &str, time: OffsetDateTime) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
        return false;
    };
    parse_x509(&der).is_ok_and(|certificate| time < validity(&certificate).1)
}
