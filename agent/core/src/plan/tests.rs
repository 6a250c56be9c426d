use rstest::rstest;

use super::*;

fn interface(name: &str) -> InterfaceName {
    InterfaceName::parse(name).unwrap()
}

fn network(name: &str) -> NetworkName {
    NetworkName::new("default", name).unwrap()
}

/// `network@interface`, or `network` alone for an element without a name.
fn selection(text: &str) -> Selection {
    let (name, named) = text
        .split_once('@')
        .map_or((text, None), |(name, named)| (name, Some(interface(named))));
    let mut selection = Selection::new(network(name));
    selection.interface = named;
    selection
}

fn selections(elements: &[&str]) -> Vec<Selection> {
    elements.iter().map(|text| selection(text)).collect()
}

fn wanted(selections: &[Selection]) -> Desired<'_> {
    let element = |selection| Element {
        selection,
        refusal: None,
        hint: selection
            .interface
            .is_none()
            .then(|| format!("write {}@net9", selection.network.name())),
    };
    Desired::Elements(selections.iter().map(element).collect())
}

fn plan_of(elements: &[&str], observed: &Observed) -> Plan {
    plan(&wanted(&selections(elements)), observed)
}

fn there(attachments: &[(&str, State)]) -> Observed {
    let attachment = |(text, state): &(&str, State)| {
        let selection = selection(text);
        Attachment {
            network: selection.network,
            interface: selection.interface.unwrap(),
            state: *state,
            attributes: Attributes::default(),
            owes: false,
        }
    };
    Observed {
        attachments: attachments.iter().map(attachment).collect(),
        ..Observed::default()
    }
}

fn present(attachments: &[&str]) -> Observed {
    there(
        &attachments
            .iter()
            .map(|text| (*text, State::Attached))
            .collect::<Vec<_>>(),
    )
}

fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::RecoverResult(interface) => format!("recover {interface}"),
        Step::CleanUpLostAdd(interface) => format!("clean up {interface}"),
        Step::ReleaseOwed(interface) => format!("release {interface}"),
        Step::Unplug(interface) => format!("unplug {interface}"),
        Step::Plug { interface, selection } => format!("plug {interface} on {}", selection.network.name()),
    };
    plan.steps.iter().map(word).collect()
}

#[rstest]
#[case::nothing_wanted_nothing_there(&[], &[], &[])]
#[case::adds_in_annotation_order(&["b@net2", "a@net1"], &[], &["plug net2 on b", "plug net1 on a"])]
#[case::keeps_what_is_there(&["a@net1"], &["a@net1"], &[])]
#[case::removes_backwards(&[], &["a@net1", "b@net2"], &["unplug net2", "unplug net1"])]
#[case::removes_before_it_adds(&["c@net3"], &["a@net1"], &["unplug net1", "plug net3 on c"])]
#[case::swaps_a_network_under_the_same_name(&["b@net1"], &["a@net1"], &["unplug net1", "plug net1 on b"])]
#[case::an_unnamed_element_has_what_no_name_claims(&["a@net1", "a"], &["a@net1", "a@net2"], &[])]
#[case::the_kth_unnamed_element_has_the_kth_attachment(&["a", "a"], &["a@net1", "a@net2", "a@net3"], &["unplug net3"])]
fn plans(#[case] annotation: &[&str], #[case] attachments: &[&str], #[case] steps: &[&str]) {
    assert_eq!(words(&plan_of(annotation, &present(attachments))), steps);
}

#[test]
fn removes_nothing_when_the_annotation_is_unreadable() {
    let plan = plan(&Desired::Unreadable("not JSON"), &present(&["a@net1"]));
    assert_eq!(plan.steps, []);
    assert_eq!(plan.problems, [Problem::Unreadable("not JSON".to_owned())]);
}

#[test]
fn finishes_what_is_half_done_also_when_the_annotation_is_unreadable() {
    let observed = there(&[
        ("a@net1", State::NeedsDel),
        ("b@net2", State::AddLost),
        ("c@net3", State::Attached),
    ]);
    let plan = plan(&Desired::Unreadable(""), &observed);
    assert_eq!(words(&plan), ["clean up net2", "unplug net1"]);
}

#[test]
fn does_nothing_else_while_a_plugin_may_still_run() {
    let doubt = State::InFlight {
        until: Duration::from_secs(30),
    };
    let observed = there(&[
        ("a@net1", doubt),
        ("b@net2", State::Attached),
        ("c@net3", State::AddCompleted),
    ]);
    let plan = plan_of(&["d@net4"], &observed);
    assert_eq!(words(&plan), ["recover net3"]);
    assert_eq!(plan.blocked_until, Some(Duration::from_secs(30)));
}

#[rstest]
#[case(State::AddLost, &["clean up net1", "plug net1 on a"])]
#[case(State::Absent, &["plug net1 on a"])]
#[case(State::NeedsDel, &["unplug net1", "plug net1 on a"])]
#[case(State::AddCompleted, &["recover net1"])]
fn goes_on_from_every_state(#[case] state: State, #[case] steps: &[&str]) {
    assert_eq!(words(&plan_of(&["a@net1"], &there(&[("a@net1", state)]))), steps);
}

#[rstest]
#[case(State::AddLost, &["clean up net1"])]
#[case(State::Absent, &[])]
#[case(State::NeedsDel, &["unplug net1"])]
fn cleans_up_what_is_no_longer_wanted(#[case] state: State, #[case] steps: &[&str]) {
    assert_eq!(words(&plan_of(&[], &there(&[("a@net1", state)]))), steps);
}

#[test]
fn asks_for_a_name_and_goes_on_with_the_siblings() {
    let plan = plan_of(&["a", "b@net2"], &Observed::default());
    assert_eq!(words(&plan), ["plug net2 on b"]);
    assert_eq!(
        plan.problems,
        [Problem::Unnamed {
            network: network("a"),
            hint: "write a@net9".to_owned()
        }]
    );
}

#[test]
fn never_touches_what_is_foreign() {
    let observed = Observed {
        foreign: [(interface("net1"), "it is foreign".to_owned())].into(),
        ..present(&[])
    };
    let nothing = plan_of(&[], &observed);
    assert_eq!(nothing, Plan::default());
    let taken = plan_of(&["a@net1"], &observed);
    assert_eq!(taken.steps, []);
    assert!(matches!(&taken.problems[..], [Problem::Rejected { .. }]));
}

#[test]
fn keeps_an_attachment_whose_element_could_not_be_plugged_now() {
    let selections = selections(&["a@net1", "b@net2"]);
    let Desired::Elements(mut elements) = wanted(&selections) else {
        unreachable!()
    };
    for element in &mut elements {
        element.refusal = Some("no".to_owned());
    }
    let plan = plan(&Desired::Elements(elements), &present(&["a@net1"]));
    assert_eq!(plan.steps, []);
    let rejected = Problem::Rejected {
        interface: interface("net2"),
        network: network("b"),
        cause: "no".to_owned(),
    };
    assert_eq!(plan.problems, [rejected]);
}

#[rstest]
#[case::absent_is_no_opinion(Attributes::default(), false)]
#[case::the_same(Attributes { mac: Some("02:00:00:00:00:0A".to_owned()), ..Attributes::default() }, false)]
#[case::another(Attributes { mac: Some("02:00:00:00:00:0b".to_owned()), ..Attributes::default() }, true)]
fn replugs_nothing_for_a_changed_attribute_but_says_so(#[case] asked: Attributes, #[case] complains: bool) {
    let mut observed = present(&["a@net1"]);
    observed.attachments[0].attributes = Attributes {
        ips: vec!["10.0.0.1/24".to_owned()],
        mac: Some("02:00:00:00:00:0a".to_owned()),
        ..Attributes::default()
    };
    let asked = shared::selection::Attributes {
        mac: asked.mac,
        ..shared::selection::Attributes::NONE.clone()
    };
    let selections = [selection("a@net1").with_attributes(asked)];
    let plan = plan(&wanted(&selections), &observed);
    assert_eq!(plan.steps, []);
    assert_eq!(!plan.problems.is_empty(), complains);
}

/// Unnamed elements that ask for these addresses.
fn unnamed(addresses: &[&str]) -> Vec<Selection> {
    let element = |address: &&str| {
        let asked = shared::selection::Attributes {
            ips: vec![(*address).to_owned()],
            ..shared::selection::Attributes::NONE.clone()
        };
        selection("a").with_attributes(asked)
    };
    addresses.iter().map(element).collect()
}

#[rstest]
#[case::the_second_stays(&["10.0.0.2/24"], &["unplug net1"])]
#[case::the_first_stays(&["10.0.0.1/24"], &["unplug net2"])]
#[case::both_stay_in_any_order(&["10.0.0.2/24", "10.0.0.1/24"], &[])]
fn attributes_tell_unnamed_elements_apart(#[case] addresses: &[&str], #[case] steps: &[&str]) {
    let mut observed = present(&["a@net1", "a@net2"]);
    for (attachment, address) in observed
        .attachments
        .iter_mut()
        .zip(["10.0.0.1/24", "10.0.0.2/24"])
    {
        attachment.attributes.ips = vec![address.to_owned()];
    }
    let plan = plan(&wanted(&unnamed(addresses)), &observed);
    assert_eq!(words(&plan), steps);
    assert_eq!(plan.problems, []);
}

#[rstest]
#[case::nothing_wants_the_name(&[], &["release net1"])]
#[case::before_the_next_add(&["b@net1"], &["plug net1 on b"])]
fn an_owed_release_waits_for_a_free_name(#[case] annotation: &[&str], #[case] steps: &[&str]) {
    let mut observed = there(&[("a@net1", State::Absent)]);
    observed.attachments[0].owes = true;
    assert_eq!(words(&plan_of(annotation, &observed)), steps);
}

#[test]
fn an_owed_release_never_touches_a_present_attachment() {
    let mut observed = present(&["a@net1"]);
    observed.attachments[0].owes = true;
    assert_eq!(words(&plan_of(&["a@net1"], &observed)), Vec::<String>::new());
}

/// What was asked for when multus or an older agent plugged it is not known.
#[rstest]
#[case::another(Some("0c:42:a1:03:00:00:00:01"), true)]
#[case::the_same(Some("0c:42:a1:03:00:00:00:02"), false)]
#[case::not_known(None, false)]
fn says_that_a_capability_request_cannot_be_changed(#[case] plugged: Option<&str>, #[case] complains: bool) {
    let mut observed = present(&["a@net1"]);
    observed.attachments[0].attributes.capability_requests = plugged.map(|guid| {
        [("infiniband-guid".to_owned(), guid.into())]
            .into_iter()
            .collect()
    });
    let asked = shared::selection::Attributes {
        infiniband_guid: Some("0C:42:a1:03:00:00:00:02".to_owned()),
        ..shared::selection::Attributes::NONE.clone()
    };
    let selections = [selection("a@net1").with_attributes(asked)];
    let plan = plan(&wanted(&selections), &observed);
    assert_eq!(plan.steps, []);
    let rejected = |problem: &Problem| matches!(problem, Problem::Rejected { cause, .. } if cause.starts_with("infiniband-guid"));
    assert_eq!(
        plan.problems.iter().any(rejected),
        complains,
        "{:?}",
        plan.problems
    );
}
