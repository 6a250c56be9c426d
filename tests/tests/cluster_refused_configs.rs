//! A network whose plugin refuses its configuration blocks nothing: the whole table of
//! [`tests::refused`], each row alone and in a chain, before and behind a plugin that is in order,
//! with each thing that can follow.

use std::{collections::BTreeSet, time::Instant};

use futures::{StreamExt, future::try_join_all};
use shared::cni::check;
use tests::{
    Error, LONG, NO_NETWORKS, Nad, Namespace, Observer, PLUG, Pod, Result, Scene, Sight, breaches,
    in_namespace, macvlan,
    refused::{Place, Shape, Wrong},
};

/// Elements of one pod.
const PER_POD: usize = 6;
/// Pods at once.
const AT_ONCE: usize = 12;
/// Tries with growing pauses are no flood: those of a minute and a half, and what comes of an
/// interrupted one.
const MOST_FAILURES: i32 = 12;
/// An undo that fails may say so; one that fails again and again is stuck.
const MOST_FAILED_REMOVALS: i32 = 4;

/// What follows the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// The network is corrected, or the link that it needs comes to exist.
    Corrected,
    /// Another network takes the interface's name.
    Swapped,
    /// The element is removed.
    Removed,
    /// The pod is deleted.
    Deleted,
}

/// Whether a plugin is there, and what is on the node, no check of a text can know.
const ONLY_ON_THE_NODE: [&str; 4] = ["type", "ipam-type", "absent-master", "absent-device"];

#[tokio::test]
async fn a_refused_configuration_blocks_nothing() -> Result<()> {
    in_namespace("refused", async |ns| {
        ns.admits_broken_networks().await?;
        let good = ns.create_nad("good", macvlan().host_local()).await?;
        let groups = groups(ns, ns.cluster.node.refused().await?);
        agrees_with_the_check(&groups);
        let count: usize = groups.iter().map(|group| group.elements.len()).sum();
        println!("{count} attachments in {} pods", groups.len());
        let observer = Observer::new(ns);
        let runs = groups.iter().map(|group| async {
            let outcome = group.run(ns, &observer, &good).await;
            outcome.inspect_err(|error| println!("{} ({:?}): {error}", group.pod, group.follows))
        });
        let all = futures::stream::iter(runs).buffer_unordered(AT_ONCE);
        let outcomes: Vec<_> = observer.during(all.collect()).await;
        outcomes.into_iter().collect()
    })
    .await
}

/// What the real plugins refuse below, the check of the webhook refuses too, but for what only the
/// node knows; and it takes everything that they take.
fn agrees_with_the_check(groups: &[Group]) {
    let mut unseen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for element in groups.iter().flat_map(|group| &group.elements) {
        let right = check(&element.right, "n").runnable();
        assert!(right.is_ok(), "{}: {right:?}", element.right);
        if check(&element.refused, "n").runnable().is_ok() {
            unseen.insert((element.row.plugin, element.row.what));
        }
    }
    println!("refused by the plugins alone: {unseen:?}");
    let unexpected = unseen.iter().find(|(_, what)| !ONLY_ON_THE_NODE.contains(what));
    assert_eq!(unexpected, None);
}

/// One attachment of the product.
struct Element {
    row: Wrong,
    nad: Nad,
    interface: String,
    link: String,
    refused: String,
    right: String,
}

/// The elements of one pod, which share what follows.
struct Group {
    pod: String,
    follows: Follows,
    elements: Vec<Element>,
}

/// The whole product, those that need a link apart from the others: only they have to wait for a
/// retry.
fn groups(ns: &Namespace, mut rows: Vec<Wrong>) -> Vec<Group> {
    rows.sort_by_key(|row| row.needs_link_only());
    let product: Vec<_> = rows
        .iter()
        .flat_map(|row| Shape::ALL.map(|shape| (*row, shape)))
        .collect();
    let mut groups = Vec::new();
    for follows in [
        Follows::Corrected,
        Follows::Swapped,
        Follows::Removed,
        Follows::Deleted,
    ] {
        for (index, some) in product.chunks(PER_POD).enumerate() {
            let first = groups.len() * PER_POD;
            let element = |(at, (row, shape)): (usize, &(Wrong, Shape))| {
                element(ns, *row, *shape, follows, (first + at, at + 1))
            };
            groups.push(Group {
                pod: format!("{follows:?}-{index}").to_lowercase(),
                follows,
                elements: some.iter().enumerate().map(element).collect(),
            });
        }
    }
    groups
}

fn element(
    ns: &Namespace,
    row: Wrong,
    shape: Shape,
    follows: Follows,
    (number, place): (usize, usize),
) -> Element {
    let name = format!("{}-{}-{}-{follows:?}", row.plugin, row.what, shape.name()).to_lowercase();
    let nad = Nad {
        config_name: format!("{}-{name}", ns.name),
        subnet: format!("10.{}.{}", 100 + number / 200, number % 200),
        namespace: ns.name.clone(),
        name,
    };
    let link = ns.link(number);
    let (refused, right) = row.configs(
        shape,
        Place {
            config_name: &nad.config_name,
            subnet: &nad.subnet,
            bridge: &ns.bridge(&nad.name),
            link: &link,
        },
    );
    Element {
        row,
        nad,
        interface: format!("net{place}"),
        link,
        refused,
        right,
    }
}

impl Group {
    async fn run(&self, ns: &Namespace, observer: &Observer<'_>, good: &Nad) -> Result<()> {
        let pod = self.begin(ns).await?;
        observer.show(&pod).await?;
        let run = Run {
            group: self,
            ns,
            observer,
            good,
            sandbox: pod.sandbox().await?.id.clone(),
            pod,
        };
        run.is_refused().await?;
        let began = Instant::now();
        match self.follows {
            Follows::Corrected => run.is_corrected().await?,
            Follows::Swapped => run.is_swapped().await?,
            Follows::Removed => run.is_removed().await?,
            Follows::Deleted => {}
        }
        let took = began.elapsed();
        if self.follows != Follows::Removed {
            run.pod.delete().await?;
            run.leaves_nothing().await?;
        }
        println!("{}: {took:?}, and {:?} with its end", self.pod, began.elapsed());
        run.is_quiet().await?;
        observer.hide(&run.pod).await
    }

    async fn begin(&self, ns: &Namespace) -> Result<Pod> {
        let moved = self.elements.iter().filter(|element| element.has_link_before());
        let links: Vec<_> = moved.map(|element| element.link.as_str()).collect();
        let nads = self
            .elements
            .iter()
            .map(|element| ns.create_described_nad(&element.nad, &element.refused));
        let (pod, _, ()) = futures::try_join!(
            ns.running_pod(&self.pod, NO_NETWORKS),
            try_join_all(nads),
            ns.add_links(&links)
        )?;
        Ok(pod)
    }

    fn nads(&self) -> Vec<&Nad> {
        self.elements.iter().map(|element| &element.nad).collect()
    }

    fn interfaces(&self) -> Vec<String> {
        self.elements
            .iter()
            .map(|element| element.interface.clone())
            .collect()
    }
}

impl Element {
    /// A link that is moved into the pod only when everything is right: until then it is the
    /// node's.
    fn has_link_before(&self) -> bool {
        self.row.moves_link() && !self.row.needs_link_only()
    }
}

struct Run<'a> {
    group: &'a Group,
    ns: &'a Namespace,
    observer: &'a Observer<'a>,
    good: &'a Nad,
    pod: Pod,
    sandbox: String,
}

impl Run<'_> {
    /// Each element fails, says so, and leaves nothing half-made.
    async fn is_refused(&self) -> Result<()> {
        let list = self.group.elements.iter();
        let list: Vec<_> = list
            .map(|element| format!("{}@{}", element.nad.name, element.interface))
            .collect();
        self.pod.annotate(&list.join(",")).await?;
        self.until("every element is refused", |sight| {
            let failures = sight.events_of(&self.pod);
            let silent = self.group.elements.iter().filter(|element| {
                let about = format!("interface {} ", element.interface);
                !failures
                    .iter()
                    .any(|event| event.reason == "FailedAddingInterface" && event.message.contains(&about))
            });
            nothing(silent.map(|element| format!("no event about {}", element.nad.name)))
        })
        .await?;
        self.until("nothing half-made is left", |sight| self.is_empty(sight))
            .await
    }

    async fn is_corrected(&self) -> Result<()> {
        let (absent, others): (Vec<_>, Vec<_>) = self
            .group
            .elements
            .iter()
            .partition(|element| element.row.needs_link_only());
        let links: Vec<_> = absent.iter().map(|element| element.link.as_str()).collect();
        let changes = others
            .iter()
            .map(|element| self.ns.change_nad(&element.nad, &element.right));
        futures::try_join!(self.ns.add_links(&links), try_join_all(changes))?;
        // A change of the network is worth a try at once; of a link on the node nobody tells.
        let deadline = if absent.is_empty() { PLUG } else { LONG };
        let wanted = self.group.interfaces();
        self.observer
            .until(deadline, "every corrected network is plugged", |sight| {
                self.rests(&sight.scene(&self.pod, &self.sandbox, &wanted, &self.group.nads()))
            })
            .await
    }

    async fn is_swapped(&self) -> Result<()> {
        let wanted = self.group.interfaces();
        let list: Vec<_> = wanted
            .iter()
            .map(|interface| format!("{}@{interface}", self.good.name))
            .collect();
        self.pod.annotate(&list.join(",")).await?;
        let mut nads = self.group.nads();
        nads.push(self.good);
        self.until("the other network is plugged everywhere", |sight| {
            self.links_are_back(sight)?;
            self.rests(&sight.scene(&self.pod, &self.sandbox, &wanted, &nads))
        })
        .await
    }

    async fn is_removed(&self) -> Result<()> {
        self.pod.annotate("[]").await?;
        self.until("nothing is left of what was removed", |sight| {
            self.links_are_back(sight)?;
            self.rests(&sight.scene(&self.pod, &self.sandbox, &[], &self.group.nads()))
        })
        .await?;
        self.saw_every_del().await
    }

    async fn leaves_nothing(&self) -> Result<()> {
        let mut nads = self.group.nads();
        nads.push(self.good);
        self.until("nothing is left of the pod", |sight| {
            self.rests(&sight.end(&self.sandbox, &nads))
        })
        .await?;
        self.saw_every_del().await
    }

    /// The plugin that was in order has seen a DEL after each ADD.
    async fn saw_every_del(&self) -> Result<()> {
        let recorded = self.ns.cluster.node.recorded(&self.sandbox).await?;
        self.rests(&Scene {
            calls: recorded.into_iter().map(|recorded| recorded.call).collect(),
            ..Scene::default()
        })
    }

    /// No event is repeated without end.
    async fn is_quiet(&self) -> Result<()> {
        self.until("no event is repeated without end", |sight| {
            let events = sight.events_of(&self.pod);
            let count = |interface: &str, reason: &str| -> i32 {
                let about = format!("interface {interface} ");
                let events = events
                    .iter()
                    .filter(|event| event.warning && event.message.contains(&about));
                events
                    .filter(|event| event.reason.starts_with(reason))
                    .map(|event| event.count)
                    .sum()
            };
            let loud = self.group.elements.iter().filter(|element| {
                count(&element.interface, "") > MOST_FAILURES
                    || count(&element.interface, "FailedRemoving") > MOST_FAILED_REMOVALS
            });
            let loud = loud.map(|element| format!("too many about {}", element.nad.name));
            nothing(loud)
        })
        .await
    }

    /// No interface and no lease, and the node has its links.
    fn is_empty(&self, sight: &Sight) -> Result<()> {
        self.links_are_back(sight)?;
        let mut scene = sight.scene(&self.pod, &self.sandbox, &[], &self.group.nads());
        // What the agent still has to say about a failed try is its own affair.
        for live in &mut scene.live {
            live.records.clear();
        }
        self.rests(&scene)
    }

    fn links_are_back(&self, sight: &Sight) -> Result<()> {
        let links = self
            .group
            .elements
            .iter()
            .filter(|element| element.has_link_before());
        let away = links.filter(|element| !sight.links.contains(&element.link));
        nothing(away.map(|element| format!("the device of {} is not the node's", element.nad.name)))
    }

    fn rests(&self, scene: &Scene) -> Result<()> {
        let of = |breach: &str| {
            let elements = self.group.elements.iter();
            let about = elements.filter(|element| breach.contains(&format!("\"{}\"", element.interface)));
            about
                .map(|element| element.nad.name.clone())
                .collect::<Vec<_>>()
                .join("")
        };
        let found = breaches(scene)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        nothing(
            found
                .into_iter()
                .map(|breach| format!("{breach} {}", of(&breach))),
        )
    }

    async fn until(&self, description: &str, condition: impl Fn(&Sight) -> Result<()>) -> Result<()> {
        self.observer.until(LONG, description, condition).await
    }
}

fn nothing(found: impl Iterator<Item = String>) -> Result<()> {
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        Ok(())
    } else {
        Err(Error::Unexpected(found.join("; ")))
    }
}
