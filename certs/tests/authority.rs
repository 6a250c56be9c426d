//! The CA: what it makes, what it reads back, what it signs.
#![allow(clippy::unwrap_used, reason = "helpers outside of test functions")]

use std::sync::Arc;

use certs::{Authority, AuthorityError, CA_LIFETIME, SERVING_LIFETIME, service_names};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use time::{Duration, OffsetDateTime};

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn names() -> Vec<String> {
    service_names("webhook", "kube-system").to_vec()
}

/// Whether a client that trusts `bundle` accepts what `authority` signs, for `name` at `at`.
fn trusted(bundle: &[&Authority], authority: &Authority, name: &str, at: OffsetDateTime) -> bool {
    let mut roots = RootCertStore::empty();
    for authority in bundle {
        roots
            .add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap())
            .unwrap();
    }
    let pair = authority.sign(&names(), now()).unwrap();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix_timestamp().unsigned_abs()));
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .build()
        .unwrap()
        .verify_server_cert(
            &pair.certified().cert[0],
            &[],
            &ServerName::try_from(name.to_owned()).unwrap(),
            &[],
            at,
        )
        .is_ok()
}

#[test]
fn clients_accept_its_pairs_for_each_service_name() {
    let authority = Authority::generate(now()).unwrap();
    for name in names() {
        assert!(trusted(&[&authority], &authority, &name, now()), "{name}");
    }
    assert!(!trusted(
        &[&authority],
        &authority,
        "other.kube-system.svc",
        now()
    ));
    assert!(!trusted(
        &[&authority],
        &authority,
        &names()[0],
        now() + SERVING_LIFETIME + Duration::seconds(1)
    ));
}

#[test]
fn two_authorities_work_in_one_bundle() {
    let (old, new) = (
        Authority::generate(now()).unwrap(),
        Authority::generate(now()).unwrap(),
    );
    let name = &names()[0];

    assert!(trusted(&[&old, &new], &old, name, now()));
    assert!(trusted(&[&old, &new], &new, name, now()));
    assert!(!trusted(&[&old], &new, name, now()));
}

#[test]
fn reads_back_what_it_wrote() {
    let authority = Authority::generate(now()).unwrap();
    let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem(), now()).unwrap();

    assert!(trusted(&[&authority], &again, &names()[0], now()));
    assert_eq!(again.not_after(), now() + CA_LIFETIME);
}

#[test]
fn refuses_what_is_not_a_ca_with_its_key() {
    let authority = Authority::generate(now()).unwrap();
    let other = Authority::generate(now()).unwrap();
    let (leaf, leaf_key) = authority.sign_pem(&names(), now()).unwrap();
    let read = |certificate: &str, key: &str, at| Authority::from_pem(certificate, key, at).unwrap_err();

    assert!(matches!(
        read("", &authority.key_pem(), now()),
        AuthorityError::Certificate(_)
    ));
    assert!(matches!(
        read(&leaf, &leaf_key, now()),
        AuthorityError::Certificate(_)
    ));
    assert!(matches!(
        read(authority.certificate_pem(), "", now()),
        AuthorityError::Key(_)
    ));
    assert!(matches!(
        read(authority.certificate_pem(), &other.key_pem(), now()),
        AuthorityError::Key(_)
    ));
    let late = now() + CA_LIFETIME;
    assert!(matches!(
        read(authority.certificate_pem(), &authority.key_pem(), late),
        AuthorityError::NotValid { .. }
    ));
}

#[test]
fn a_serving_pair_never_outlives_its_ca() {
    let authority = Authority::generate(now()).unwrap();
    let late = now() + CA_LIFETIME - Duration::hours(2);

    let pair = authority.sign(&names(), late).unwrap();

    assert_eq!(pair.not_after(), authority.not_after());
}

#[test]
fn long_service_names_are_signed_without_a_common_name() {
    let authority = Authority::generate(now()).unwrap();
    let long = service_names(&"s".repeat(63), &"n".repeat(63)).to_vec();

    assert!(authority.sign(&long, now()).is_ok());
}

#[test]
fn the_key_is_never_printed() {
    let authority = Authority::generate(now()).unwrap();
    let key: String = authority.key_pem().lines().nth(1).unwrap().to_owned();

    assert!(!format!("{authority:?}").contains(&key));
}
