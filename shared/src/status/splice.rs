//! Edits the text of the network-status annotation by byte spans: entries of other writers keep
//! their bytes and their place.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{MAX_DEPTH, StatusEntry, read_entry};
use crate::{
    names::{InterfaceName, NetworkName},
    spanned_json::{self, JsonError, Node, Tree},
};

/// What multus indents by.
const MULTUS_INDENT: &str = "    ";

/// One change of the status annotation. The cluster network's entry (`default: true`) is never
/// changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusChange {
    /// Entries of these (network, interface names) are removed; without any name, the network's
    /// entries that have no interface.
    pub remove: Vec<(NetworkName, Vec<InterfaceName>)>,
    /// Entries to write: replaced in place where name and interface match, else appended, in this
    /// order.
    pub put: Vec<StatusEntry>,
    /// Entries to append where the list has none of their interface; an entry of another writer
    /// stays byte-equal.
    pub restore: Vec<StatusEntry>,
}

/// Why a status annotation cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Not a JSON list.
    #[error("network-status is not a JSON list: {0}")]
    NotAList(String),
}

/// The annotation's new value; entries that the change does not name stay byte-equal and in place.
/// `Ok(None)`: nothing to do.
///
/// # Errors
/// The old value is not a JSON list: another writer broke it, and it is left unchanged.
pub fn splice(annotation: Option<&str>, change: &StatusChange) -> Result<Option<String>, StatusError> {
    let source = annotation.filter(|text| !text.is_empty()).unwrap_or("[]");
    let items = items(source)?;
    let style = Style::of(source, &items);
    let listed: Vec<StatusEntry> = items.iter().filter_map(read_entry).collect();
    let missing = |entry: &&StatusEntry| !listed.iter().any(|old| old.interface == entry.interface);
    let restore = change.restore.iter().filter(missing);
    let mut put: Vec<Option<&StatusEntry>> = change.put.iter().chain(restore).map(Some).collect();
    let mut list = List {
        source,
        style: &style,
        text: String::new(),
        count: 0,
        last: None,
    };
    let mut changed = false;
    for (index, item) in items.iter().enumerate() {
        match verdict(item, change, &mut put) {
            Verdict::Keep => list.keep(&items, index),
            Verdict::Remove => changed = true,
            Verdict::Replace(entry) => {
                changed = true;
                list.add(&items, Some(index), entry);
            }
        }
    }
    for entry in put.into_iter().flatten() {
        changed = true;
        list.add(&items, None, entry);
    }
    Ok(changed.then(|| list.finish(&items)))
}

fn items(source: &str) -> Result<Vec<Node<'_>>, StatusError> {
    let node = spanned_json::parse(source, MAX_DEPTH).map_err(|error| {
        StatusError::NotAList(match error {
            JsonError::Depth => format!("nested more than {MAX_DEPTH} levels deep"),
            JsonError::Syntax(offset, expected) => format!("{expected} is expected at byte {offset}"),
        })
    })?;
    let kind = node.kind();
    match node.tree {
        Tree::List(items) => Ok(items),
        _ => Err(StatusError::NotAList(format!("it is {kind}"))),
    }
}

enum Verdict<'a> {
    Keep,
    Remove,
    Replace(&'a StatusEntry),
}

/// What becomes of an existing entry; what it takes from `put` is not appended later.
fn verdict<'a>(item: &Node<'_>, change: &StatusChange, put: &mut [Option<&'a StatusEntry>]) -> Verdict<'a> {
    let Some(old) = read_entry(item).filter(|entry| !entry.default) else {
        return Verdict::Keep;
    };
    let same = |new: &StatusEntry| new.name == old.name && new.interface == old.interface;
    if let Some(new) = put
        .iter_mut()
        .find(|new| new.is_some_and(same))
        .and_then(Option::take)
    {
        return if *new == old {
            Verdict::Keep
        } else {
            Verdict::Replace(new)
        };
    }
    let named = |(network, interfaces): &(NetworkName, Vec<InterfaceName>)| {
        let by_name = interfaces.iter().any(|name| name.as_str() == old.interface);
        network.to_string() == old.name && (by_name || (interfaces.is_empty() && old.interface.is_empty()))
    };
    // A second entry of the same identity as one that was just put is left over from something that
    // went wrong.
    if change.remove.iter().any(named) || change.put.iter().any(same) {
        Verdict::Remove
    } else {
        Verdict::Keep
    }
}

/// The new list while it is written.
struct List<'a> {
    source: &'a str,
    style: &'a Style<'a>,
    text: String,
    count: usize,
    /// The old position of the entry written last.
    last: Option<usize>,
}

impl List<'_> {
    fn keep(&mut self, items: &[Node<'_>], index: usize) {
        self.separate(items, Some(index));
        self.text
            .push_str(items.get(index).map(|item| item.raw).unwrap_or_default());
    }

    fn add(&mut self, items: &[Node<'_>], index: Option<usize>, entry: &StatusEntry) {
        self.separate(items, index);
        self.text.push_str(&self.style.write(entry));
    }

    /// The text before an entry is kept while the entry before it is kept.
    fn separate(&mut self, items: &[Node<'_>], index: Option<usize>) {
        let between = |index: usize| {
            let before = items.get(index.checked_sub(1)?)?;
            self.source.get(before.end()..items.get(index)?.start)
        };
        let before = index.and_then(|index| index.checked_sub(1));
        let separator = match index {
            _ if self.count == 0 => self.style.opening,
            Some(index) if before == self.last => between(index).unwrap_or(self.style.separator.as_str()),
            _ => &self.style.separator,
        };
        self.text.push_str(separator);
        self.count += 1;
        self.last = index;
    }

    fn finish(mut self, items: &[Node<'_>]) -> String {
        if self.count == 0 {
            return "[]".to_owned();
        }
        let end = items.last().and_then(|item| self.source.get(item.end()..));
        self.text.push_str(end.unwrap_or("]"));
        self.text
    }
}

/// The layout of the existing text, in which new entries are written.
struct Style<'a> {
    /// From the beginning to the first entry.
    opening: &'a str,
    separator: String,
    /// `None`: entries have no line breaks.
    indent: Option<Indent<'a>>,
}

struct Indent<'a> {
    /// Before an entry's closing brace.
    base: &'a str,
    /// By which its keys are further in.
    step: &'a str,
}

impl<'a> Style<'a> {
    fn of(source: &'a str, items: &[Node<'_>]) -> Self {
        let Some(first) = items.first() else {
            let indent = Some(Indent {
                base: "",
                step: MULTUS_INDENT,
            });
            return Self {
                opening: "[",
                separator: ",".to_owned(),
                indent,
            };
        };
        let opening = source.get(..first.start).unwrap_or("[");
        let space = opening.trim_start().strip_prefix('[').unwrap_or_default();
        let second = items
            .get(1)
            .and_then(|second| source.get(first.end()..second.start));
        let separator = second.map_or_else(|| format!(",{space}"), str::to_owned);
        Self {
            opening,
            separator,
            indent: items.iter().find_map(|item| Indent::of(source, item)),
        }
    }

    fn write(&self, entry: &StatusEntry) -> String {
        let text = match &self.indent {
            None => serde_json::to_string(entry).unwrap_or_default(),
            Some(indent) => indent.write(entry),
        };
        as_go_escapes(&text)
    }
}

impl<'a> Indent<'a> {
    /// The indentation of an object that is written over several lines.
    fn of(source: &'a str, item: &Node<'_>) -> Option<Self> {
        let Tree::Object(members) = &item.tree else {
            return None;
        };
        let (first, last) = (members.first()?, members.last()?);
        let (_, inner) = source.get(item.start + 1..first.key_start)?.rsplit_once('\n')?;
        let closing = source.get(last.value.end()..item.end())?.trim_end_matches('}');
        let base = closing.rsplit_once('\n').map_or("", |(_, base)| base);
        Some(Self {
            base,
            step: inner.strip_prefix(base).unwrap_or(MULTUS_INDENT),
        })
    }

    fn write(&self, entry: &StatusEntry) -> String {
        let mut bytes = Vec::new();
        let formatter = PrettyFormatter::with_indent(self.step.as_bytes());
        // Neither the entry nor memory can fail to be written.
        let _ = entry.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
        String::from_utf8(bytes)
            .unwrap_or_default()
            .replace('\n', &format!("\n{}", self.base))
    }
}

/// Go escapes what HTML would take for its own; in JSON text these characters only occur inside
/// strings.
fn as_go_escapes(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}
