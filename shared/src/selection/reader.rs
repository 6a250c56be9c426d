//! One JSON element while it is being read: its members by key, and what is wrong with them.

use std::collections::HashSet;

use super::{draft::Draft, unknown::UnknownKeys};
use crate::{
    spanned_json::{self, Member, Node, Tree},
    violation::{Rule, Violation, shown},
    work,
};

/// Up to this many members, comparing each with all before it is the quickest way to find
/// duplicates.
const FEW: usize = 16;

/// Reads one element, and reports what it cannot read as violations.
pub(super) struct Reader<'a> {
    pub source: &'a str,
    pub pod_namespace: &'a str,
    pub index: usize,
    pub members: &'a [Member<'a>],
    pub draft: &'a mut Draft,
}

impl<'a> Reader<'a> {
    /// `namespace/name` for messages.
    fn network_as_written(&self) -> String {
        let written = |key| match self.find(key).map(|member| &member.value.tree) {
            Some(Tree::Text(text)) => text.as_ref(),
            _ => "",
        };
        let namespace = Some(written("namespace"))
            .filter(|text| !text.is_empty())
            .unwrap_or(self.pod_namespace);
        format!("{namespace}/{}", written("name"))
    }

    pub fn find(&self, key: &str) -> Option<&'a Member<'a>> {
        // The last one, as in Go; duplicates are refused anyway.
        work::add(self.members.len());
        self.members.iter().rfind(|member| member.key == key)
    }

    /// Whether it has no key but those.
    pub fn has_only(&self, keys: &[&str]) -> bool {
        work::add(self.members.len());
        self.members
            .iter()
            .all(|member| keys.contains(&member.key.as_ref()))
    }

    /// The value of `key`; a null counts as absent.
    pub fn value(&self, key: &str) -> Option<&'a Node<'a>> {
        self.find(key)
            .map(|member| &member.value)
            .filter(|value| value.tree != Tree::Null)
    }

    /// The string under `key`; an empty one counts as absent.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        let Tree::Text(text) = &value.tree else {
            self.refuse_type(key, value, "a string");
            return None;
        };
        Some(text.as_ref()).filter(|text| !text.is_empty())
    }

    pub fn refuse_type(&mut self, field: &'static str, value: &Node<'_>, wanted: &str) {
        let message = format!("must be {wanted}, not {}", value.kind());
        self.refuse(Rule::FieldType, field, value.shown(), message);
    }

    pub fn refuse(&mut self, rule: Rule, field: &'static str, value: &str, message: String) {
        let violation = Violation::of_element(rule, self.index, message)
            .field(field)
            .value(value);
        self.push(violation);
    }

    pub fn push(&mut self, mut violation: Violation) {
        // Finding the name takes as long as the element has members: not for a violation that is
        // only counted.
        if !self.draft.violations.is_full() {
            violation = violation.network(self.network_as_written());
        }
        self.draft.violations.push(violation);
    }

    /// Refuses keys that Go would take for one of `known` although they are written differently,
    /// and reports the keys that it would ignore.
    pub fn check_keys(
        &mut self,
        members: &[Member<'_>],
        known: &'static [&'static str],
    ) -> Option<UnknownKeys> {
        work::add(members.len());
        let mut unknown = None;
        for member in members {
            let key = member.key.as_ref();
            if known.contains(&key) {
                continue;
            }
            let Some(meant) = known.iter().find(|known| folded(known).eq(folded(key))) else {
                UnknownKeys::add(&mut unknown, key, known);
                continue;
            };
            let message = format!(
                "multus reads the key \"{}\" as \"{meant}\"; write \"{meant}\"",
                shown(key)
            );
            self.push(Violation::of_element(Rule::KeySpelling, self.index, message));
        }
        unknown
    }

    /// Duplicate keys and inexact numbers, at any depth (which is bounded by [`MAX_DEPTH`]).
    pub fn check_values(&mut self, node: &Node<'_>) {
        match &node.tree {
            Tree::Number if !spanned_json::is_exact(node.raw) => {
                let message = "must be at most 2^53 (9007199254740992) in magnitude, or multus would change it; write it as a string";
                let violation = Violation::of_element(Rule::NumberRange, self.index, message);
                self.push(violation.value(node.raw));
            }
            Tree::List(items) => items.iter().for_each(|item| self.check_values(item)),
            Tree::Object(members) => {
                let mut seen = HashSet::new();
                for (index, member) in members.iter().enumerate() {
                    work::add(index.min(FEW));
                    let repeated = if members.len() <= FEW {
                        members.iter().take(index).any(|other| other.key == member.key)
                    } else {
                        !seen.insert(member.key.as_ref())
                    };
                    if repeated {
                        let key = shown(&member.key);
                        let message =
                            format!("the key \"{key}\" occurs twice in one object; keep one of them");
                        self.push(Violation::of_element(Rule::DuplicateKey, self.index, message));
                    }
                    self.check_values(&member.value);
                }
            }
            _ => {}
        }
    }
}

/// Two keys are the same to Go's encoding/json when these are equal: letters without case, and the
/// two characters beyond ASCII that fold to a letter (the long s and the Kelvin sign).
pub(super) fn folded(key: &str) -> impl Iterator<Item = char> {
    let fold = |c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold)
}
