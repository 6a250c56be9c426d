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

fn wanted(elements: &[&str]) -> Desired {
    let element = |text: &&str| {
        let selection = selection(text);
        let hint = selection
            .interface
            .is_none()
            .then(|| format!("write {text}@net9"));
        Element {
            selection,
            refusal: None,
            hint,
        }
    };
    Desired::Elements(elements.iter().map(element).collect())
}

fn there(attachments: &[(&str, State)]) -> Observed {
    let attachment = |(text, state): &(&str, State)| {
        let selection = selection(text);
        Attachment {
            network: selection.network,
            interface: selection.interface.unwrap(),
            state: *state,
            attributes: Attributes::default(),
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
            .map(|text| (*text, State::Present))
            .collect::<Vec<_>>(),
    )
}

fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::Confirm(interface) => format!("confirm {interface}"),
        Step::Await { interface, .. } => format!("await {interface}"),
        Step::Bury(interface) => format!("bury {interface}"),
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
    assert_eq!(words(&plan(&wanted(annotation), &present(attachments))), steps);
}

#[test]
fn removes_nothing_when_the_annotation_is_unreadable() {
    let plan = plan(&Desired::Unreadable("not JSON".to_owned()), &present(&["a@net1"]));
    assert_eq!(plan.steps, []);
    assert_eq!(plan.complaints, [Complaint::Unreadable("not JSON".to_owned())]);
}

#[test]
fn finishes_what_is_half_done_also_when_the_annotation_is_unreadable() {
    let observed = there(&[
        ("a@net1", State::Leaving),
        ("b@net2", State::Lost),
        ("c@net3", State::Present),
    ]);
    let plan = plan(&Desired::Unreadable(String::new()), &observed);
    assert_eq!(words(&plan), ["bury net2", "unplug net1"]);
}

#[test]
fn does_nothing_else_while_a_plugin_may_still_run() {
    let doubt = State::InDoubt {
        until: Duration::from_secs(30),
    };
    let observed = there(&[
        ("a@net1", doubt),
        ("b@net2", State::Present),
        ("c@net3", State::Appeared),
    ]);
    assert_eq!(
        words(&plan(&wanted(&["d@net4"]), &observed)),
        ["confirm net3", "await net1"]
    );
}

#[rstest]
#[case(State::Lost, &["bury net1", "plug net1 on a"])]
#[case(State::Buried, &["plug net1 on a"])]
#[case(State::Leaving, &["unplug net1", "plug net1 on a"])]
#[case(State::Appeared, &["confirm net1"])]
fn goes_on_from_every_state(#[case] state: State, #[case] steps: &[&str]) {
    assert_eq!(
        words(&plan(&wanted(&["a@net1"]), &there(&[("a@net1", state)]))),
        steps
    );
}

#[rstest]
#[case(State::Lost, &["bury net1"])]
#[case(State::Buried, &[])]
#[case(State::Leaving, &["unplug net1"])]
fn cleans_up_what_is_no_longer_wanted(#[case] state: State, #[case] steps: &[&str]) {
    assert_eq!(words(&plan(&wanted(&[]), &there(&[("a@net1", state)]))), steps);
}

#[test]
fn asks_for_a_name_and_goes_on_with_the_siblings() {
    let plan = plan(&wanted(&["a", "b@net2"]), &Observed::default());
    assert_eq!(words(&plan), ["plug net2 on b"]);
    assert_eq!(
        plan.complaints,
        [Complaint::Unnamed {
            network: network("a"),
            hint: "write a@net9".to_owned()
        }]
    );
}

#[test]
fn never_touches_what_is_foreign() {
    let observed = Observed {
        foreign: [interface("net1")].into(),
        ..present(&[])
    };
    let nothing = plan(&wanted(&[]), &observed);
    assert_eq!(nothing, Plan::default());
    let taken = plan(&wanted(&["a@net1"]), &observed);
    assert_eq!(taken.steps, []);
    assert!(matches!(&taken.complaints[..], [Complaint::Rejected { .. }]));
}

#[test]
fn keeps_an_attachment_whose_element_could_not_be_plugged_now() {
    let Desired::Elements(mut elements) = wanted(&["a@net1", "b@net2"]) else {
        unreachable!()
    };
    for element in &mut elements {
        element.refusal = Some("no".to_owned());
    }
    let plan = plan(&Desired::Elements(elements), &present(&["a@net1"]));
    assert_eq!(plan.steps, []);
    let rejected = Complaint::Rejected {
        interface: interface("net2"),
        network: network("b"),
        cause: "no".to_owned(),
    };
    assert_eq!(plan.complaints, [rejected]);
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
        cni_args: None,
    };
    let Desired::Elements(mut elements) = wanted(&["a@net1"]) else {
        unreachable!()
    };
    let asked = shared::selection::Attributes {
        mac: asked.mac,
        ..shared::selection::Attributes::NONE.clone()
    };
    elements[0].selection = selection("a@net1").with_attributes(asked);
    let plan = plan(&Desired::Elements(elements), &observed);
    assert_eq!(plan.steps, []);
    assert_eq!(!plan.complaints.is_empty(), complains);
}
