//! Whether another dynamic-networks controller works on this node. Two that both ADD and DEL undo
//! each other's work, so the agent holds back while there is another one.
//!
//! Flow: the labels of a pod make it a candidate; the pod's spec, read once, confirms it. Any user
//! may write labels, but a controller needs multus' socket, which is a file of the node: a pod that
//! mounts nothing of the node is no controller.
//!
//! Guarantees: the agent's own pod never counts, nor does one that terminates, nor another pod of
//! the agent's own DaemonSet. The predecessor is replaced in place by a new revision of its
//! DaemonSet: the DaemonSet controller waits for the new pod to be ready before it deletes the old
//! one where it may surge, so counting the old one would stop the rollout for good. Two agents of
//! ours are kept apart by the lock on the records.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
};

use crate::identity::PodIdentity;

/// The labels of controllers, as their manifests have them: the predecessor (and KubeVirt's network
/// addons operator, which deploys it in a namespace of its own), and rke2's chart.
const LABELS: [(&str, &str); 4] = [
    ("name", "dynamic-networks-controller"),
    ("app", "dynamic-networks-controller"),
    ("app", "multus-dynamic-networks-controller"),
    ("app", "rke2-multus-dnc"),
];

/// What the watch shows of a pod.
#[derive(Clone, Copy, Debug)]
pub struct PodView<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// What controls it.
    pub owner: Option<Owner<'a>>,
    /// It has a deletion timestamp.
    pub terminating: bool,
}

/// The object that controls a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

/// Why nothing is added or removed in any pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is not known yet whether there is another controller.
    Unknown,
    /// There is one; the text names it and says what to do.
    Other(Rc<str>),
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the pods of this node are not known yet"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The candidates on this node, and what is known about them.
#[derive(Debug)]
pub struct Controllers {
    own: Option<PodIdentity>,
    /// The uid of what controls the agent's own pod.
    own_owner: Option<String>,
    sees_own: bool,
    is_listed: bool,
    /// Everything was known once. From then on a candidate holds nothing back before its spec
    /// confirms it: any user may make one after the other.
    is_decided: bool,
    /// The candidates of a list that is not complete.
    listing: Option<BTreeSet<String>>,
    /// By uid.
    candidates: BTreeMap<String, Candidate>,
}

#[derive(Debug)]
struct Candidate {
    pod: PodIdentity,
    /// Kind, name and uid.
    owner: Option<(String, String, String)>,
    spec: Spec,
}

/// What a candidate's spec says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    Unread,
    /// It could not be read.
    Unknown,
    Confirms,
    Clears,
}

impl Controllers {
    /// Nothing was listed yet. `own`: the agent's own pod; without it, it could not be told from
    /// another controller, and there are no candidates.
    pub fn new(own: Option<PodIdentity>) -> Self {
        Self {
            own,
            own_owner: None,
            sees_own: false,
            is_listed: false,
            is_decided: false,
            listing: None,
            candidates: BTreeMap::new(),
        }
    }

    /// A list of all pods begins.
    pub fn list_begins(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// The list is complete.
    pub fn list_ends(&mut self) {
        self.is_listed = true;
        if let Some(listed) = self.listing.take() {
            self.candidates.retain(|uid, _| listed.contains(uid));
        }
        self.decide();
    }

    /// A pod exists, or has changed.
    pub fn observe(&mut self, pod: &PodView<'_>) {
        let Some(own) = &self.own else { return };
        if is(own, pod) {
            self.sees_own = true;
            self.own_owner = pod.owner.map(|owner| owner.uid.to_owned());
            self.decide();
            return;
        }
        let identity = PodIdentity::new(pod.namespace, pod.name, pod.uid);
        let (true, false, Ok(identity)) = (is_labelled(pod), pod.terminating, identity) else {
            self.gone(pod.uid);
            return;
        };
        if let Some(listed) = &mut self.listing {
            listed.insert(pod.uid.to_owned());
        }
        let owner = pod.owner.map(|owner| {
            let Owner { kind, name, uid } = owner;
            (kind.to_owned(), name.to_owned(), uid.to_owned())
        });
        let candidate = self.candidates.entry(pod.uid.to_owned()).or_insert(Candidate {
            pod: identity,
            owner: None,
            spec: Spec::Unread,
        });
        candidate.owner = owner;
    }

    /// The pod with this uid does not exist any more.
    pub fn gone(&mut self, uid: &str) {
        self.candidates.remove(uid);
        self.decide();
    }

    /// The candidates whose spec has to be read. `again`: also those that may have changed since.
    pub fn unread(&self, again: bool) -> Vec<PodIdentity> {
        let wanted = |candidate: &&Candidate| match candidate.spec {
            Spec::Unread => true,
            Spec::Unknown | Spec::Confirms => again,
            Spec::Clears => false,
        };
        let unread = self.others().filter(wanted);
        unread.map(|candidate| candidate.pod.clone()).collect()
    }

    /// Whether a candidate has to be read again some time later.
    pub fn has_doubtful(&self) -> bool {
        !self.unread(true).is_empty()
    }

    /// The spec of a candidate was read: whether it runs and mounts something of the node. `None`:
    /// it cannot be read. What cannot be read holds nothing back.
    pub fn spec_read(&mut self, pod: &PodIdentity, confirms: Option<bool>) {
        if let Some(candidate) = self.candidates.get_mut(pod.uid()) {
            candidate.spec = match (confirms, candidate.spec) {
                (Some(true), _) | (None, Spec::Confirms) => Spec::Confirms,
                (Some(false), _) => Spec::Clears,
                (None, _) => Spec::Unknown,
            };
        }
        self.decide();
    }

    fn decide(&mut self) {
        let undecided = self.others().any(|candidate| candidate.spec == Spec::Unread);
        self.is_decided |= self.is_listed && self.knows_own() && !undecided;
    }

    /// Until its own pod is seen it is not known which DaemonSet is its own.
    fn knows_own(&self) -> bool {
        let own = self.own.as_ref();
        self.sees_own || own.is_none_or(|own| own.uid().is_empty())
    }

    /// What follows for the agent; `None`: it works.
    pub fn hold(&self) -> Option<Hold> {
        let confirmed: Vec<&Candidate> = self
            .others()
            .filter(|candidate| candidate.spec == Spec::Confirms)
            .collect();
        match confirmed.as_slice() {
            [first, more @ ..] if self.is_listed && self.knows_own() => {
                Some(Hold::Other(text(first, more.len()).into()))
            }
            _ => (!self.is_decided).then_some(Hold::Unknown),
        }
    }

    /// The candidates that the agent's own DaemonSet did not make.
    fn others(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.values().filter(|candidate| {
            let owner = candidate.owner.as_ref().map(|(_, _, uid)| uid);
            owner.is_none() || owner != self.own_owner.as_ref()
        })
    }
}

fn is(own: &PodIdentity, pod: &PodView<'_>) -> bool {
    if own.uid().is_empty() {
        (own.namespace(), own.name()) == (pod.namespace, pod.name)
    } else {
        own.uid() == pod.uid
    }
}

fn is_labelled(pod: &PodView<'_>) -> bool {
    let label = |key: &str| pod.labels.and_then(|labels| labels.get(key));
    LABELS
        .iter()
        .any(|(key, value)| label(key).is_some_and(|of_pod| of_pod == value))
}

fn text(first: &Candidate, more: usize) -> String {
    let owner = first.owner.as_ref();
    let owner = owner.map_or_else(String::new, |(kind, name, _)| format!(" of {kind} {name}"));
    let more = if more == 0 {
        String::new()
    } else {
        format!(", and {more} more")
    };
    format!(
        "another dynamic-networks controller runs on this node: pod {}{owner}{more}; this agent adds and removes nothing \
         in running pods until the other one is gone: remove one of the two",
        first.pod
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DAEMON_SET: Owner<'_> = Owner {
        kind: "DaemonSet",
        name: "dynamic-networks-controller-ds",
        uid: "ds-1",
    };
    const OTHERS: Owner<'_> = Owner {
        uid: "ds-2",
        ..DAEMON_SET
    };

    fn labels(key: &str, value: &str) -> BTreeMap<String, String> {
        [(key.to_owned(), value.to_owned())].into()
    }

    /// A pod with the predecessor's label.
    fn see(controllers: &mut Controllers, uid: &str, owner: Option<Owner<'_>>) {
        let labels = labels("name", "dynamic-networks-controller");
        controllers.observe(&PodView {
            namespace: "kube-system",
            name: uid,
            uid,
            labels: Some(&labels),
            owner,
            terminating: false,
        });
    }

    /// The list shows the agent's own pod.
    fn listed(others: impl FnOnce(&mut Controllers)) -> Controllers {
        let own = PodIdentity::new("kube-system", "own", "own").unwrap();
        let mut controllers = Controllers::new(Some(own));
        controllers.list_begins();
        others(&mut controllers);
        see(&mut controllers, "own", Some(DAEMON_SET));
        controllers.list_ends();
        controllers
    }

    /// Answers every question.
    fn answer(controllers: &mut Controllers, confirms: Option<bool>) {
        for pod in controllers.unread(true) {
            controllers.spec_read(&pod, confirms);
        }
    }

    #[rstest]
    #[case("name", "dynamic-networks-controller")]
    #[case("app", "dynamic-networks-controller")]
    #[case("app", "multus-dynamic-networks-controller")]
    #[case("app", "rke2-multus-dnc")]
    fn another_controller_is_known_by_its_labels(#[case] key: &str, #[case] value: &str) {
        let labels = labels(key, value);
        let mut controllers = listed(|controllers| {
            controllers.observe(&PodView {
                namespace: "addons",
                name: "dnc-x7",
                uid: "u2",
                labels: Some(&labels),
                owner: Some(Owner {
                    name: "dnc",
                    ..OTHERS
                }),
                terminating: false,
            });
        });
        assert_eq!(controllers.hold(), Some(Hold::Unknown));
        answer(&mut controllers, Some(true));
        let text = controllers.hold().unwrap().to_string();
        assert!(text.contains("pod addons/dnc-x7 of DaemonSet dnc;"), "{text}");
        controllers.gone("u2");
        assert_eq!(controllers.hold(), None);
    }

    #[test]
    fn a_pod_with_other_labels_is_none() {
        let labels = labels("app", "multus");
        let controllers = listed(|controllers| {
            controllers.observe(&PodView {
                namespace: "kube-system",
                name: "kube-multus-ds-1",
                uid: "u2",
                labels: Some(&labels),
                owner: Some(OTHERS),
                terminating: false,
            });
        });
        assert_eq!(controllers.hold(), None);
    }

    /// The order within a list is arbitrary.
    #[test]
    fn holds_until_the_list_is_complete() {
        let mut controllers = Controllers::new(Some(PodIdentity::new("kube-system", "own", "own").unwrap()));
        assert_eq!(controllers.hold(), Some(Hold::Unknown));
        controllers.list_begins();
        see(&mut controllers, "own", Some(DAEMON_SET));
        assert_eq!(controllers.hold(), Some(Hold::Unknown));
        controllers.list_ends();
        assert_eq!(controllers.hold(), None);
    }

    #[test]
    fn an_old_replica_of_its_own_daemon_set_is_none() {
        let controllers = listed(|controllers| see(controllers, "old", Some(DAEMON_SET)));
        assert_eq!((controllers.hold(), controllers.unread(true)), (None, Vec::new()));
    }

    #[test]
    fn a_controller_that_nothing_owns_counts() {
        let mut controllers = listed(|controllers| see(controllers, "orphan", None));
        answer(&mut controllers, Some(true));
        assert!(matches!(controllers.hold(), Some(Hold::Other(_))));
    }

    #[test]
    fn a_controller_that_terminates_does_not_count() {
        let mut controllers = listed(|controllers| see(controllers, "u2", Some(OTHERS)));
        answer(&mut controllers, Some(true));
        let labels = labels("name", "dynamic-networks-controller");
        controllers.observe(&PodView {
            namespace: "kube-system",
            name: "u2",
            uid: "u2",
            labels: Some(&labels),
            owner: Some(OTHERS),
            terminating: true,
        });
        assert_eq!(controllers.hold(), None);
    }

    /// Any user may write the labels.
    #[test]
    fn a_pod_without_the_nodes_files_does_not_count() {
        let mut controllers = listed(|controllers| see(controllers, "u2", None));
        answer(&mut controllers, Some(false));
        assert_eq!(controllers.hold(), None);
        see(&mut controllers, "u2", None);
        assert_eq!(
            (controllers.hold(), controllers.unread(true)),
            (None, Vec::new()),
            "it is read once"
        );
    }

    /// Any user may make one after the other.
    #[test]
    fn a_later_candidate_holds_nothing_before_it_is_confirmed() {
        let mut controllers = listed(|_| ());
        see(&mut controllers, "u2", None);
        assert_eq!((controllers.hold(), controllers.unread(false).len()), (None, 1));
        answer(&mut controllers, Some(true));
        assert!(matches!(controllers.hold(), Some(Hold::Other(_))));
    }

    #[test]
    fn holds_until_its_own_pod_is_seen() {
        let mut controllers = Controllers::new(Some(PodIdentity::new("kube-system", "own", "own").unwrap()));
        controllers.list_begins();
        see(&mut controllers, "old", Some(DAEMON_SET));
        controllers.list_ends();
        answer(&mut controllers, Some(true));
        assert_eq!(controllers.hold(), Some(Hold::Unknown));
        see(&mut controllers, "own", Some(DAEMON_SET));
        assert_eq!(controllers.hold(), None);
    }

    #[test]
    fn a_spec_that_cannot_be_read_holds_nothing() {
        let mut controllers = listed(|controllers| see(controllers, "u2", None));
        answer(&mut controllers, None);
        assert_eq!(controllers.hold(), None);
        answer(&mut controllers, Some(true));
        answer(&mut controllers, None);
        assert!(
            matches!(controllers.hold(), Some(Hold::Other(_))),
            "what is known stays"
        );
    }

    #[test]
    fn a_list_forgets_what_it_does_not_show() {
        let mut controllers = listed(|controllers| see(controllers, "u2", Some(OTHERS)));
        answer(&mut controllers, Some(true));
        controllers.list_begins();
        assert!(matches!(controllers.hold(), Some(Hold::Other(_))));
        controllers.list_ends();
        assert_eq!(controllers.hold(), None);
    }

    #[test]
    fn without_an_own_pod_nothing_is_another() {
        let mut controllers = Controllers::new(None);
        see(&mut controllers, "u2", Some(OTHERS));
        controllers.list_ends();
        assert_eq!((controllers.hold(), controllers.has_doubtful()), (None, false));
    }
}
