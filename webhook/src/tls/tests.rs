//! Chains of every common algorithm, shown to a client that trusts the root alone.

use axum::Router;
use certs::Pair;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};
use rstest::rstest;

use super::*;
use crate::{
    http::Limits,
    testing::{SERVER_NAME, TestServer, connect},
};

/// *ring* cannot generate RSA keys.
const RSA: &str = include_str!("../../../certs/testdata/rsa-2048-pkcs8.pem");

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

#[rstest]
#[case::rsa(|| KeyPair::from_pem(RSA).unwrap())]
#[case::p256(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())]
#[case::p384(|| KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())]
#[case::ed25519(|| KeyPair::generate_for(&PKCS_ED25519).unwrap())]
#[tokio::test]
async fn a_chain_of_every_common_algorithm_is_served_whole(#[case] key: fn() -> KeyPair) {
    let (root_key, middle_key, leaf_key) = (key(), key(), key());
    let root = ca("root").self_signed(&root_key).unwrap();
    let root_issuer = Issuer::new(ca("root"), root_key);
    let middle = ca("middle").signed_by(&middle_key, &root_issuer).unwrap();
    let middle_issuer = Issuer::new(ca("middle"), middle_key);
    let leaf = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &middle_issuer).unwrap();
    let chain = leaf.pem() + &middle.pem();
    let server = TestServer::start(Router::new(), Limits::default()).await;

    let now = OffsetDateTime::now_utc();
    server.certificates.install(
        Pair::parse(
            chain.as_bytes(),
            leaf_key.serialize_pem().as_bytes(),
            SERVER_NAME,
            now,
        )
        .unwrap(),
    );

    connect(server.address, &root.pem(), "h2").await.unwrap();
}
