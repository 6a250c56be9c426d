//! A broken rule, and its message.

mod rule;

use std::fmt;

use serde_json::Value;

pub use self::rule::{Outcome, Rule};

/// Values are shown up to this many characters.
const SHOWN_CHARACTERS: usize = 80;

/// One broken rule: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that was broken.
    pub rule: Rule,
    /// 0-based position of the element in the annotation; `None`: the list as a whole.
    pub element: Option<usize>,
    /// The network that the element names (`namespace/name`, shortened and printable), as far as it
    /// could be read.
    pub network: Option<String>,
    /// The field of the element (`interface`, `ips`…), if one is to blame.
    pub field: Option<&'static str>,
    /// The offending value, shortened to at most 80 characters and printable.
    pub value: Option<String>,
    /// What is wrong and what to write instead; one sentence without a full stop.
    pub message: String,
}

impl Violation {
    /// A violation by the list as a whole.
    pub fn of_list(rule: Rule, message: impl Into<String>) -> Self {
        Self {
            rule,
            element: None,
            network: None,
            field: None,
            value: None,
            message: message.into(),
        }
    }

    /// A violation by element `index`.
    pub fn of_element(rule: Rule, index: usize, message: impl Into<String>) -> Self {
        Self {
            element: Some(index),
            ..Self::of_list(rule, message)
        }
    }

    /// Names the element's network.
    #[must_use]
    pub fn network(mut self, network: impl fmt::Display) -> Self {
        self.network = Some(shown(&network.to_string()));
        self
    }

    /// Names the field that is to blame.
    #[must_use]
    pub fn field(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Shows the value that is to blame, shortened and printable.
    #[must_use]
    pub fn value(mut self, value: &str) -> Self {
        self.value = Some(shown(value));
        self
    }
}

impl fmt::Display for Violation {
    /// `element 1 ("default/foo"), field interface, value "a/b": MESSAGE [rule NAME]`; parts that
    /// are absent are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(index) = self.element {
            let network = self
                .network
                .as_ref()
                .map(|network| format!(" (\"{network}\")"))
                .unwrap_or_default();
            parts.push(format!("element {index}{network}"));
        }
        parts.extend(self.field.map(|field| format!("field {field}")));
        parts.extend(self.value.as_ref().map(|value| format!("value \"{value}\"")));
        if !parts.is_empty() {
            write!(f, "{}: ", parts.join(", "))?;
        }
        write!(f, "{} [rule {}]", self.message, self.rule)
    }
}

/// Violations are listed up to this many.
pub const MAX_LISTED: usize = 20;

/// The first [`MAX_LISTED`] violations that were found, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    listed: Vec<Violation>,
    unlisted: usize,
}

impl Violations {
    /// Whether further violations are only counted.
    pub fn is_full(&self) -> bool {
        self.listed.len() >= MAX_LISTED
    }

    /// Lists a violation while there is room, else counts it.
    pub fn push(&mut self, violation: Violation) {
        if self.is_full() {
            self.unlisted += 1;
        } else {
            self.listed.push(violation);
        }
    }

    /// Each in words, and how many more there are.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let more = (self.unlisted > 0).then(|| format!("and {} more violations", self.unlisted));
        self.listed.iter().map(Violation::to_string).chain(more)
    }

    /// How many violations there are beyond those that are listed.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }
}

impl std::ops::Deref for Violations {
    type Target = [Violation];

    fn deref(&self) -> &[Violation] {
        &self.listed
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        let mut all = Self::default();
        violations.into_iter().for_each(|violation| all.push(violation));
        all
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        std::iter::once(violation).collect()
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.listed.into_iter()
    }
}

impl<'a> IntoIterator for &'a Violations {
    type Item = &'a Violation;
    type IntoIter = std::slice::Iter<'a, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<const N: usize> PartialEq<[Violation; N]> for Violations {
    fn eq(&self, other: &[Violation; N]) -> bool {
        self.unlisted == 0 && self.listed == other
    }
}

/// The JSON type of a value for a message, with its article.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// `text` for a message: control characters escaped, and truncated to 80 characters (ending with
/// `...`).
pub fn shown(text: &str) -> String {
    shortened(text, SHOWN_CHARACTERS)
}

/// As [`shown`], for at most `limit` characters.
pub fn shortened(text: &str, limit: usize) -> String {
    let mut escaped = String::new();
    let mut count = 0;
    // Escapes make a character longer, so more than `limit` characters of the source are never
    // needed.
    for c in text.chars().take(limit + 1) {
        if printable(c) {
            escaped.push(c);
            count += 1;
        } else {
            let escape = c.escape_default();
            count += escape.len();
            escaped.extend(escape);
        }
        if count > limit {
            break;
        }
    }
    if count <= limit {
        return escaped;
    }
    let kept: String = escaped.chars().take(limit.saturating_sub(3)).collect();
    kept + "..."
}

/// Neither control characters nor the invisible ones that reorder or break a line in a terminal.
fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_where_what_and_which_rule() {
        let violation = Violation::of_element(Rule::InterfaceName, 1, "must not contain '/'")
            .network("default/foo")
            .field("interface")
            .value("a/b");
        assert_eq!(
            violation.to_string(),
            r#"element 1 ("default/foo"), field interface, value "a/b": must not contain '/' [rule interface-name]"#
        );
        assert_eq!(
            Violation::of_list(Rule::JsonList, "no list").to_string(),
            "no list [rule json-list]"
        );
    }

    #[test]
    fn shortens_values_and_escapes_what_a_terminal_would_obey() {
        assert_eq!(shown(&"x".repeat(80)), "x".repeat(80));
        assert_eq!(shown(&"x".repeat(81)), "x".repeat(77) + "...");
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown(&"\0".repeat(10_000)).chars().count(), 80);
    }
}
