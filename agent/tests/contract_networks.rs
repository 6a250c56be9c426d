//! The networks that pods use, against a scripted API server: what is asked for, how often, over
//! how many connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use agent::kubernetes::networks::{MAX_CONFIG_BYTES, NetworkEvent, Networks, READS_AT_ONCE};
use agent_core::network::NetworkError;
use futures::future::join_all;
use serde_json::json;
use shared::names::NetworkName;
use support::{
    api::{Kind, Order, ScriptedApi, Verb, network},
    soon,
};
use tokio::task::LocalSet;

const CONFIG: &str = r#"{"type":"bridge"}"#;

/// The networks of one node, and the API server before them.
struct Node {
    server: ScriptedApi,
    networks: Networks,
    events: Rc<RefCell<Vec<NetworkEvent>>>,
    conf_dir: tempfile::TempDir,
}

/// Runs `test` on a node.
async fn on_a_node(test: impl AsyncFnOnce(Node)) {
    on_a_node_that_lingers(Duration::ZERO, test).await;
}

/// The same; networks are followed so long after their last pod.
async fn on_a_node_that_lingers(linger: Duration, test: impl AsyncFnOnce(Node)) {
    let local = LocalSet::new();
    local
        .run_until(async {
            let server = ScriptedApi::start().await;
            let conf_dir = tempfile::tempdir().unwrap();
            let networks = Networks::new(&server.client().await, conf_dir.path().to_owned(), linger);
            let events: Rc<RefCell<Vec<NetworkEvent>>> = Rc::default();
            let (running, told) = (networks.clone(), Rc::clone(&events));
            tokio::task::spawn_local(async move {
                running.run(|event| told.borrow_mut().push(event)).await;
            });
            test(Node {
                server,
                networks,
                events,
                conf_dir,
            })
            .await;
        })
        .await;
}

fn name(text: &str) -> NetworkName {
    NetworkName::parse(text).unwrap()
}

fn changed(network: &str, version: Option<&str>, pods: &[&str]) -> NetworkEvent {
    NetworkEvent::Changed {
        network: name(network),
        resource_version: version.map(str::to_owned),
        pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
    }
}

impl Node {
    fn follow(&self, pod: &str, networks: &[&str]) {
        let networks: BTreeSet<_> = networks.iter().map(|text| name(text)).collect();
        self.networks.follow(pod, networks);
    }

    fn put(&self, text: &str, uid: &str, config: &str) -> String {
        let of = name(text);
        self.server
            .put(Kind::Network, network(of.namespace(), of.name(), uid, config))
    }

    async fn read(&self, network: &str) -> Result<String, NetworkError> {
        let read = soon(self.networks.read(&name(network))).await;
        read.map(|definition| definition.config)
    }

    fn count(&self, verb: Verb) -> usize {
        self.server.count(Kind::Network, verb)
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let waited = async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), waited).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.events.borrow());
    }

    async fn is_told(&self, event: NetworkEvent) {
        let what = format!("{event:?} is told");
        self.until(&what, |node| node.events.borrow().contains(&event))
            .await;
    }

    async fn watches(&self) {
        self.until("the watch is open", |node| node.count(Verb::Watch) > 0)
            .await;
    }

    /// The watch fails and reads do not.
    async fn loses_the_watch(&self) {
        self.server.ordered(Kind::Network, Verb::Watch, Order::Hangup);
        self.server.cuts(true);
        self.until("the loss is told", |node| {
            node.events
                .borrow()
                .iter()
                .any(|event| matches!(event, NetworkEvent::Lost(_)))
        })
        .await;
    }
}

#[tokio::test]
async fn reads_a_network_once_for_all_its_pods() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        for pod in 0..60 {
            node.follow(&pod.to_string(), &["ns/a"]);
        }
        for _ in 0..2 {
            let read = join_all((0..60).map(|_| node.read("ns/a"))).await;
            assert!(read.iter().all(|config| config.as_deref() == Ok(CONFIG)));
        }
        let verbs = [Verb::List, Verb::Watch, Verb::Get];
        assert_eq!(verbs.map(|verb| node.count(verb)), [1, 1, 1]);
        let requests = node.server.counts().requests;
        assert!(
            requests
                .iter()
                .any(|(_, verb, uri)| *verb == Verb::List && uri.contains("limit=1"))
        );
    })
    .await;
}

#[tokio::test]
async fn reads_each_unknown_name_once() {
    on_a_node(async |node: Node| {
        let unknown = |pod: usize| (0..64).map(move |n| name(&format!("ns/x{pod}-{n}")));
        for pod in 0..40 {
            node.networks.follow(&pod.to_string(), unknown(pod).collect());
        }
        for _ in 0..3 {
            let names: Vec<NetworkName> = (0..40).flat_map(unknown).collect();
            let read = soon(join_all(names.iter().map(|name| node.networks.read(name)))).await;
            let missing = |read: &Result<_, _>| matches!(read, Err(NetworkError::Missing(_)));
            assert_eq!(read.iter().filter(|read| missing(read)).count(), 2_560);
        }
        let verbs = [Verb::List, Verb::Watch, Verb::Get];
        assert_eq!(verbs.map(|verb| node.count(verb)), [1, 1, 2_560]);
        let counts = node.server.counts();
        assert!(counts.at_once.1 <= READS_AT_ONCE, "{:?}", counts.at_once);
        assert!(
            counts.connections.2 <= 2 * READS_AT_ONCE + 1,
            "{:?}",
            counts.connections
        );

        // One of them appears.
        let version = node.put("ns/x7-7", "u1", CONFIG);
        node.is_told(changed("ns/x7-7", Some(&version), &["7"])).await;
        assert_eq!(node.read("ns/x7-7").await.as_deref(), Ok(CONFIG));
        assert_eq!(node.count(Verb::Get), 2_561);
        assert_eq!(node.events.borrow().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn drops_the_events_of_other_networks() {
    on_a_node(async |node: Node| {
        node.follow("p", &["ns/a"]);
        node.watches().await;
        for n in 0..1_000 {
            node.put(&format!("ns/other{n}"), "u", CONFIG);
        }
        let version = node.put("ns/a", "u1", CONFIG);
        node.is_told(changed("ns/a", Some(&version), &["p"])).await;
        assert_eq!(node.events.borrow().len(), 1);
        assert_eq!(node.count(Verb::Get), 0);
    })
    .await;
}

#[tokio::test]
async fn reads_a_network_again_when_it_changes() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.follow("p", &["ns/a"]);
        node.follow("q", &["ns/a", "ns/b"]);
        node.read("ns/a").await.unwrap();
        let version = node.put("ns/a", "u1", "{}");
        node.is_told(changed("ns/a", Some(&version), &["p", "q"])).await;
        assert_eq!(node.read("ns/a").await.as_deref(), Ok("{}"));
        assert_eq!(node.read("ns/a").await.as_deref(), Ok("{}"));
        assert_eq!(node.count(Verb::Get), 2);
    })
    .await;
}

#[tokio::test]
async fn follows_a_network_through_deletion_and_return() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.follow("p", &["ns/a"]);
        node.read("ns/a").await.unwrap();
        node.server.delete(Kind::Network, "ns", "a");
        node.is_told(changed("ns/a", None, &["p"])).await;
        assert_eq!(node.read("ns/a").await, Err(NetworkError::Missing(name("ns/a"))));
        assert_eq!(node.count(Verb::Get), 1);
        let version = node.put("ns/a", "u2", "{}");
        node.is_told(changed("ns/a", Some(&version), &["p"])).await;
        assert_eq!(node.read("ns/a").await.as_deref(), Ok("{}"));
        assert_eq!(node.count(Verb::Get), 2);
    })
    .await;
}

#[tokio::test]
async fn reads_again_what_a_forgotten_version_may_hide() {
    on_a_node(async |node: Node| {
        for network in ["ns/a", "ns/b", "ns/c", "ns/unread"] {
            node.put(network, "u1", CONFIG);
        }
        node.follow("p", &["ns/a", "ns/b", "ns/c", "ns/d", "ns/unread"]);
        for network in ["ns/a", "ns/b", "ns/c"] {
            node.read(network).await.unwrap();
        }
        node.read("ns/d").await.unwrap_err();
        node.server.cuts(false);
        node.until("the loss is told", |node| !node.events.borrow().is_empty())
            .await;
        let version = node.put("ns/a", "u1", "{}");
        node.server.delete(Kind::Network, "ns", "b");
        let appeared = node.put("ns/d", "u1", CONFIG);
        node.server.expires();
        node.server.opens();

        node.is_told(NetworkEvent::Resumed).await;
        node.is_told(changed("ns/a", Some(&version), &["p"])).await;
        node.is_told(changed("ns/b", None, &["p"])).await;
        node.is_told(changed("ns/d", Some(&appeared), &["p"])).await;
        node.until("each is read again", |node| node.count(Verb::Get) == 8)
            .await;
        assert_eq!(node.events.borrow().len(), 5);
        assert_eq!(node.count(Verb::List), 2);
    })
    .await;
}

#[tokio::test]
async fn resumes_a_cut_watch_where_it_was() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.put("ns/b", "u1", CONFIG);
        node.follow("p", &["ns/a", "ns/b"]);
        node.read("ns/a").await.unwrap();
        node.read("ns/b").await.unwrap();
        node.loses_the_watch().await;
        let version = node.put("ns/a", "u1", "{}");
        node.server.obeys();
        node.is_told(NetworkEvent::Resumed).await;
        node.is_told(changed("ns/a", Some(&version), &["p"])).await;
        assert_eq!(node.events.borrow().len(), 3);
        assert_eq!(node.count(Verb::List), 1);
        assert_eq!(node.read("ns/a").await.as_deref(), Ok("{}"));
    })
    .await;
}

#[tokio::test]
async fn reads_at_each_use_while_the_watch_is_down() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.follow("p", &["ns/a"]);
        node.read("ns/a").await.unwrap();
        node.loses_the_watch().await;
        node.put("ns/a", "u1", "{}");
        assert_eq!(node.read("ns/a").await.as_deref(), Ok("{}"));
        assert_eq!(node.read("ns/a").await.as_deref(), Ok("{}"));
        assert_eq!(node.count(Verb::Get), 3);
    })
    .await;
}

/// What was asked for before a request came may be older than what the request is about.
#[tokio::test]
async fn shares_only_a_read_that_begins_later() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.follow("p", &["ns/a"]);
        node.watches().await;
        node.loses_the_watch().await;
        node.server.ordered(Kind::Network, Verb::Get, Order::Silence);
        let first = node.read("ns/a");
        let later = async {
            node.until("the first is sent", |node| node.count(Verb::Get) == 1)
                .await;
            join_all((0..9).map(|_| node.read("ns/a"))).await
        };
        let answered = async {
            node.until("the first is sent", |node| node.count(Verb::Get) == 1)
                .await;
            tokio::task::yield_now().await;
            node.put("ns/a", "u1", "{}");
            node.server.ordered(Kind::Network, Verb::Watch, Order::Hangup);
            node.server.obeys_about(Kind::Network, Verb::Get);
        };
        let (_, later, ()) = soon(async { tokio::join!(first, later, answered) }).await;
        assert!(
            later.iter().all(|config| config.as_deref() == Ok("{}")),
            "{later:?}"
        );
        assert_eq!(node.count(Verb::Get), 2);
    })
    .await;
}

#[tokio::test]
async fn keeps_reading_while_given_up_reads_hang() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.follow("p", &["ns/a"]);
        node.watches().await;
        node.server.ordered(Kind::Network, Verb::Get, Order::Silence);
        let hanging: Vec<NetworkName> = (0..READS_AT_ONCE).map(|n| name(&format!("ns/h{n}"))).collect();
        {
            let mut reads = Box::pin(join_all(hanging.iter().map(|name| node.networks.read(name))));
            let sent = node.until("they are sent", |node| node.count(Verb::Get) == READS_AT_ONCE);
            tokio::select! {
                _ = &mut reads => panic!("they hang"),
                () = sent => {}
            }
        }
        node.server.obeys_about(Kind::Network, Verb::Get);
        assert_eq!(node.read("ns/a").await.as_deref(), Ok(CONFIG));
    })
    .await;
}

#[tokio::test]
async fn reads_ahead_what_the_pod_will_need() {
    on_a_node(async |node: Node| {
        let all = ["ns/a", "ns/b", "ns/c", "ns/d", "ns/e", "ns/f"];
        for network in all {
            node.put(network, network, CONFIG);
        }
        node.follow("p", &all);
        node.follow("q", &["ns/other"]);
        node.watches().await;
        node.server.ordered(Kind::Network, Verb::Get, Order::Silence);
        let first = name("ns/a");
        {
            let mut reads = Box::pin(async {
                let read = futures::join!(node.read("ns/a"), node.networks.read_ahead("p", &first));
                assert_eq!(read.0.as_deref(), Ok(CONFIG));
            });
            let sent = node.until("they are sent", |node| node.count(Verb::Get) == READS_AT_ONCE);
            tokio::select! {
                () = &mut reads => panic!("they hang"),
                () = sent => {}
            }
            node.server.obeys_about(Kind::Network, Verb::Get);
            soon(reads).await;
        }
        assert_eq!(node.count(Verb::Get), all.len());
        for network in all {
            assert_eq!(node.read(network).await.as_deref(), Ok(CONFIG));
        }
        assert_eq!(node.count(Verb::Get), all.len(), "each is read once");
    })
    .await;
}

#[tokio::test]
async fn reads_together_what_a_slow_server_delays() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        let slow = Order::Slow(Duration::from_millis(300));
        for verb in [Verb::List, Verb::Watch, Verb::Get] {
            node.server.ordered(Kind::Network, verb, slow.clone());
        }
        node.follow("p", &["ns/a"]);
        let read = join_all((0..20).map(|_| node.read("ns/a"))).await;
        assert!(read.iter().all(|config| config.as_deref() == Ok(CONFIG)));
        assert_eq!(node.count(Verb::Get), 1);
    })
    .await;
}

#[tokio::test]
async fn watches_only_while_a_pod_has_networks() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.follow("p", &["ns/a"]);
        node.follow("q", &["ns/a"]);
        node.follow("r", &[]);
        node.watches().await;
        node.networks.forget("p");
        node.follow("q", &[]);
        node.until("no connection is left for it", |node| {
            node.server.counts().connections.1 == 0
        })
        .await;
        assert_eq!(node.count(Verb::List), 1);

        node.follow("q", &["ns/a"]);
        node.until("it watches again", |node| node.count(Verb::Watch) == 2)
            .await;
        assert_eq!(node.count(Verb::List), 2);
        assert_eq!(*node.events.borrow(), []);
    })
    .await;
}

#[tokio::test]
async fn follows_a_network_a_while_after_its_last_pod() {
    let linger = Duration::from_millis(500);
    on_a_node_that_lingers(linger, async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.follow("p", &["ns/a"]);
        node.watches().await;
        assert_eq!(node.read("ns/a").await.unwrap(), CONFIG);
        node.networks.forget("p");
        node.follow("q", &["ns/a"]);
        assert_eq!(node.read("ns/a").await.unwrap(), CONFIG);
        assert_eq!((node.count(Verb::Watch), node.count(Verb::Get)), (1, 1));

        node.networks.forget("q");
        node.until("only the connection of the reads is left", |node| {
            node.server.counts().connections.1 == 1
        })
        .await;
        assert_eq!(*node.events.borrow(), []);
    })
    .await;
}

#[tokio::test]
async fn says_nothing_when_a_watch_ends_at_its_time() {
    on_a_node(async |node: Node| {
        node.put("ns/a", "u1", CONFIG);
        node.follow("p", &["ns/a"]);
        node.read("ns/a").await.unwrap();
        let first = node.put("ns/a", "u1", "{}");
        node.is_told(changed("ns/a", Some(&first), &["p"])).await;
        node.server.ends_watches();
        node.until("it watches again", |node| node.count(Verb::Watch) == 2)
            .await;
        let second = node.put("ns/a", "u1", CONFIG);
        node.is_told(changed("ns/a", Some(&second), &["p"])).await;
        assert_eq!(node.events.borrow().len(), 2);
        assert_eq!(node.count(Verb::List), 1);
    })
    .await;
}

#[tokio::test]
async fn refuses_a_config_that_is_too_long() {
    on_a_node(async |node: Node| {
        node.put("ns/long", "u1", &"x".repeat(MAX_CONFIG_BYTES + 1));
        node.put("ns/huge", "u1", &"x".repeat(1024 * 1024));
        node.follow("p", &["ns/long", "ns/huge"]);
        for _ in 0..2 {
            let refused = node.read("ns/long").await.unwrap_err();
            assert_eq!(
                refused.to_string(),
                "the NetworkAttachmentDefinition ns/long is too large: more than 131072 bytes of config"
            );
        }
        assert_eq!(node.count(Verb::Get), 1);
        let refused = node.read("ns/huge").await.unwrap_err();
        assert!(
            matches!(refused, NetworkError::TooLarge { part: "JSON", .. }),
            "{refused}"
        );
    })
    .await;
}

#[tokio::test]
async fn tells_a_missing_kind_from_a_missing_network() {
    on_a_node(async |node: Node| {
        for verb in [Verb::List, Verb::Watch, Verb::Get] {
            let missing = "the server could not find the requested resource";
            node.server
                .ordered(Kind::Network, verb, Order::Status(404, missing));
        }
        node.follow("p", &["ns/a"]);
        assert_eq!(node.read("ns/a").await, Err(NetworkError::NoSuchKind));
        // The kind is installed.
        node.put("ns/a", "u1", CONFIG);
        node.server.obeys();
        node.is_told(NetworkEvent::Resumed).await;
        assert_eq!(node.read("ns/a").await.as_deref(), Ok(CONFIG));
    })
    .await;
}

#[tokio::test]
async fn takes_the_config_of_an_empty_spec_from_the_node() {
    on_a_node(async |node: Node| {
        let (file, mut object) = (node.conf_dir.path().join("a.conf"), network("ns", "a", "u1", ""));
        object["metadata"]["annotations"] = json!({"k8s.v1.cni.cncf.io/resourceName": "example.org/nic"});
        node.server.put(Kind::Network, object);
        node.follow("p", &["ns/a"]);
        assert!(matches!(
            node.read("ns/a").await,
            Err(NetworkError::NoFile { .. })
        ));
        std::fs::write(&file, r#"{"name":"a","type":"bridge"}"#).unwrap();
        let read = soon(node.networks.read(&name("ns/a"))).await.unwrap();
        assert_eq!(read.config, r#"{"name":"a","type":"bridge"}"#);
        assert_eq!(read.resource_name.as_deref(), Some("example.org/nic"));
        assert_eq!(node.count(Verb::Get), 1);
    })
    .await;
}

/// What a user of the networks last heard of each: by a read, or by an event that came during or
/// after it.
type Heard = Rc<RefCell<BTreeMap<NetworkName, Option<String>>>>;

impl Node {
    async fn read_and_hear(&self, network: &NetworkName, heard: &Heard) {
        let events = self.events.borrow().len();
        let read = soon(self.networks.read(network)).await;
        let version = match read {
            Ok(definition) => Some(definition.resource_version),
            Err(NetworkError::Missing(_)) => None,
            Err(_) => return,
        };
        let during = |event: &NetworkEvent| matches!(event, NetworkEvent::Changed { network: of, .. } if of == network);
        if !self.events.borrow().iter().skip(events).any(during) {
            heard.borrow_mut().insert(network.clone(), version);
        }
    }

    fn hear(&self, from: usize, heard: &Heard) -> usize {
        let events = self.events.borrow();
        for event in events.iter().skip(from) {
            if let NetworkEvent::Changed {
                network,
                resource_version,
                ..
            } = event
            {
                heard
                    .borrow_mut()
                    .insert(network.clone(), resource_version.clone());
            }
        }
        events.len()
    }

    /// One of the things that can happen to networks, pods, or the way to the API server.
    fn happens(&self, random: &mut fastrand::Rng, names: &[NetworkName]) {
        let of = &names[random.usize(..names.len())];
        let exists = self.server.has(Kind::Network, of.namespace(), of.name());
        match random.u8(..12) {
            0..4 => drop(self.put(of.as_str(), "u", CONFIG)),
            4..6 if exists => self.server.delete(Kind::Network, of.namespace(), of.name()),
            6 => self.server.ends_watches(),
            7 => self.server.cuts(true),
            8 => {
                self.server.expires();
                self.server.cuts(true);
            }
            9 => self.server.ordered(Kind::Network, Verb::Watch, Order::Hangup),
            10 => self
                .server
                .ordered(Kind::Network, Verb::Get, Order::Slow(Duration::from_millis(5))),
            11 => self.server.obeys(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn hears_of_every_change_in_the_end() {
    join_all((0..16).map(|seed| {
        on_a_node(async move |node: Node| {
            let mut random = fastrand::Rng::with_seed(seed);
            let names: Vec<NetworkName> = (0..4).map(|n| name(&format!("ns/a{n}"))).collect();
            node.networks.follow("p", names.iter().cloned().collect());
            let heard = Heard::default();
            let mut told = 0;
            for _ in 0..80 {
                node.happens(&mut random, &names);
                if random.bool() {
                    node.read_and_hear(&names[random.usize(..names.len())], &heard)
                        .await;
                }
                tokio::time::sleep(Duration::from_millis(random.u64(..4))).await;
                told = node.hear(told, &heard);
            }
            node.server.obeys();
            let what = format!("all is heard of (seed {seed})");
            let told = RefCell::new(told);
            node.until(&what, |node| {
                let next = node.hear(*told.borrow(), &heard);
                *told.borrow_mut() = next;
                heard.borrow().iter().all(|(network, version)| {
                    *version
                        == node
                            .server
                            .version(Kind::Network, network.namespace(), network.name())
                })
            })
            .await;
        })
    }))
    .await;
}
