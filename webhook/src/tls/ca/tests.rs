//! Replicas against a cluster in memory: first start, races, outages, and a whole rotation.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

mod under_load;

use super::{rotation::GRACE, *};
use crate::metrics::Metrics;

/// The Secret and the registrations, with versions as an API server keeps them.
#[derive(Default)]
struct Memory {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    secret: Option<SecretData>,
    registrations: Vec<Registration>,
    version: u64,
}

impl Memory {
    fn new() -> Arc<Self> {
        let memory = Self::default();
        memory.change(|content| {
            content.secret = Some(SecretData {
                version: "0".to_owned(),
                data: Data::new(),
            });
            for kind in ["mutating", "validating"] {
                let bundles = vec![String::new()];
                content.registrations.push(Registration {
                    kind,
                    version: "0".to_owned(),
                    bundles,
                });
            }
        });
        Arc::new(memory)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.content.lock().unwrap())
    }

    fn bundles(&self) -> Vec<String> {
        self.change(|content| {
            content
                .registrations
                .iter()
                .flat_map(|found| found.bundles.clone())
                .collect()
        })
    }

    fn data(&self) -> Data {
        self.change(|content| content.secret.as_ref().unwrap().data.clone())
    }

    fn set_data(&self, data: Data) {
        self.change(|content| {
            content.version += 1;
            content.secret = Some(SecretData {
                version: content.version.to_string(),
                data,
            });
        });
    }
}

use rotation::Data;

/// A replica's connection to it, which can be cut.
struct Connection {
    memory: Arc<Memory>,
    cut: Arc<AtomicBool>,
}

impl Connection {
    fn check(&self) -> Result<(), ClusterError> {
        if self.cut.load(Ordering::SeqCst) {
            Err(ClusterError::Timeout("anything"))
        } else {
            Ok(())
        }
    }
}

impl Cluster for Connection {
    async fn registrations(&self) -> Result<Vec<Registration>, ClusterError> {
        self.check()?;
        // As over a network: others get their turn between a read and the write that follows.
        tokio::task::yield_now().await;
        Ok(self.memory.change(|content| content.registrations.clone()))
    }

    async fn secret(&self) -> Result<SecretData, ClusterError> {
        self.check()?;
        tokio::task::yield_now().await;
        self.memory
            .change(|content| content.secret.clone())
            .ok_or_else(|| ClusterError::NoSecret("ns".to_owned()))
    }

    async fn write_secret(&self, secret: &SecretData) -> Result<(), ClusterError> {
        self.check()?;
        tokio::task::yield_now().await;
        self.memory.change(|content| {
            if content.secret.as_ref().map(|stored| &stored.version) != Some(&secret.version) {
                return Err(ClusterError::Conflict);
            }
            content.version += 1;
            content.secret = Some(SecretData {
                version: content.version.to_string(),
                data: secret.data.clone(),
            });
            Ok(())
        })
    }

    async fn patch_bundle(&self, registration: &Registration, bundle: &str) -> Result<(), ClusterError> {
        self.check()?;
        tokio::task::yield_now().await;
        self.memory.change(|content| {
            content.version += 1;
            let version = content.version.to_string();
            let stored = content
                .registrations
                .iter_mut()
                .find(|stored| (stored.kind, &stored.version) == (registration.kind, &registration.version))
                .ok_or(ClusterError::Conflict)?;
            stored.version = version;
            stored.bundles.fill(bundle.to_owned());
            Ok(())
        })
    }
}

struct Replica {
    manager: Manager<Connection>,
    certificates: Arc<CertificateStore>,
    cut: Arc<AtomicBool>,
}

impl Replica {
    fn of(memory: &Arc<Memory>) -> Self {
        let certificates = Arc::new(CertificateStore::new(Metrics::default()));
        let cut = Arc::new(AtomicBool::new(false));
        let connection = Connection {
            memory: Arc::clone(memory),
            cut: Arc::clone(&cut),
        };
        let manager = Manager::new(connection, "webhook", "ns", Arc::clone(&certificates));
        Self {
            manager,
            certificates,
            cut,
        }
    }

    /// Reconciles until it succeeds, as the loop would.
    async fn settle(&mut self, now: OffsetDateTime) {
        for _ in 0..20 {
            if self.manager.reconcile(now).await.is_ok() {
                return;
            }
        }
        panic!("no reconcile succeeds");
    }

    fn is_trusted(&self, bundle: &str, now: OffsetDateTime) -> bool {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        if roots.is_empty() {
            return false;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
        let pair = self.certificates.pair().unwrap();
        let name = ServerName::try_from("webhook.ns.svc").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.unix_timestamp().unsigned_abs()));
        verifier
            .build()
            .unwrap()
            .verify_server_cert(&pair.certified().cert[0], &[], &name, &[], now)
            .is_ok()
    }

    fn is_trusted_by_all(&self, memory: &Memory, now: OffsetDateTime) -> bool {
        memory.bundles().iter().all(|bundle| self.is_trusted(bundle, now))
    }
}

fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

#[tokio::test]
async fn the_first_replica_makes_a_ca_and_is_trusted() {
    let memory = Memory::new();
    let mut replica = Replica::of(&memory);
    assert!(replica.certificates.unready_reason(start()).is_some());

    replica.manager.reconcile(start()).await.unwrap();

    assert!(replica.is_trusted_by_all(&memory, start()));
    assert_eq!(replica.certificates.unready_reason(start()), None);
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_ca() {
    let memory = Memory::new();
    let mut replicas = [Replica::of(&memory), Replica::of(&memory), Replica::of(&memory)];

    futures::future::join_all(replicas.iter_mut().map(|replica| replica.settle(start()))).await;

    for replica in &replicas {
        assert!(replica.is_trusted_by_all(&memory, start()));
    }
    assert_eq!(memory.bundles()[0].matches("BEGIN CERTIFICATE").count(), 1);
}

#[tokio::test]
async fn a_replica_that_was_overtaken_writes_nothing() {
    let memory = Memory::new();
    let mut slow = Replica::of(&memory);
    let overtaken = slow.manager.reconcile(start());
    let mut overtaken = Box::pin(overtaken);
    // Let it read, then let another one finish first.
    assert!(futures::poll!(&mut overtaken).is_pending());
    assert!(futures::poll!(&mut overtaken).is_pending());
    Replica::of(&memory).settle(start()).await;
    let (data, bundles) = (memory.data(), memory.bundles());

    let outcome = overtaken.await;

    assert!(matches!(
        outcome,
        Err(ReconcileError::Cluster(ClusterError::Conflict))
    ));
    assert_eq!((memory.data(), memory.bundles()), (data, bundles));
}

#[tokio::test]
async fn reapplied_registrations_get_the_ca_again() {
    let memory = Memory::new();
    let mut replica = Replica::of(&memory);
    replica.settle(start()).await;
    let before = memory.bundles();
    memory.change(|content| content.registrations[1].bundles = vec![String::new(), "foreign".to_owned()]);

    replica.settle(start()).await;

    assert_eq!(
        memory.bundles(),
        [before[0].clone(), before[0].clone(), before[0].clone()]
    );
}

#[tokio::test]
async fn a_second_pass_changes_nothing() {
    let memory = Memory::new();
    let mut replica = Replica::of(&memory);
    replica.settle(start()).await;
    let version = memory.change(|content| content.version);

    let due = replica.manager.reconcile(start()).await.unwrap();

    assert_eq!(memory.change(|content| content.version), version);
    assert!(due > Duration::from_secs(3600), "{due:?}");
}

#[tokio::test]
async fn renews_the_serving_pair_without_an_api_server() {
    let memory = Memory::new();
    let mut replica = Replica::of(&memory);
    replica.settle(start()).await;
    let first = replica.certificates.pair().unwrap().not_after();
    replica.cut.store(true, Ordering::SeqCst);
    let later = start() + time::Duration::hours(20);

    assert!(replica.manager.reconcile(later).await.is_err());

    assert!(replica.certificates.pair().unwrap().not_after() > first);
    assert!(replica.is_trusted_by_all(&memory, later));
    assert_eq!(replica.certificates.unready_reason(later), None);
}

#[tokio::test]
async fn readiness_names_the_missing_secret() {
    let memory = Memory::new();
    memory.change(|content| content.secret = None);
    let mut replica = Replica::of(&memory);

    assert!(replica.manager.reconcile(start()).await.is_err());

    assert!(replica.certificates.pair().is_none());
    let problem = replica.certificates.unready_reason(start()).unwrap();
    assert!(problem.contains("does not exist"), "{problem}");
}

#[tokio::test]
async fn without_registrations_a_pair_is_served_all_the_same() {
    let memory = Memory::new();
    memory.change(|content| content.registrations.clear());
    let mut replica = Replica::of(&memory);

    replica.manager.reconcile(start()).await.unwrap();

    assert_eq!(replica.certificates.unready_reason(start()), None);
}

#[tokio::test]
async fn replaces_an_unusable_ca_and_keeps_foreign_keys() {
    let memory = Memory::new();
    let mut replica = Replica::of(&memory);
    replica.settle(start()).await;
    for damaged in [
        Data::new(),
        Data::from([
            ("ca.crt".to_owned(), b"\xff".to_vec()),
            ("mine".to_owned(), b"x".to_vec()),
        ]),
    ] {
        let foreign = damaged.get("mine").cloned();
        let before = memory.bundles();
        memory.set_data(damaged);

        replica.settle(start()).await;

        assert_ne!(memory.bundles(), before);
        assert!(replica.is_trusted_by_all(&memory, start()));
        assert_eq!(memory.data().get("mine").cloned(), foreign);
    }
}

#[tokio::test]
async fn an_expired_ca_is_replaced_at_a_cold_start() {
    let memory = Memory::new();
    Replica::of(&memory).settle(start()).await;
    let years_later = start() + time::Duration::days(1000);
    let mut replica = Replica::of(&memory);

    replica.settle(years_later).await;

    assert!(replica.is_trusted_by_all(&memory, years_later));
}

/// Three replicas over more than two rotations; one of them is cut off through the whole first one.
/// API servers may use bundles that are up to nearly the grace period old. At every moment every
/// replica is trusted by all of them.
#[tokio::test]
async fn api_servers_trust_every_replica_through_rotations() {
    let memory = Memory::new();
    let mut replicas = [Replica::of(&memory), Replica::of(&memory), Replica::of(&memory)];
    let mut now = start();
    for replica in &mut replicas {
        replica.settle(now).await;
    }
    let mut seen: Vec<(OffsetDateTime, Vec<String>)> = vec![(now, memory.bundles())];
    let mut authorities = vec![memory.data()["ca.crt"].clone()];
    let mut turn = 0;
    while now < start() + time::Duration::days(550) {
        let changes = memory.data().contains_key("next-ca.crt");
        now += if changes {
            time::Duration::seconds(10)
        } else {
            time::Duration::hours(7)
        };
        // The first rotation is due after about 243 days.
        let cut = (time::Duration::days(240)..time::Duration::days(246)).contains(&(now - start()));
        replicas[2].cut.store(cut, Ordering::SeqCst);
        // One replica after the other has its turn, so the others lag behind what it does.
        turn = (turn + 1) % replicas.len();
        let _ = replicas[turn].manager.reconcile(now).await;
        if !changes {
            for replica in &mut replicas {
                let _ = replica.manager.reconcile(now).await;
            }
        }

        seen.push((now, memory.bundles()));
        let current = memory.data()["ca.crt"].clone();
        if authorities.last() != Some(&current) {
            authorities.push(current);
        }
        // What was replaced longer ago than an API server may lag is no longer in use.
        while seen.len() > 1 && seen[1].0 < now - GRACE + time::Duration::seconds(20) {
            seen.remove(0);
        }
        for bundle in seen.iter().flat_map(|(_, bundles)| bundles) {
            for (index, replica) in replicas.iter().enumerate() {
                let after = now - start();
                assert!(replica.is_trusted(bundle, now), "replica {index} after {after}");
            }
        }
    }
    assert_eq!(authorities.len(), 3, "two rotations have happened");
}

/// A Secret that is immutable, for instance: the API server says 422, and will say it again.
#[tokio::test]
async fn what_the_api_server_finds_invalid_is_no_conflict() {
    for code in [409, 422] {
        let client = crate::testing::client(move |_, _| {
            let status =
                serde_json::json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no" });
            (code, status)
        });
        let secret = SecretData {
            version: "1".to_owned(),
            data: Data::new(),
        };
        let error = ApiServer::new(client, "ns")
            .write_secret(&secret)
            .await
            .unwrap_err();
        assert_eq!(matches!(error, ClusterError::Conflict), code == 409, "{error}");
    }
}

/// Wants other bundles than the replica: undoes each write at once, and wakes it.
struct Undone {
    connection: Connection,
    changed: Arc<Notify>,
    writes: Arc<std::sync::atomic::AtomicUsize>,
}

impl Cluster for Undone {
    async fn registrations(&self) -> Result<Vec<Registration>, ClusterError> {
        self.connection.registrations().await
    }

    async fn secret(&self) -> Result<SecretData, ClusterError> {
        self.connection.secret().await
    }

    async fn write_secret(&self, secret: &SecretData) -> Result<(), ClusterError> {
        self.connection.write_secret(secret).await
    }

    async fn patch_bundle(&self, _: &Registration, _: &str) -> Result<(), ClusterError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn backs_off_from_a_writer_that_undoes_each_write() {
    let (changed, writes) = (Arc::<Notify>::default(), Arc::default());
    let cluster = Undone {
        connection: Connection {
            memory: Memory::new(),
            cut: Arc::default(),
        },
        changed: Arc::clone(&changed),
        writes: Arc::clone(&writes),
    };
    let certificates = Arc::new(CertificateStore::new(Metrics::default()));
    let manager = Manager::new(cluster, "s", "ns", certificates);
    let run = manager.run(&changed);
    let _ = tokio::time::timeout(Duration::from_secs(600), run).await;
    // Two registrations per reconcile.
    let rounds = writes.load(Ordering::SeqCst) / 2;
    assert!((5..25).contains(&rounds), "{rounds}");
}

/// A replica whose clock is behind finds CAs that are not valid yet.
#[tokio::test]
async fn a_ca_not_valid_yet_is_not_replaced() {
    let now = OffsetDateTime::now_utc();
    let memory = Memory::new();
    let replica = |memory: &Arc<Memory>| {
        let connection = Connection {
            memory: Arc::clone(memory),
            cut: Arc::default(),
        };
        Manager::new(
            connection,
            "s",
            "ns",
            Arc::new(CertificateStore::new(Metrics::default())),
        )
    };
    replica(&memory).reconcile(now).await.unwrap();
    let (data, bundles) = (memory.data(), memory.bundles());

    let error = replica(&memory)
        .reconcile(now - time::Duration::hours(1))
        .await
        .unwrap_err();

    assert!(error.to_string().contains("clock"), "{error}");
    assert_eq!((memory.data(), memory.bundles()), (data, bundles));
}
