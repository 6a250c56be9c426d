//! Values as Go's `json.Unmarshal` takes them into the structs of plugins.
//!
//! libcni passes a plugin's config through a map, in which every number is a floating-point one and
//! the last of duplicate keys wins: `1500.0` reaches the plugin as `1500`.

use std::{borrow::Cow, collections::HashSet};

use super::problem::{Findings, Step};
use crate::{
    go_net::{parse_cidr, parse_ip},
    spanned_json::{Member, Node, Tree},
};

/// What a key's value must be.
pub(super) enum Kind {
    Bool,
    Text,
    /// Go's int.
    Int,
    /// Go's int, in this range.
    IntIn(i64, i64),
    /// Go's uint32.
    Uint32,
    /// Go's uint64.
    Uint64,
    /// One of these strings.
    Words(&'static [&'static str]),
    /// `net.IP`, where the empty string means none.
    Address,
    /// `types.IPNet`, which takes neither null nor the empty string.
    Cidr,
    List(&'static Kind),
    Object(&'static [Key]),
    /// An object of any keys.
    Map(&'static Kind),
}

/// A key of an object and its value; Go takes the key in any case.
pub(super) type Key = (&'static str, Kind);

/// Judges `node`; what is unknown passes.
pub(super) fn judge<'n>(findings: &mut Findings<'n>, kind: &'static Kind, node: &'n Node<'_>) {
    if findings.is_full() || is_taken_as_none(kind, node) {
        return;
    }
    match (kind, &node.tree) {
        (Kind::Object(keys), Tree::Object(members)) => judge_keys(findings, keys, members),
        (Kind::Map(kind), Tree::Object(members)) => {
            let mut seen = HashSet::new();
            for member in members.iter().rev().filter(|member| seen.insert(&member.key)) {
                findings.within(Step::Key(&member.key), |findings| {
                    judge(findings, kind, &member.value)
                });
            }
        }
        (Kind::List(kind), Tree::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                findings.within(Step::Index(index), |findings| judge(findings, kind, item));
            }
        }
        _ if takes(kind, node) => {}
        _ => findings.refuse(node, format!("must be {}", wanted(kind))),
    }
}

fn judge_keys<'n>(findings: &mut Findings<'n>, keys: &'static [Key], members: &'n [Member<'_>]) {
    for ((_, kind), given) in keys.iter().zip(given(keys, members)) {
        if let Given::Once(member) = given {
            findings.within(Step::Key(&member.key), |findings| {
                judge(findings, kind, &member.value)
            });
        }
    }
}

/// How an object gives a key.
#[derive(Clone, Copy)]
enum Given<'n, 's> {
    Not,
    Once(&'n Member<'s>),
    /// In several spellings, of which Go takes one or the other: not judged.
    Ambiguously,
}

/// In one pass, because an object may have very many members.
fn given<'n, 's>(keys: &[Key], members: &'n [Member<'s>]) -> Vec<Given<'n, 's>> {
    let mut all = vec![Given::Not; keys.len()];
    for member in members {
        let is_it = |((key, _), _): &(&Key, &mut Given<'_, '_>)| key.eq_ignore_ascii_case(&member.key);
        if let Some((_, given)) = keys.iter().zip(&mut all).find(is_it) {
            *given = match given {
                Given::Once(earlier) if earlier.key != member.key => Given::Ambiguously,
                Given::Ambiguously => Given::Ambiguously,
                Given::Not | Given::Once(_) => Given::Once(member),
            };
        }
    }
    all
}

/// The value of `key` in any case; `None` when it is absent, null or given in several spellings.
pub(super) fn value<'n, 's>(object: &'n Node<'s>, key: &str) -> Option<&'n Node<'s>> {
    let mut found: Option<&Member<'s>> = None;
    for member in members(object) {
        if member.key.eq_ignore_ascii_case(key) {
            if found.is_some_and(|earlier| earlier.key != member.key) {
                return None;
            }
            found = Some(member);
        }
    }
    let value = &found?.value;
    (value.tree != Tree::Null).then_some(value)
}

/// Whether `key` has a value in some spelling: not null, not the empty string.
pub(super) fn is_given(object: &Node<'_>, key: &str) -> bool {
    let is_value = |node: &Node<'_>| node.tree != Tree::Null && node.raw != "\"\"";
    members(object)
        .iter()
        .any(|member| member.key.eq_ignore_ascii_case(key) && is_value(&member.value))
}

/// The string of `key`; `None` when it is absent, empty or something else.
pub(super) fn text<'n>(object: &'n Node<'_>, key: &str) -> Option<&'n str> {
    match &value(object, key)?.tree {
        Tree::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// null does not change a Go field, except one with a method of its own.
fn is_taken_as_none(kind: &Kind, node: &Node<'_>) -> bool {
    node.tree == Tree::Null && !matches!(kind, Kind::Cidr)
}

fn takes(kind: &Kind, node: &Node<'_>) -> bool {
    match (kind, &node.tree) {
        (Kind::Bool, Tree::True | Tree::False) | (Kind::Text, Tree::Text(_)) => true,
        (Kind::Words(words), Tree::Text(text)) => words.contains(&text.as_ref()),
        (Kind::Address, Tree::Text(text)) => text.is_empty() || parse_ip(text).is_some(),
        (Kind::Cidr, Tree::Text(text)) => parse_cidr(text).is_some(),
        (Kind::Int, Tree::Number) => integer(node).is_some_and(|number| i64::try_from(number).is_ok()),
        (Kind::IntIn(from, to), Tree::Number) => {
            integer(node).is_some_and(|number| (i128::from(*from)..=i128::from(*to)).contains(&number))
        }
        (Kind::Uint32, Tree::Number) => integer(node).is_some_and(|number| u32::try_from(number).is_ok()),
        (Kind::Uint64, Tree::Number) => integer(node).is_some_and(|number| u64::try_from(number).is_ok()),
        _ => false,
    }
}

/// The integer that libcni makes of a number; `None`: it writes a fraction or an exponent.
pub(super) fn integer(node: &Node<'_>) -> Option<i128> {
    let number: f64 = node.raw.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "below 2^70, and without a fraction"
    )]
    (number.fract() == 0.0 && number.abs() < 1e21).then_some(number as i128)
}

fn wanted(kind: &Kind) -> Cow<'static, str> {
    match kind {
        Kind::Bool => "true or false, without quotes".into(),
        Kind::Text => "a string in double quotes".into(),
        Kind::Int => "an integer, without quotes".into(),
        Kind::IntIn(from, i64::MAX) => format!("an integer of at least {from}, without quotes").into(),
        Kind::IntIn(from, to) => format!("an integer from {from} to {to}, without quotes").into(),
        Kind::Uint32 => format!("an integer from 0 to {}, without quotes", u32::MAX).into(),
        Kind::Uint64 => format!("an integer from 0 to {}, without quotes", u64::MAX).into(),
        Kind::Words(words) => {
            let named: Vec<String> = words
                .iter()
                .filter(|word| !word.is_empty())
                .map(|word| format!("{word:?}"))
                .collect();
            format!("one of {}", named.join(", ")).into()
        }
        Kind::Address => "an IPv4 or IPv6 address without a prefix length, such as \"192.0.2.1\"".into(),
        Kind::Cidr => "an address with a prefix length, such as \"192.0.2.0/24\"".into(),
        Kind::List(Kind::List(_)) => "a list of lists, such as [[{\"subnet\":\"192.0.2.0/24\"}]]".into(),
        Kind::List(Kind::Object(_)) => "a list of objects".into(),
        Kind::List(_) => "a list of strings".into(),
        Kind::Object(_) => "an object".into(),
        Kind::Map(Kind::Bool) => "an object of booleans".into(),
        Kind::Map(_) => "an object of strings".into(),
    }
}

/// The members of an object; nothing else has any.
pub(super) fn members<'n, 's>(node: &'n Node<'s>) -> &'n [Member<'s>] {
    match &node.tree {
        Tree::Object(members) => members,
        _ => &[],
    }
}
