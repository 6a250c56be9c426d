//! What labels mean.

use rstest::rstest;

use super::*;

#[rstest]
#[case("fill", Override::Mode(InterfaceNames::Fill))]
#[case("reject", Override::Mode(InterfaceNames::Reject))]
#[case("warn", Override::Mode(InterfaceNames::Warn))]
#[case("off", Override::Mode(InterfaceNames::Off))]
#[case("Fill", Override::Unreadable)]
#[case("", Override::Unreadable)]
fn a_label_is_a_mode_or_unreadable(#[case] label: &str, #[case] expected: Override<InterfaceNames>) {
    let namespaces = Namespaces::default();
    assert_eq!(namespaces.mode("a"), Override::None, "not listed yet");

    let labels = Labels {
        interface_names: Some(label.to_owned()),
        ..Labels::default()
    };
    namespaces.replace([("a".to_owned(), labels)]);

    assert_eq!(namespaces.mode("a"), expected);
    assert_eq!(namespaces.mode("b"), Override::None);
}
