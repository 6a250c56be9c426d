//! YAML (and so JSON) as a tree that knows where each of its values is written.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter, Options, Spanned};

/// Enough for the schemas in CustomResourceDefinitions.
const MAX_DEPTH: usize = 200;
/// Enough for all pods of a large cluster in one list.
const MAX_NODES: usize = 20_000_000;
const MAX_SCALAR_BYTES: usize = 1 << 30;
/// Events that aliases may add to a document: more than any manifest needs. An attack expands to
/// more.
const MAX_FROM_ALIASES: usize = 50_000;

/// A place in a file. Lines and columns count from 1; 0 where no place is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Position {
    fn of(location: serde_saphyr::Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }

    pub(super) fn after(self, lines: u64) -> Self {
        let line = if self.line == 0 { 0 } else { self.line + lines };
        Self { line, ..self }
    }
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    /// The byte of the file at which it is written, and its place; those of its anchor where an
    /// alias stands for it.
    start: Option<usize>,
    written_at: Position,
    content: Content,
}

/// A string of a file, and the byte at which its notation begins, which is at a line and column.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) start: usize,
    pub(super) at: Position,
    pub(super) text: String,
}

#[derive(Clone, Debug)]
enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value at a path of keys.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| {
            node.entries().find(|(name, _)| name == key).map(|(_, node)| node)
        })
    }

    pub(super) fn has(&self, path: &[&str]) -> bool {
        self.find(path).is_some()
    }

    /// The string at a path of keys.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        match &self.find(path)?.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The members of a map; none for anything else.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let entries = match &self.content {
            Content::Map(entries) => entries.as_slice(),
            Content::Scalar(_) | Content::List(_) => &[],
        };
        entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// The elements of a list; `None` for anything else.
    pub(super) fn items(&self) -> Option<&[Self]> {
        match &self.content {
            Content::List(items) => Some(items),
            Content::Scalar(_) | Content::Map(_) => None,
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.content, Content::Map(_))
    }

    /// The string that this is, with its place.
    pub(super) fn scalar(&self) -> Option<Scalar> {
        let start = self.start?;
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(Scalar {
                start,
                at: self.written_at,
                text: text.clone(),
            }),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.content, Content::Scalar(Value::Null))
    }

    /// The value without its places.
    pub(super) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::to_value).collect(),
            Content::Map(entries) => {
                let pairs = entries.iter().map(|(key, node)| (key.clone(), node.to_value()));
                Value::Object(pairs.collect())
            }
        }
    }

    fn move_down(&mut self, lines: u64, bytes: usize) {
        self.at = self.at.after(lines);
        self.written_at = self.written_at.after(lines);
        self.start = self.start.map(|start| start + bytes);
        match &mut self.content {
            Content::Scalar(_) => {}
            Content::List(items) => items.iter_mut().for_each(|node| node.move_down(lines, bytes)),
            Content::Map(entries) => {
                entries
                    .iter_mut()
                    .for_each(|(_, node)| node.move_down(lines, bytes));
            }
        }
    }
}

/// Why a document could not be read, in the parser's words.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: Position,
    pub(super) message: String,
}

/// The documents of a stream. One that is no YAML hides no other.
pub(super) fn read(text: &str) -> Vec<Result<Node, SyntaxError>> {
    let mut all = Vec::new();
    for (lines, bytes, document) in documents(text) {
        match serde_saphyr::from_multiple_with_options::<Node>(document, options()) {
            Ok(nodes) => all.extend(nodes.into_iter().map(|mut node| {
                node.move_down(lines, bytes);
                Ok(node)
            })),
            Err(error) => all.push(Err(SyntaxError {
                at: error
                    .location()
                    .map_or_else(Position::default, |at| Position::of(at).after(lines)),
                message: DefaultMessageFormatter
                    .format_message(error.without_snippet())
                    .into_owned(),
            })),
        }
    }
    all
}

fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES,
            max_total_scalar_bytes: MAX_SCALAR_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_FROM_ALIASES,
        },
    }
}

/// Cuts a stream before each line that begins a document, as Kubernetes' own reader does; each part
/// with the numbers of lines and bytes before it. Inside a document YAML allows no such line.
fn documents(text: &str) -> Vec<(u64, usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    // Directives and comments belong to the document whose beginning follows.
    let mut has_content = false;
    let mut end = 0;
    for (line, content) in (0..).zip(text.split_inclusive('\n')) {
        let begins = content
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if begins && has_content {
            parts.extend(text.get(start..end).map(|part| (start_line, start, part)));
            (start, start_line) = (end, line);
        }
        let is_preamble = content.trim().is_empty() || content.starts_with(['#', '%']);
        has_content |= begins || !is_preamble;
        end += content.len();
    }
    parts.extend(text.get(start..).map(|part| (start_line, start, part)));
    parts
}

fn byte_of(location: serde_saphyr::Location) -> Option<usize> {
    usize::try_from(location.span().byte_offset()?).ok()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self {
            at: Position::of(spanned.referenced),
            start: byte_of(spanned.defined),
            written_at: Position::of(spanned.defined),
            content: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Content, E> {
        Ok(Content::Scalar(String::from_utf8_lossy(value).into()))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Content::Map(entries))
    }
}
