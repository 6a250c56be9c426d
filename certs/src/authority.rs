//! The certificate authority: created once, stored as PEM by the caller, signs short-lived serving
//! certificates.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::{Duration, OffsetDateTime};

use crate::{BACKDATE, Pair, PairError, pair, renewal_time};

/// How long a CA certificate is valid.
pub const CA_LIFETIME: Duration = Duration::days(365);

/// How long a serving certificate is valid: short, because its key is only ever in memory.
pub const SERVING_LIFETIME: Duration = Duration::days(1);

/// A CA that can sign. `Debug` never prints its key.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// Why a CA cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The CA certificate is not PEM, not X.509, or not a CA.
    #[error("the CA certificate is unreadable: {0}")]
    Certificate(String),
    /// The CA's private key is unreadable or does not belong to its certificate.
    #[error("the CA key is unusable: {0}")]
    Key(String),
    /// The CA's validity does not include the present.
    #[error("the CA certificate is valid from {not_before} to {not_after} only")]
    NotValid {
        /// first second of its validity
        not_before: OffsetDateTime,
        /// last second of its validity
        not_after: OffsetDateTime,
    },
    /// Signing failed.
    #[error("signing failed: {0}")]
    Signing(#[from] rcgen::Error),
    /// The signed certificate cannot be served.
    #[error("the signed certificate cannot be served: {0}")]
    Unservable(#[from] PairError),
}

impl Authority {
    /// Creates a CA (ECDSA P-256) that is valid for [`CA_LIFETIME`] from `now`. Its subject is
    /// unique, so that a bundle may hold several of them and every verifier finds the right one.
    ///
    /// # Errors
    /// No randomness is available.
    pub fn generate(now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.not_before = now - BACKDATE;
        params.not_after = now + CA_LIFETIME;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let id: String = params
            .key_identifier(&key)
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("dynamic-networks-webhook-ca-{id}"));
        let certificate = params.self_signed(&key)?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem(), now)
    }

    /// Reads a CA from the output of [`Self::certificate_pem`] and [`Self::key_pem`].
    ///
    /// # Errors
    /// Either is unreadable, they do not belong together, or the CA is not valid at `now`.
    pub fn from_pem(certificate: &str, key: &str, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        let parsed =
            pair::parse_x509(&der).map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(AuthorityError::Certificate(
                "it is not a CA certificate".to_owned(),
            ));
        }
        let key = KeyPair::from_pem(key).map_err(|error| AuthorityError::Key(error.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::Key(
                "it does not belong to the CA certificate".to_owned(),
            ));
        }
        let (not_before, not_after) = pair::validity(&parsed);
        if now < not_before || not_after <= now {
            return Err(AuthorityError::NotValid {
                not_before,
                not_after,
            });
        }
        drop(parsed);
        Ok(Self {
            certificate_pem: certificate.to_owned(),
            der,
            key,
            not_before,
            not_after,
        })
    }

    /// The CA certificate, for a `caBundle`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, PKCS#8. For the Secret only.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// When a successor should be created.
    pub fn renewal_time(&self) -> OffsetDateTime {
        renewal_time(self.not_before, self.not_after)
    }

    /// The end of its validity.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Signs a serving pair with a new key for `names`, valid for [`SERVING_LIFETIME`] but never
    /// longer than the CA. The first name is the one that clients request.
    ///
    /// # Errors
    /// A name is no DNS name, or signing failed.
    pub fn sign(&self, names: &[String], now: OffsetDateTime) -> Result<Pair, AuthorityError> {
        let (certificate, key) = self.sign_pem(names, now)?;
        let name = names.first().map_or("", String::as_str);
        Ok(Pair::parse(certificate.as_bytes(), key.as_bytes(), name, now)?)
    }

    /// As [`Self::sign`], but gives the certificate and the key as PEM: the content of `tls.crt`
    /// and `tls.key`.
    ///
    /// # Errors
    /// A name is no DNS name, or signing failed.
    pub fn sign_pem(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<(String, String), AuthorityError> {
        let issuer = Issuer::from_ca_cert_der(&self.der, &self.key)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.not_before = now - BACKDATE;
        params.not_after = (now + SERVING_LIFETIME).min(self.not_after);
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = names.first().filter(|name| name.len() <= COMMON_NAME_LIMIT) {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// Longest common name that X.509 allows (RFC 5280, ub-common-name), in bytes.
const COMMON_NAME_LIMIT: usize = 64;

/// The DNS names of a service; the first is what the API server asks for when it calls a webhook by
/// service reference.
pub fn service_names(service: &str, namespace: &str) -> [String; 3] {
    [
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
    ]
}
