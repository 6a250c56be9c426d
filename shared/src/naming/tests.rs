//! Who gets which name, in lists of every sort.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn list(annotation: &str) -> SelectionList {
    SelectionList::parse(Some(annotation), "default").unwrap()
}

fn filled(names: &[Option<InterfaceName>]) -> Vec<&str> {
    names
        .iter()
        .map(|name| name.as_ref().map_or("-", InterfaceName::as_str))
        .collect()
}

fn status(entries: &[(&str, &str)]) -> Vec<StatusEntry> {
    let entry = |(name, interface): &(&str, &str)| StatusEntry {
        name: (*name).to_owned(),
        interface: (*interface).to_owned(),
        ..StatusEntry::default()
    };
    entries.iter().map(entry).collect()
}

#[rstest]
#[case("a,b@x,c", 0, &["net1", "-", "net3"])]
#[case("a,b@x,c", 1, &["net2", "-", "net4"])]
#[case("a", u32::MAX, &["net4294967295"])]
fn multus_counts_named_elements_too(#[case] text: &str, #[case] offset: u32, #[case] names: &[&str]) {
    assert_eq!(filled(&multus_names(&list(text), offset)), names);
}

#[rstest]
#[case("a,b,c", 0, &["net1", "net2", "net3"])]
#[case("a,b@x,c", 0, &["net1", "-", "net3"])]
#[case("a,b@net1", 0, &["net2", "-"])]
#[case("a@net2,b", 0, &["-", "net1"])]
#[case("a,b@net1,c", 0, &["net2", "-", "net3"])]
#[case("a@net3,b,c", 0, &["-", "net2", "net1"])]
#[case("a,b@net2", 1, &["net3", "-"])]
fn on_create_gives_multus_name_or_the_lowest_free(
    #[case] text: &str,
    #[case] offset: u32,
    #[case] names: &[&str],
) {
    assert_eq!(filled(&fill_on_create(&list(text), offset)), names);
}

#[test]
fn on_create_avoids_the_names_of_multus_default_networks() {
    assert_eq!(filled(&fill_on_create(&list("a@net3,b"), 1)), ["-", "net2"]);
}

#[test]
fn on_update_adopts_status_entries_in_order() {
    let status = status(&[
        ("default/b", "net1"),
        ("default/a", "net7"),
        ("default/a", "net2"),
    ]);
    assert_eq!(
        filled(&fill_on_update(&list("a,b,a"), None, &status)),
        ["net7", "net1", "net2"]
    );
}

#[test]
fn on_update_adopts_nothing_that_a_named_element_claims() {
    let status = status(&[("default/a", "net1"), ("default/a", "net2")]);
    assert_eq!(
        filled(&fill_on_update(&list("a,a@net1"), None, &status)),
        ["net2", "-"]
    );
}

#[test]
fn on_update_avoids_every_name_in_use() {
    let old = list("a@net1,b@net2");
    let status = status(&[("default/z", "net3")]);
    assert_eq!(
        filled(&fill_on_update(&list("c,b@net4"), Some(&old), &status)),
        ["net5", "-"]
    );
}

#[rstest]
#[case::not_yet_in_the_status("a", "a@net1", &[], &["net1"])]
#[case::two_of_a_network("a,a", "a@net2,a@net1", &[], &["net2", "net1"])]
#[case::one_is_up("a,b,a", "a@net1,b@net2,a@net3", &[("default/a", "net3")], &["net1", "net2", "net3"])]
#[case::a_name_of_ones_own("a", "a@ens4", &[], &["ens4"])]
#[case::still_unnamed("a,a", "a,a@net2", &[("default/a", "net1"), ("default/a", "net2")], &["net1", "net2"])]
fn a_list_that_is_applied_again_keeps_its_interfaces(
    #[case] again: &str,
    #[case] old: &str,
    #[case] entries: &[(&str, &str)],
    #[case] names: &[&str],
) {
    let old = list(old);
    assert_eq!(
        filled(&fill_on_update(&list(again), Some(&old), &status(entries))),
        names
    );
}

#[test]
fn keeps_the_interface_when_a_similar_element_is_removed() {
    let element = |ip: &str, interface: &str| format!(r#"{{"name":"a","ips":["{ip}"]{interface}}}"#);
    let first = element("10.0.0.1", r#","interface":"net1""#);
    let second = element("10.0.0.2", r#","interface":"net2""#);
    let old = list(&format!("[{first},{second}]"));
    let status = status(&[("default/a", "net2"), ("default/a", "net1")]);
    let again = |elements: &[String]| list(&format!("[{}]", elements.join(",")));
    let (first, second) = (element("10.0.0.1", ""), element("10.0.0.2", ""));

    for (elements, names) in [
        (vec![second.clone()], vec!["net2"]),
        (vec![first.clone(), second.clone()], vec!["net1", "net2"]),
        (vec![second, first], vec!["net2", "net1"]),
    ] {
        assert_eq!(
            filled(&fill_on_update(&again(&elements), Some(&old), &status)),
            names
        );
    }
}

#[test]
fn an_element_that_was_not_plugged_keeps_its_name() {
    let old = list(r#"[{"name":"a","ips":["10.0.0.1"],"interface":"net1"}]"#);
    let corrected = list(r#"[{"name":"a","ips":["10.0.0.2"]}]"#);
    assert_eq!(filled(&fill_on_update(&corrected, Some(&old), &[])), ["net1"]);
}

#[test]
fn prefers_network_status_names_over_the_old_list() {
    let old = list(r#"[{"name":"a","ips":["10.0.0.1"],"interface":"net5"}]"#);
    let status = status(&[("default/a", "net1")]);
    assert_eq!(filled(&fill_on_update(&list("a"), Some(&old), &status)), ["net1"]);
}

#[rstest]
#[case("eth0")]
#[case("lo")]
#[case("")]
#[case("a/b")]
#[case("a,b")]
#[case("x@y")]
fn a_forged_status_entry_is_not_adopted(#[case] interface: &str) {
    assert_eq!(
        filled(&fill_on_update(
            &list("a"),
            None,
            &status(&[("default/a", interface)])
        )),
        ["net1"]
    );
}

#[test]
fn the_default_network_is_never_adopted() {
    let mut entries = status(&[("default/a", "net9")]);
    entries.iter_mut().for_each(|entry| entry.default = true);
    assert_eq!(filled(&fill_on_update(&list("a"), None, &entries)), ["net1"]);
}

proptest! {
    #[test]
    fn filling_names_every_element_once_and_only_once(
        items in prop::collection::vec(("[a-c]", prop::option::of(1u32..6)), 1..8),
        offset in 0u32..3,
    ) {
        let mut named = HashSet::new();
        let text: Vec<String> = items
            .iter()
            .map(|(name, number)| match number {
                Some(number) if named.insert(*number) => format!("{name}@net{number}"),
                _ => name.clone(),
            })
            .collect();
        let before = list(&text.join(","));
        for names in [fill_on_create(&before, offset), fill_on_update(&before, None, &[])] {
            let after = list(&before.with_interfaces(&names));
            prop_assert!(after.elements.iter().all(|element| element.interface.is_some()));
            prop_assert_eq!(after.with_interfaces(&fill_on_create(&after, offset)), after.source());
            for (before, after) in before.elements.iter().zip(&after.elements) {
                prop_assert!(before.interface.is_none() || before.interface == after.interface);
                prop_assert_eq!(&before.network, &after.network);
            }
        }
    }
}
