//! Which pairs are served, and which are refused with what reason.
#![allow(clippy::unwrap_used, reason = "helpers outside of test functions")]

use certs::{Authority, Pair, PairError, SERVING_LIFETIME, service_names};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rstest::rstest;
use time::{Duration, OffsetDateTime};

const NAME: &str = "webhook.kube-system.svc";
/// Made for these tests; ring cannot generate RSA keys.
const RSA_PKCS8: &str = include_str!("../testdata/rsa-2048-pkcs8.pem");
/// The same key in the older form.
const RSA_PKCS1: &str = include_str!("../testdata/rsa-2048-pkcs1.pem");

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn names() -> Vec<String> {
    service_names("webhook", "kube-system").to_vec()
}

fn good() -> (String, String) {
    Authority::generate(now())
        .unwrap()
        .sign_pem(&names(), now())
        .unwrap()
}

fn parse(certificate: &str, key: &str) -> Result<Pair, PairError> {
    Pair::parse(certificate.as_bytes(), key.as_bytes(), NAME, now())
}

#[rstest]
#[case::p256(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())]
#[case::p384(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())]
#[case::ed25519(KeyPair::generate_for(&PKCS_ED25519).unwrap())]
#[case::rsa(KeyPair::from_pem(RSA_PKCS8).unwrap())]
fn accepts_a_chain_of_every_common_algorithm(#[case] key: KeyPair) {
    let leaf = CertificateParams::new(names())
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let issuer = Authority::generate(now()).unwrap();
    let chain = leaf.pem() + issuer.certificate_pem();

    let pair = parse(&chain, &key.serialize_pem()).unwrap();

    assert_eq!(pair.certified().cert.len(), 2);
}

#[test]
fn accepts_an_rsa_key_in_pkcs1_form() {
    let leaf = CertificateParams::new(names())
        .unwrap()
        .self_signed(&KeyPair::from_pem(RSA_PKCS8).unwrap())
        .unwrap();

    assert!(parse(&leaf.pem(), RSA_PKCS1).is_ok());
}

#[test]
fn refuses_an_empty_or_blank_file() {
    let (certificate, key) = good();

    assert_eq!(parse("", &key).unwrap_err(), PairError::Empty("certificate"));
    assert_eq!(parse(&certificate, " \n").unwrap_err(), PairError::Empty("key"));
}

#[test]
fn refuses_a_file_torn_at_any_byte() {
    let (certificate, key) = good();
    let last_line = |pem: &str| pem.trim_end().len();
    for cut in 1..last_line(&certificate) {
        assert!(
            parse(&certificate[..cut], &key).is_err(),
            "certificate cut at {cut}"
        );
    }
    for cut in 1..last_line(&key) {
        assert!(parse(&certificate, &key[..cut]).is_err(), "key cut at {cut}");
    }
}

#[test]
fn refuses_a_certificate_where_the_key_should_be() {
    let (certificate, key) = good();

    assert_eq!(
        parse(&certificate, &certificate).unwrap_err().kind(),
        "unreadable"
    );
    assert_eq!(parse(&key, &key).unwrap_err().kind(), "unreadable");
}

#[test]
fn refuses_a_key_of_another_certificate() {
    let (certificate, _) = good();
    let (_, key) = good();

    assert_eq!(parse(&certificate, &key).unwrap_err(), PairError::Mismatch);
    assert_eq!(parse(&certificate, RSA_PKCS8).unwrap_err(), PairError::Mismatch);
}

#[test]
fn refuses_a_certificate_outside_its_time() {
    let (certificate, key) = good();
    let at = |time| {
        Pair::parse(certificate.as_bytes(), key.as_bytes(), NAME, time)
            .unwrap_err()
            .kind()
    };

    assert_eq!(at(now() + SERVING_LIFETIME), "expired");
    assert_eq!(at(now() - Duration::hours(1)), "not_yet_valid");
}

#[test]
fn refuses_a_certificate_for_another_name() {
    let (certificate, key) = Authority::generate(now())
        .unwrap()
        .sign_pem(&["other.default.svc".to_owned()], now())
        .unwrap();

    assert_eq!(
        parse(&certificate, &key).unwrap_err(),
        PairError::Foreign(NAME.to_owned())
    );
}
