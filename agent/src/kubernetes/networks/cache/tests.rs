use proptest::prelude::*;

use super::*;

fn name(text: &str) -> NetworkName {
    NetworkName::parse(text).unwrap()
}

fn names(texts: &[&str]) -> BTreeSet<NetworkName> {
    texts.iter().map(|text| name(text)).collect()
}

fn version(text: &str) -> Version {
    Version {
        uid: "u".to_owned(),
        version: text.to_owned(),
    }
}

fn found(at: &str, bytes: usize) -> Rc<Found> {
    Rc::new(Found::Network(Network {
        version: version(at),
        config: "x".repeat(bytes),
        resource_name: None,
    }))
}

/// A watched cache in which pod `p` uses these networks.
fn watched(networks: &[&str]) -> Cache {
    let mut cache = Cache::default();
    cache.follow("p", names(networks));
    assert_eq!(cache.begin(), []);
    cache
}

fn read(cache: &mut Cache, network: &str, found: &Rc<Found>) {
    let stamp = cache.stamp(&name(network));
    cache.learn(&name(network), stamp, found);
}

#[test]
fn holds_what_was_read_until_an_event_changes_it() {
    let (mut cache, a) = (watched(&["n/a"]), name("n/a"));
    read(&mut cache, "n/a", &found("1", 1));
    assert_eq!(cache.held(&a), Some(found("1", 1)));
    // The event of what was read already.
    cache.event(&a, Some(version("1")));
    assert_eq!(cache.held(&a), Some(found("1", 1)));
    assert!(!cache.has_changed());

    cache.event(&a, Some(version("2")));
    assert_eq!(cache.held(&a), None);
    assert_eq!(cache.take_changed(), [(a, Some("2".to_owned()))]);
    assert!(!cache.has_changed());
}

#[test]
fn holds_that_there_is_none() {
    let (mut cache, a) = (watched(&["n/a"]), name("n/a"));
    read(&mut cache, "n/a", &Rc::new(Found::Missing));
    assert_eq!(cache.held(&a).as_deref(), Some(&Found::Missing));
    cache.event(&a, Some(version("1")));
    assert_eq!(cache.held(&a), None);
    cache.event(&a, None);
    assert_eq!(cache.held(&a).as_deref(), Some(&Found::Missing));
    assert_eq!(cache.take_changed(), [(a, None)]);
}

#[test]
fn drops_an_answer_that_an_event_has_overtaken() {
    let (mut cache, a) = (watched(&["n/a"]), name("n/a"));
    let stamp = cache.stamp(&a);
    cache.event(&a, Some(version("2")));
    cache.learn(&a, stamp, &found("1", 1));
    assert_eq!(cache.held(&a), None);
    assert_eq!(cache.take_changed(), [(a, Some("2".to_owned()))]);
}

#[test]
fn drops_an_answer_for_a_pod_that_came_back() {
    let (mut cache, a) = (watched(&["n/a"]), name("n/a"));
    let stamp = cache.stamp(&a);
    cache.follow("p", names(&["n/b"]));
    cache.follow("p", names(&["n/a"]));
    cache.learn(&a, stamp, &found("1", 1));
    assert_eq!(cache.held(&a), None);
}

#[test]
fn tells_the_first_event_of_a_network() {
    let mut cache = watched(&["n/a"]);
    cache.event(&name("n/a"), Some(version("1")));
    cache.event(&name("n/unused"), Some(version("1")));
    assert_eq!(cache.take_changed(), [(name("n/a"), Some("1".to_owned()))]);
}

#[test]
fn holds_nothing_that_was_read_without_a_watch() {
    let mut cache = Cache::default();
    cache.follow("p", names(&["n/a", "n/b"]));
    read(&mut cache, "n/a", &found("1", 1));
    assert_eq!(cache.held(&name("n/a")), None);
    assert_eq!(cache.begin(), [name("n/a")]);
    read(&mut cache, "n/a", &found("2", 1));
    assert_eq!(cache.take_changed(), [(name("n/a"), Some("2".to_owned()))]);
}

#[test]
fn reads_again_what_it_had_read_when_the_watch_begins_again() {
    let mut cache = watched(&["n/a", "n/b", "n/c"]);
    read(&mut cache, "n/a", &found("1", 1));
    read(&mut cache, "n/b", &Rc::new(Found::Missing));
    assert_eq!(cache.begin(), [name("n/a"), name("n/b")]);
    assert_eq!(cache.held(&name("n/a")), None);
    read(&mut cache, "n/a", &found("1", 1));
    read(&mut cache, "n/b", &found("7", 1));
    assert_eq!(cache.take_changed(), [(name("n/b"), Some("7".to_owned()))]);
}

#[test]
fn forgets_a_network_with_its_last_pod() {
    let mut cache = watched(&["n/a"]);
    cache.follow("q", names(&["n/a", "n/b"]));
    read(&mut cache, "n/a", &found("1", 9));
    assert_eq!(cache.pods_of(&name("n/a")), ["p", "q"]);
    cache.follow("p", BTreeSet::new());
    assert!(cache.held(&name("n/a")).is_some());
    cache.follow("q", names(&["n/b"]));
    assert_eq!((cache.held(&name("n/a")), cache.held_bytes), (None, 0));
    cache.follow("q", BTreeSet::new());
    assert!(!cache.is_followed() && cache.networks.is_empty());
}

#[test]
fn drops_the_least_recently_used_config_first() {
    let mut cache = watched(&["n/a", "n/b", "n/c"]);
    let half = MAX_HELD_BYTES / 2;
    read(&mut cache, "n/a", &found("1", half));
    read(&mut cache, "n/b", &found("2", half));
    assert!(cache.held(&name("n/a")).is_some());
    read(&mut cache, "n/c", &found("3", half));
    let held = ["n/a", "n/b", "n/c"].map(|network| cache.held(&name(network)).is_some());
    assert_eq!(held, [true, false, true]);
    // It has not changed by that.
    read(&mut cache, "n/b", &found("2", 1));
    assert!(!cache.has_changed());
}

#[derive(Clone, Debug)]
enum Happening {
    Follow(usize, Vec<usize>),
    Ask(usize),
    Answer(usize, u8, usize),
    Event(usize, Option<u8>),
    Begin,
    Close,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..3_usize, prop::collection::vec(0..5_usize, 0..4))
            .prop_map(|(pod, of)| Happening::Follow(pod, of)),
        (0..5_usize).prop_map(Happening::Ask),
        (0..5_usize, 0..9_u8, 0..MAX_HELD_BYTES).prop_map(|(of, at, size)| Happening::Answer(of, at, size)),
        (0..5_usize, prop::option::of(0..9_u8)).prop_map(|(of, at)| Happening::Event(of, at)),
        Just(Happening::Begin),
        Just(Happening::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn stays_within_its_bounds(happenings in prop::collection::vec(happening(), 0..60)) {
        let all: Vec<NetworkName> = (0..5).map(|index| name(&format!("n/a{index}"))).collect();
        let mut cache = Cache::default();
        let mut stamps = BTreeMap::new();
        for happening in happenings {
            match happening {
                Happening::Follow(pod, of) => {
                    cache.follow(&pod.to_string(), of.into_iter().map(|index| all[index].clone()).collect());
                }
                Happening::Ask(of) => drop(stamps.insert(of, cache.stamp(&all[of]))),
                Happening::Answer(of, at, size) => {
                    let stamp = stamps.get(&of).copied().flatten();
                    cache.learn(&all[of], stamp, &found(&at.to_string(), size));
                }
                Happening::Event(of, at) => cache.event(&all[of], at.map(|at| version(&at.to_string()))),
                Happening::Begin => drop(cache.begin()),
                Happening::Close => cache.close(),
            }
            let used: BTreeSet<&NetworkName> = cache.pods.values().flatten().collect();
            prop_assert!(cache.networks.keys().eq(used));
            prop_assert!(cache.changed.iter().all(|network| cache.networks.contains_key(network)));
            let held: usize = cache.networks.values().map(Known::held_bytes).sum();
            prop_assert_eq!(held, cache.held_bytes);
            prop_assert!(held <= MAX_HELD_BYTES);
        }
    }
}
