//! A directory whose pair changes under load, and one whose pair is bad.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::Router;
use certs::Authority;
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::{
    http::Limits,
    testing::{SERVER_NAME, TestServer, connect, until},
};

type Files = (String, String);

/// A directory as the kubelet lays out a Secret volume: the files are links through `..data`, which
/// is swapped.
struct Volume {
    directory: TempDir,
    generation: usize,
}

impl Volume {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{name}"), directory.path().join(name)).unwrap();
        }
        Self {
            directory,
            generation: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    fn put(&mut self, (certificate, key): &Files) {
        self.generation += 1;
        let target = format!("..{}", self.generation);
        let content = self.directory.path().join(&target);
        fs::create_dir(&content).unwrap();
        fs::write(content.join("tls.crt"), certificate).unwrap();
        fs::write(content.join("tls.key"), key).unwrap();
        symlink(&target, self.directory.path().join("..data_tmp")).unwrap();
        fs::rename(
            self.directory.path().join("..data_tmp"),
            self.directory.path().join("..data"),
        )
        .unwrap();
        if self.generation > 1 {
            fs::remove_dir_all(self.directory.path().join(format!("..{}", self.generation - 1))).unwrap();
        }
    }
}

fn issue(authority: &Authority) -> Files {
    authority
        .sign_pem(&[SERVER_NAME.to_owned()], OffsetDateTime::now_utc())
        .unwrap()
}

/// A server that follows `volume`, which holds a good pair.
async fn follow_volume(volume: &Volume) -> TestServer {
    let server = TestServer::start(Router::new(), Limits::default()).await;
    let (directory, certificates, metrics) = (
        volume.path(),
        Arc::clone(&server.certificates),
        server.metrics.clone(),
    );
    let own = server.certificates.pair().unwrap();
    tokio::spawn(async move {
        follow_every(
            Duration::from_millis(1),
            &directory,
            SERVER_NAME,
            &certificates,
            &metrics,
        )
        .await;
    });
    until("the first pair", || {
        server.certificates.pair().unwrap().certified().cert != own.certified().cert
    })
    .await;
    server
}

fn serves(server: &TestServer, files: &Files) -> bool {
    let now = OffsetDateTime::now_utc();
    let pair = Pair::parse(files.0.as_bytes(), files.1.as_bytes(), SERVER_NAME, now).unwrap();
    server.certificates.pair().unwrap().certified().cert == pair.certified().cert
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rotations_under_load_fail_no_handshake() {
    let authority = Authority::generate(OffsetDateTime::now_utc()).unwrap();
    let mut volume = Volume::new();
    volume.put(&issue(&authority));
    let server = follow_volume(&volume).await;
    let (done, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (done, handshakes) = (Arc::clone(&done), Arc::clone(&handshakes));
            let (address, trusted) = (server.address, authority.certificate_pem().to_owned());
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    connect(address, &trusted, "h2").await.unwrap();
                    handshakes.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();

    for _ in 0..100 {
        let files = issue(&authority);
        let before = handshakes.load(Ordering::SeqCst);
        volume.put(&files);
        until("the new pair", || serves(&server, &files)).await;
        until("a handshake", || handshakes.load(Ordering::SeqCst) > before).await;
    }

    done.store(true, Ordering::SeqCst);
    for client in load {
        client.await.unwrap();
    }
}

fn torn(good: &Files, _: &Authority) -> Files {
    (good.0[..good.0.len() / 2].to_owned(), good.1.clone())
}

fn empty(_: &Files, _: &Authority) -> Files {
    (String::new(), String::new())
}

fn mismatched(good: &Files, authority: &Authority) -> Files {
    (good.0.clone(), issue(authority).1)
}

fn foreign(_: &Files, authority: &Authority) -> Files {
    authority
        .sign_pem(&["other.ns.svc".to_owned()], OffsetDateTime::now_utc())
        .unwrap()
}

fn expired(_: &Files, _: &Authority) -> Files {
    let then = OffsetDateTime::now_utc() - time::Duration::days(30);
    Authority::generate(then)
        .unwrap()
        .sign_pem(&[SERVER_NAME.to_owned()], then)
        .unwrap()
}

fn premature(_: &Files, _: &Authority) -> Files {
    let then = OffsetDateTime::now_utc() + time::Duration::days(30);
    Authority::generate(then)
        .unwrap()
        .sign_pem(&[SERVER_NAME.to_owned()], then)
        .unwrap()
}

#[rstest]
#[case::torn(torn, "unreadable")]
#[case::empty(empty, "empty")]
#[case::mismatched(mismatched, "mismatch")]
#[case::foreign(foreign, "foreign")]
#[case::expired(expired, "expired")]
#[case::premature(premature, "not_yet_valid")]
#[tokio::test]
async fn a_bad_pair_is_counted_once_and_not_served(
    #[case] spoil: fn(&Files, &Authority) -> Files,
    #[case] outcome: &str,
) {
    let authority = Authority::generate(OffsetDateTime::now_utc()).unwrap();
    let good = issue(&authority);
    let mut volume = Volume::new();
    volume.put(&good);
    let server = follow_volume(&volume).await;
    let counted = format!("certificate_loads_total{{outcome=\"{outcome}\"}} 1\n");

    volume.put(&spoil(&good, &authority));
    until("the metric", || server.metrics.to_text().contains(&counted)).await;

    assert!(serves(&server, &good));
    connect(server.address, authority.certificate_pem(), "h2")
        .await
        .unwrap();
    assert_eq!(
        server.certificates.unready_reason(OffsetDateTime::now_utc()),
        None,
        "still ready"
    );

    let next = issue(&authority);
    volume.put(&next);
    until("the next good pair", || serves(&server, &next)).await;
    assert!(
        server.metrics.to_text().contains(&counted),
        "once, not at every read"
    );
}

#[tokio::test]
async fn without_a_pair_readiness_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::default();
    let certificates = Arc::new(CertificateStore::new(metrics.clone()));
    let (path, following) = (directory.path().to_owned(), Arc::clone(&certificates));
    tokio::spawn(async move {
        follow_every(Duration::from_millis(1), &path, SERVER_NAME, &following, &metrics).await
    });
    let problem = || {
        certificates
            .unready_reason(OffsetDateTime::now_utc())
            .unwrap_or_default()
    };

    until("the reason", || problem().contains("tls.crt")).await;

    let (certificate, key) = issue(&Authority::generate(OffsetDateTime::now_utc()).unwrap());
    fs::write(directory.path().join("tls.key"), key).unwrap();
    fs::write(directory.path().join("tls.crt"), certificate).unwrap();
    until("readiness", || {
        certificates.unready_reason(OffsetDateTime::now_utc()).is_none()
    })
    .await;
}
