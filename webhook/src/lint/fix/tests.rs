use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;
use rstest::rstest;
use serde_json::Value;

use super::*;

const KEY: &str = "k8s.v1.cni.cncf.io/networks";

/// The edits for all annotations of `text`: every unnamed element gets a name.
fn edits(text: &str) -> Vec<Edit> {
    let mut found = Vec::new();
    for node in tree::read(text).into_iter().flatten() {
        collect(&node, &mut found);
    }
    found
}

fn collect(node: &Node, found: &mut Vec<Edit>) {
    for (key, child) in node.entries() {
        if let Some(annotation) = child.scalar().filter(|_| key == NETWORKS) {
            let list = SelectionList::parse(Some(&annotation.text), "ns").unwrap();
            let names = shared::naming::fill_on_create(&list, 0);
            let filled = list.with_interfaces(&names);
            let namespace = "ns".to_owned();
            if filled != annotation.text {
                found.push(Edit {
                    annotation,
                    namespace,
                    filled,
                });
            }
        }
        collect(child, found);
    }
    for child in node.items().unwrap_or_default() {
        collect(child, found);
    }
}

fn fixed(text: &str) -> Result<String, NotFixed> {
    edited(text, &edits(text))
}

#[rstest]
#[case::plain("KEY: a,b # why", "KEY: a@net1,b@net2 # why")]
#[case::in_a_flow_map("{KEY: a, l: 1}", "{KEY: a@net1, l: 1}")]
#[case::over_two_lines("KEY: a,\n  b\nl: 1", "KEY: a@net1,\n  b@net2\nl: 1")]
#[case::single_quotes(
    "KEY: '[{\"name\":\"a\"}]'",
    "KEY: '[{\"name\":\"a\",\"interface\":\"net1\"}]'"
)]
#[case::double_quotes(
    r#"{"KEY": "[{\"name\":\"a\", \"interface\": \"\"}]"}"#,
    r#"{"KEY": "[{\"name\":\"a\", \"interface\": \"net1\"}]"}"#
)]
#[case::json_file("{\"KEY\":\t\"a\"}", "{\"KEY\":\t\"a@net1\"}")]
#[case::literal(
    "KEY: |\n  [\n    {\"name\": \"a\"},\n    {\"name\": \"b\"}\n  ]\n",
    "KEY: |\n  [\n    {\"name\": \"a\", \"interface\": \"net1\"},\n    {\"name\": \"b\", \"interface\": \"net2\"}\n  ]\n"
)]
#[case::folded("KEY: >-\n  a,\n  b\n", "KEY: >-\n  a@net1,\n  b@net2\n")]
#[case::carriage_returns("KEY: |\r\n  a\r\nl: 1\r\n", "KEY: |\r\n  a@net1\r\nl: 1\r\n")]
#[case::an_anchor_without_alias("KEY: &a b", "KEY: &a b@net1")]
#[case::aliases_of_a_template("x: &t {KEY: a}\ny: *t", "x: &t {KEY: a@net1}\ny: *t")]
#[case::a_broken_document_beside("a: [\n---\nKEY: b", "a: [\n---\nKEY: b@net1")]
#[case::two_documents(
    "# é\nKEY: a\n---\nKEY: b@net1,c\n",
    "# é\nKEY: a@net1\n---\nKEY: b@net1,c@net2\n"
)]
fn writes_names_and_nothing_else(#[case] text: &str, #[case] expected: &str) {
    let [text, expected] = [text, expected].map(|text| text.replace("KEY", KEY));
    let once = fixed(&text).unwrap();

    assert_eq!(once, expected);
    assert_eq!(edits(&once).len(), 0, "a second run has nothing to do");
}

#[rstest]
#[case::of_another_value("KEY: &a b\nlabel: *a")]
#[case::of_the_annotation("x: &a b\nKEY: *a")]
fn leaves_a_text_that_others_use(#[case] text: &str) {
    let error = fixed(&text.replace("KEY", KEY)).unwrap_err();

    assert!(error.to_string().contains("write the names by hand"), "{error}");
}

#[test]
fn leaves_an_alias_of_an_annotation_that_is_not_edited() {
    let text = format!("x: &t {{ {KEY}: a }}\ny: *t\n");
    let edits = edits(&text);
    let [one, _] = edits.as_slice() else {
        panic!("both are annotations");
    };

    let error = edited(&text, std::slice::from_ref(one)).unwrap_err();
    assert!(matches!(error, NotFixed::Shared(1)), "{error}");
}

#[test]
fn keeps_mode_and_symlink_and_byte_order_mark() {
    let directory = tempfile::tempdir().unwrap();
    let [file, link] = ["f.yaml", "link.yaml"].map(|name| directory.path().join(name));
    let text = format!("{KEY}: a\n");
    fs::write(&file, format!("\u{feff}{text}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();

    apply(Some(&link), &text, &edits(&text)).unwrap();

    let stored = fs::read_to_string(&file).unwrap();
    assert_eq!(stored, format!("\u{feff}{KEY}: a@net1\n"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn leaves_a_file_that_was_changed_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.yaml");
    let text = format!("{KEY}: a\n");
    fs::write(&file, "kind: Service").unwrap();

    assert!(matches!(
        apply(Some(&file), &text, &edits(&text)),
        Err(NotFixed::Encoding)
    ));
    assert_eq!(fs::read_to_string(&file).unwrap(), "kind: Service");
    assert!(matches!(apply(None, &text, &[]), Err(NotFixed::StandardInput)));
}

fn a_list() -> impl Strategy<Value = String> {
    let text = prop::collection::vec("(n/)?[a-c]{1,3}(@if[0-9])?", 1..5).prop_map(|all| all.join(","));
    let element = prop_oneof![
        "[a-c]{1,3}".prop_map(|name| format!(r#"{{"name": "{name}"}}"#)),
        "[a-c]{1,3}".prop_map(|name| format!(r#"{{"name":"{name}","cni-args":{{"é'x":"\\"}}}}"#)),
        "[a-c]{1,3}".prop_map(|name| format!(r#"{{ "interface" : "", "name":"{name}" }}"#)),
    ];
    let json = prop::collection::vec(element, 1..4).prop_map(|all| format!("[{}]", all.join(", ")));
    prop_oneof![text, json].prop_filter("a list that can be read", |list| {
        SelectionList::parse(Some(list), "ns").is_ok()
    })
}

/// A document with `list` in one of the notations.
fn written(list: &str, notation: usize) -> String {
    let double = serde_json::to_string(list).unwrap();
    let single = format!("'{}'", list.replace('\'', "''"));
    let is_text = !list.contains('[');
    let value = match notation {
        0 if is_text => list.to_owned(),
        0 | 1 => double,
        2 => single,
        3 => format!("|\n      {list}"),
        4 => format!(">-\n      {}", list.replace(", ", ",\n      ")),
        _ => return format!("{{\"a\": [\"é\", {{\"{KEY}\": {double}, \"z\": 1.50}}]}}\n"),
    };
    format!("# é\nkind: Pod\nmetadata:\n  annotations:\n    {KEY}: {value}\n    z: 'a''b'  # end\n")
}

fn values(text: &str) -> Vec<Value> {
    let nodes = tree::read(text).into_iter();
    nodes.map(|node| node.unwrap().to_value()).collect()
}

/// The networks annotations of a document, taken out.
fn taken(value: &mut Value) -> Vec<Value> {
    match value {
        Value::Object(members) => {
            let own = members.get_mut(NETWORKS).map(Value::take);
            let below = members.values_mut().flat_map(taken);
            own.into_iter().chain(below).collect()
        }
        Value::Array(items) => items.iter_mut().flat_map(taken).collect(),
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn changes_only_the_annotations(lists in prop::collection::vec((a_list(), 0..6usize), 1..4)) {
        let documents: Vec<String> = lists.iter().map(|(list, notation)| written(list, *notation)).collect();
        let text = documents.join("---\n");
        let wanted = edits(&text);
        let result = edited(&text, &wanted).unwrap();

        // Taking out what was written gives the bytes that were there.
        let mut places: Vec<_> = wanted.iter().map(|edit| changes(&text, edit).unwrap()).collect();
        places.sort_by_key(|changes| changes.first().map(|(range, _)| range.start));
        let (mut at, mut rest) = (0, result.as_str());
        for (range, replacement) in places.iter().flatten() {
            let same = &text[at..range.start];
            prop_assert!(rest.starts_with(same));
            rest = rest[same.len()..].strip_prefix(replacement.as_str()).unwrap();
            at = range.end;
        }
        prop_assert_eq!(rest, &text[at..]);
        // Read again, nothing but the annotations differs, and those are what admission stores.
        let (mut before, mut after) = (values(&text), values(&result));
        let old: Vec<Value> = before.iter_mut().flat_map(taken).collect();
        let new: Vec<Value> = after.iter_mut().flat_map(taken).collect();
        prop_assert_eq!(before, after);
        for (old, new) in old.iter().zip(&new) {
            let filled = wanted.iter().find(|edit| edit.annotation.text == *old);
            prop_assert_eq!(filled.map_or_else(|| old.as_str(), |edit| Some(edit.filled.as_str())), new.as_str());
        }
        prop_assert_eq!(old.len(), new.len());
        prop_assert_eq!(edits(&result).len(), 0);
    }
}
