//! A pod as the agent sees it: its identity, its networks annotation (parsed once), its
//! network-status.

use std::{collections::BTreeSet, rc::Rc};

use shared::{
    names::{InterfaceName, NetworkName},
    readiness::NetworksDigest,
    selection::{MAX_BYTES, SelectionList},
};

use crate::identity::PodIdentity;

/// A pod as the watch last showed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Namespace, name, uid.
    pub identity: PodIdentity,
    /// The networks annotation.
    pub networks: Annotation,
    /// The network-status annotation. Edited, never believed.
    pub status: Option<Rc<str>>,
    /// Bytes of all annotations, keys and values.
    pub annotation_bytes: usize,
    /// The version of the object.
    pub resource_version: String,
    /// KubeVirt's launcher: elements without an interface name are its normal case.
    pub virt_launcher: bool,
    /// It has a deletion timestamp: nothing is plugged or unplugged any more.
    pub terminating: bool,
}

/// The networks annotation of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Annotation {
    /// There is none.
    Absent,
    /// A readable list.
    List(Rc<SelectionList>),
    /// It cannot be read. Nothing follows from it.
    Unreadable {
        /// Why.
        why: Rc<str>,
        /// Tells an edit from a repetition.
        digest: NetworksDigest,
    },
}

impl Pod {
    /// Whether network-status shows interfaces besides the cluster network's. A hint to look, and
    /// no evidence: multus may have attached them for an annotation that was edited before the
    /// agent saw it.
    pub fn shows_more_networks(&self) -> bool {
        let shown = shared::status::read(self.status.as_deref());
        shown.iter().any(|entry| !entry.default)
    }
}

/// Whether a pod's resourceVersion is newer than another. Kubernetes compares them as integers of
/// any length; of anything else it is not known.
pub(crate) fn is_newer(version: &str, than: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    digits(version) && digits(than) && (version.len(), version) > (than.len(), than)
}

impl Annotation {
    /// Parses the annotation of a pod in `namespace`. A result equal to `before` shares its memory.
    pub fn parse(text: Option<&str>, namespace: &str, before: Option<&Self>) -> Self {
        let Some(text) = text else { return Self::Absent };
        match before {
            Some(Self::List(list)) if list.source() == text => return Self::List(Rc::clone(list)),
            _ => {}
        }
        let unreadable = |why: String| Self::Unreadable {
            why: why.into(),
            digest: NetworksDigest::of(text),
        };
        if text.len() > MAX_BYTES {
            return unreadable(format!(
                "it is {} bytes long, {MAX_BYTES} are allowed",
                text.len()
            ));
        }
        match SelectionList::parse(Some(text), namespace) {
            Ok(list) => Self::List(Rc::new(list)),
            Err(violations) => {
                const SHOWN: usize = 3;
                let mut texts: Vec<String> = violations.iter().take(SHOWN).map(ToString::to_string).collect();
                if violations.len() > SHOWN {
                    texts.push(format!("and {} more", violations.len() - SHOWN));
                }
                unreadable(texts.join("; "))
            }
        }
    }

    /// The list, if it can be read. An absent annotation is an empty list.
    pub fn list(&self) -> Option<&SelectionList> {
        match self {
            Self::List(list) => Some(list),
            Self::Absent | Self::Unreadable { .. } => None,
        }
    }

    /// The digest of its text.
    pub fn digest(&self) -> NetworksDigest {
        match self {
            Self::Absent => NetworksDigest::of(""),
            Self::List(list) => NetworksDigest::of(list.source()),
            Self::Unreadable { digest, .. } => *digest,
        }
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::List(list) => list.elements.is_empty(),
            Self::Unreadable { .. } => false,
        }
    }
}

/// The elements of the annotations that the agent has seen: evidence for which of multus'
/// attachments are the annotation's. Bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeenElements(BTreeSet<(NetworkName, Option<InterfaceName>)>);

impl SeenElements {
    /// The most that are kept.
    const MAX: usize = 1024;

    /// Notes the elements of an annotation.
    pub fn note(&mut self, annotation: &Annotation) {
        let elements = annotation.list().into_iter().flat_map(|list| &list.elements);
        for element in elements {
            if self.0.len() >= Self::MAX {
                return;
            }
            self.0
                .insert((element.network.clone(), element.interface.clone()));
        }
    }

    /// Whether an element named `network`, and `interface` or none.
    pub fn names(&self, network: &NetworkName, interface: &InterfaceName) -> bool {
        let named = |name: Option<InterfaceName>| self.0.contains(&(network.clone(), name));
        named(None) || named(Some(interface.clone()))
    }

    /// Forgets all but the elements of the present annotation.
    pub fn restart_from(&mut self, annotation: &Annotation) {
        self.0.clear();
        self.note(annotation);
    }

    /// Whether nothing was ever asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the watch says about a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PodObservation {
    /// The first list has not come yet: absence means nothing.
    #[default]
    Unknown,
    /// It exists.
    Present(Rc<Pod>),
    /// It does not exist any more.
    Gone,
}

impl PodObservation {
    /// The pod, while it exists.
    pub fn pod(&self) -> Option<&Rc<Pod>> {
        match self {
            Self::Present(pod) => Some(pod),
            Self::Unknown | Self::Gone => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Annotation {
        Annotation::parse(Some(text), "default", None)
    }

    #[test]
    fn keeps_nothing_of_a_text_that_is_too_long() {
        let long = "a,".repeat(MAX_BYTES);
        let Annotation::Unreadable { why, .. } = parse(&long) else {
            panic!("it was read");
        };
        assert!(why.len() < 200, "{why}");
    }

    #[test]
    fn shares_the_memory_of_an_unchanged_list() {
        let first = parse("a@net1");
        let second = Annotation::parse(Some("a@net1"), "default", Some(&first));
        let (Annotation::List(first), Annotation::List(second)) = (&first, &second) else {
            panic!("it was not read");
        };
        assert!(Rc::ptr_eq(first, second));
    }

    #[test]
    fn tells_unreadable_texts_apart() {
        assert_ne!(parse("[null]"), parse("[null, null]"));
        assert_eq!(parse("[null]"), parse("[null]"));
    }

    #[test]
    fn remembers_a_bounded_number_of_elements() {
        let mut seen = SeenElements::default();
        for round in 0..200 {
            let list: Vec<String> = (0..60).map(|n| format!("n{round}-{n}@i{n}")).collect();
            seen.note(&parse(&list.join(",")));
        }
        assert_eq!(seen.0.len(), SeenElements::MAX);
    }

    #[test]
    fn forgets_earlier_lists_after_a_first_sight() {
        let mut seen = SeenElements::default();
        seen.note(&parse("a@net1,b@net2"));
        seen.restart_from(&parse("b@net2"));
        assert_eq!(seen.0.len(), 1, "{seen:?}");
    }

    #[test]
    fn an_unnamed_element_names_every_interface_of_its_network() {
        let mut seen = SeenElements::default();
        seen.note(&parse("a,b@net7"));
        let (a, b) = (NetworkName::new("default", "a"), NetworkName::new("default", "b"));
        let net = InterfaceName::net;
        assert!(a.is_ok_and(|a| seen.names(&a, &net(1)) && seen.names(&a, &net(2))));
        assert!(b.is_ok_and(|b| seen.names(&b, &net(7)) && !seen.names(&b, &net(1))));
    }
}
