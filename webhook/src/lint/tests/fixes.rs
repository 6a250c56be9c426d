//! `--fix`, and the places of elements.

use std::fs;

use super::*;

fn fix(text: &str, settings: &Settings) -> (Outcome, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.yaml");
    fs::write(&file, text).unwrap();
    let settings = Settings {
        config: settings.config.clone(),
        fix: true,
        ..self::settings(None)
    };
    let files = sources::collect(std::slice::from_ref(&file), false);
    let (outcome, out) = printed(&judge(&files, &[], &settings));
    (outcome, out, fs::read_to_string(&file).unwrap())
}

#[test]
fn fix_writes_the_names_that_admission_would() {
    let text = format!("# kept\n{}---\n{NETWORK}", a_pod("a, b  # why"));
    let (outcome, out, fixed) = fix(&text, &settings(None));

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert_eq!(fixed, text.replace("a, b  # why", "a@net1, b@net2  # why"));
    assert!(
        out.contains("p: ok, interface names written into the file\n"),
        "{out}"
    );
    assert_eq!(fix(&fixed, &settings(None)).2, fixed);
}

#[rstest]
#[case("fill", true)]
#[case("reject", true)]
#[case("warn", true)]
#[case("off", false)]
fn fix_writes_names_where_they_are_wanted(#[case] mode: &str, #[case] is_fixed: bool) {
    let config = Config::parse(&format!(r#"{{"interfaceNames":"{mode}"}}"#)).unwrap();
    let (outcome, out, fixed) = fix(&a_pod("a"), &settings(Some(config)));

    assert_eq!(outcome, Outcome::Admitted, "{out}");
    assert_eq!(fixed == a_pod("a@net1"), is_fixed, "{fixed}");
}

#[test]
fn fix_leaves_what_would_be_refused() {
    let text = a_pod("a,b@eth0");
    let (outcome, _, fixed) = fix(&text, &settings(None));

    assert_eq!((outcome, fixed), (Outcome::Refused, text));
}

#[test]
fn fix_says_what_it_cannot_edit() {
    let text = a_pod("*n").replace("name: p", "name: &n p");
    let (outcome, out, fixed) = fix(&text, &settings(None));

    assert_eq!((outcome, &fixed), (Outcome::Admitted, &text), "{out}");
    assert!(
        out.contains("f.yaml is not changed: line 4: an alias uses this text"),
        "{out}"
    );
}

#[test]
fn without_fix_no_file_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.yaml");
    fs::write(&file, a_pod("a")).unwrap();
    judge(
        &sources::collect(std::slice::from_ref(&file), false),
        &[],
        &settings(None),
    );

    assert_eq!(fs::read_to_string(&file).unwrap(), a_pod("a"));
}

#[rstest]
#[case::plain("a,b@lo", "6:36")]
#[case::quoted("\"a, b@lo\"", "6:38")]
#[case::json("'[{\"name\":\"a\"}, {\"name\":\"b\",\"interface\":\"lo\"}]'", "6:50")]
#[case::block(
    "|\n      [{\"name\":\"a\"},\n       {\"name\":\"b\",\"interface\":\"lo\"}]",
    "8:8"
)]
fn findings_are_at_their_element(#[case] networks: &str, #[case] place: &str) {
    let (_, out) = lint_text(&a_pod(networks));

    assert!(out.contains(&format!("  error at {place}: element 1 ")), "{out}");
}

#[test]
fn warnings_are_at_their_element() {
    let (_, out) = lint_text(&format!("{NETWORK}---\n{}", a_pod("a,missing@net2")));

    assert!(
        out.contains("  warning at 13:36: element 1 (default/missing)"),
        "{out}"
    );
}
