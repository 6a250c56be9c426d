//! Renewal on a socket: clients that shake hands without a pause, and trust what the registrations
//! say.

use std::sync::atomic::AtomicUsize;

use axum::Router;
use futures::future::{join_all, select_all};
use rustls::time_provider::TimeProvider;

use super::*;
use crate::{
    http::Limits,
    testing::{TestServer, connect_by, until},
};

const RENEWALS: u32 = 100;
const CLIENTS: usize = 3;

/// What clients and the replica go by.
#[derive(Debug)]
struct Clock(Mutex<OffsetDateTime>);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.lock().unwrap().unix_timestamp().unsigned_abs();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_renewals_under_load_fail_no_handshake() {
    let memory = Memory::new();
    let server = TestServer::start(Router::new(), Limits::default()).await;
    let connection = Connection {
        memory: Arc::clone(&memory),
        cut: Arc::default(),
    };
    let mut manager = Manager::new(connection, "webhook", "ns", Arc::clone(&server.certificates));
    manager.reconcile(start()).await.unwrap();
    let clock = Arc::new(Clock(Mutex::new(start())));
    let counts: Vec<_> = (0..CLIENTS).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let load: Vec<_> = counts
        .iter()
        .map(|count| {
            let (count, clock, memory) = (Arc::clone(count), Arc::clone(&clock), Arc::clone(&memory));
            let address = server.address;
            tokio::spawn(async move {
                loop {
                    let bundle = memory.bundles().remove(0);
                    let clock = Arc::<Clock>::clone(&clock);
                    connect_by(address, &bundle, "h2", clock).await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();

    let renewals = async {
        for _ in 0..RENEWALS {
            let pair = server.certificates.pair().unwrap();
            *clock.0.lock().unwrap() = pair.renewal_time();
            manager.reconcile(pair.renewal_time()).await.unwrap();
            assert_ne!(
                server.certificates.pair().unwrap().certified().cert,
                pair.certified().cert
            );
            // Every client has shaken hands with the new pair before the next one comes: two, as
            // one may have been under way.
            let before: Vec<_> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
            join_all(counts.iter().zip(before).map(|(count, before)| {
                until("two handshakes", move || {
                    count.load(Ordering::SeqCst) >= before + 2
                })
            }))
            .await;
        }
    };

    tokio::select! {
        () = renewals => {}
        (ended, ..) = select_all(load) => panic!("a client failed: {ended:?}"),
    }
}
