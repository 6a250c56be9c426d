use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn value(source: &str) -> Option<Value> {
    parse(source, 64).ok().map(|node| node.to_value())
}

proptest! {
    #[test]
    fn reads_what_serde_json_writes(value in arbitrary_value()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let node = parse(&text, 64).unwrap();
            prop_assert_eq!(node.to_value(), value.clone());
            prop_assert_eq!(node.raw, text.as_str());
        }
    }

    #[test]
    fn accepts_exactly_what_serde_json_accepts(text in r#"[\[\]{}",:0-9eE+.\-ntu \\]{0,12}"#) {
        // RawValue checks the grammar alone, like Go's scanner.
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(parse(&text, 64).is_ok(), theirs, "{}", text);
    }

    #[test]
    fn never_panics(text in any::<String>()) {
        let _ = parse(&text, 16);
    }
}

fn arbitrary_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[rstest]
#[case(r#""\ud83d\ude00""#, "😀")]
#[case(r#""\ud83d""#, "\u{fffd}")]
#[case(r#""\ud83dx""#, "\u{fffd}x")]
#[case(r#""\ud83d\u0041""#, "\u{fffd}A")]
#[case(r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀")]
#[case(r#""\ude00\n""#, "\u{fffd}\n")]
#[case(r#""\ud83d\n""#, "\u{fffd}\n")]
fn reads_surrogates_like_go(#[case] source: &str, #[case] text: &str) {
    assert_eq!(value(source), Some(Value::from(text)));
}

#[test]
fn stops_at_the_depth_limit() {
    assert_eq!(parse(&"[".repeat(10_000), 16), Err(JsonError::Depth));
    assert_eq!(parse(&"{\"a\":".repeat(10_000), 16), Err(JsonError::Depth));
    let sixteen = "[".repeat(16) + &"]".repeat(16);
    assert!(parse(&sixteen, 16).is_ok());
    assert_eq!(parse(&sixteen, 15), Err(JsonError::Depth));
}

#[rstest]
#[case("9007199254740992", true)]
#[case("-9007199254740992", true)]
#[case("9007199254740993", false)]
#[case("-9007199254740993", false)]
#[case("99999999999999999999999999", false)]
#[case("0.1", true)]
#[case("1e15", true)]
#[case("1e16", false)]
#[case("1e400", false)]
#[case("1e-400", true)]
fn knows_the_numbers_that_a_float_keeps(#[case] number: &str, #[case] exact: bool) {
    assert_eq!(is_exact(number), exact);
}
