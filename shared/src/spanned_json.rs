//! A JSON parser that borrows from its source and keeps the byte span of every value. It accepts
//! what Go's encoding/json accepts and limits the depth. Annotations are edited by these spans, so
//! that foreign bytes do not change; serde_json has neither spans nor duplicates in source order.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// Numbers beyond this magnitude do not survive Go's float64, through which multus passes them.
const MAX_EXACT: u64 = 1 << 53;

/// A value, the text that it is written as, and where that begins in the source.
#[derive(Debug, PartialEq)]
pub(crate) struct Node<'a> {
    pub start: usize,
    pub raw: &'a str,
    pub tree: Tree<'a>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Tree<'a> {
    Null,
    False,
    True,
    Number,
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Vec<Member<'a>>),
}

/// One `"key": value`; keys are unescaped, in source order, duplicates included.
#[derive(Debug, PartialEq)]
pub(crate) struct Member<'a> {
    pub key: Cow<'a, str>,
    pub key_start: usize,
    pub key_end: usize,
    pub value: Node<'a>,
}

impl Member<'_> {
    const NONE: Self = Self {
        key: Cow::Borrowed(""),
        key_start: 0,
        key_end: 0,
        value: Node::NONE,
    };
}

#[derive(Debug, PartialEq)]
pub(crate) enum JsonError {
    /// Nested deeper than the caller allows.
    Depth,
    /// Not JSON: the byte offset, and what was expected there.
    Syntax(usize, &'static str),
}

/// Parses a whole document, nested at most `depth` lists and objects deep.
pub(crate) fn parse(source: &str, depth: usize) -> Result<Node<'_>, JsonError> {
    let mut scanner = Scanner::at_start_of(source);
    let node = scanner.value(depth)?;
    scanner.end()?;
    Ok(node)
}

/// Reads a document that should be a list, and passes on its items one by one, also those before a
/// syntax error. Returns a document that is not a list.
pub(crate) fn items<'a>(
    source: &'a str,
    depth: usize,
    mut item: impl FnMut(&Node<'a>),
) -> Result<Option<Node<'a>>, JsonError> {
    let mut scanner = Scanner::at_start_of(source);
    scanner.skip_whitespace();
    let other = if scanner.peek() == Some(b'[') {
        scanner.list(depth, |scanner, mut node| {
            item(&node);
            scanner.recycle(&mut node);
        })?;
        None
    } else {
        Some(scanner.value(depth)?)
    };
    scanner.end()?;
    Ok(other)
}

impl Node<'_> {
    const NONE: Self = Self {
        start: 0,
        raw: "",
        tree: Tree::Null,
    };

    /// Where the value ends in the source.
    pub fn end(&self) -> usize {
        self.start + self.raw.len()
    }

    /// The value for a message: a string without its quotes.
    pub fn shown(&self) -> &str {
        if let Tree::Text(text) = &self.tree {
            text
        } else {
            self.raw
        }
    }

    /// What kind of value this is, with its article.
    pub fn kind(&self) -> &'static str {
        match self.tree {
            Tree::Null => "null",
            Tree::False | Tree::True => "a boolean",
            Tree::Number => "a number",
            Tree::Text(_) => "a string",
            Tree::List(_) => "a list",
            Tree::Object(_) => "an object",
        }
    }

    /// The value as serde_json has it; the last duplicate of a key wins, as in Go.
    pub fn to_value(&self) -> Value {
        match &self.tree {
            Tree::Null => Value::Null,
            Tree::False => Value::Bool(false),
            Tree::True => Value::Bool(true),
            Tree::Number => number(self.raw).map_or(Value::Null, Value::Number),
            Tree::Text(text) => Value::String(text.as_ref().to_owned()),
            Tree::List(items) => items.iter().map(Node::to_value).collect(),
            Tree::Object(members) => Value::Object(object(members)),
        }
    }
}

/// The members of an object as serde_json has them.
pub(crate) fn object(members: &[Member<'_>]) -> Map<String, Value> {
    members
        .iter()
        .map(|member| (member.key.as_ref().to_owned(), member.value.to_value()))
        .collect()
}

fn number(text: &str) -> Option<Number> {
    if let Ok(integer) = text.parse::<i64>() {
        return Some(integer.into());
    }
    text.parse().ok().and_then(Number::from_f64)
}

/// Whether a JSON number stays the same in Go's float64: its magnitude is at most 2^53.
pub(crate) fn is_exact(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        // More than 19 digits do not even parse.
        return digits
            .parse::<u64>()
            .is_ok_and(|magnitude| magnitude <= MAX_EXACT);
    }
    #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
    digits
        .parse::<f64>()
        .is_ok_and(|magnitude| magnitude <= MAX_EXACT as f64)
}

/// The bytes that end or escape a run of a string: one table lookup per byte, not three
/// comparisons.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        special[control] = true;
        control += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

struct Scanner<'a> {
    source: &'a str,
    position: usize,
    /// Memory for the members of the next object.
    spare: Vec<Member<'a>>,
}

impl<'a> Scanner<'a> {
    fn at_start_of(source: &'a str) -> Self {
        Self {
            source,
            position: 0,
            spare: Vec::new(),
        }
    }

    /// Reuses the memory of a finished object: a list of objects needs that of one.
    fn recycle(&mut self, node: &mut Node<'a>) {
        if let Tree::Object(members) = &mut node.tree {
            members.clear();
            std::mem::swap(&mut self.spare, members);
        }
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.position).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn since(&self, start: usize) -> &'a str {
        self.source.get(start..self.position).unwrap_or_default()
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }

    fn expected(&self, what: &'static str) -> JsonError {
        JsonError::Syntax(self.position, what)
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.skip_whitespace();
        if self.position < self.source.len() {
            return Err(self.expected("the end"));
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, JsonError> {
        let mut node = Node::NONE;
        self.read(&mut node, depth)?;
        Ok(node)
    }

    /// Reads a value in place: moving it would cost more than reading it.
    fn read(&mut self, node: &mut Node<'a>, depth: usize) -> Result<(), JsonError> {
        self.skip_whitespace();
        node.start = self.position;
        node.tree = match self.peek() {
            Some(b'"') => Tree::Text(self.string()?),
            Some(b'[') => {
                let mut items = Vec::new();
                self.list(depth, |_, item| items.push(item))?;
                Tree::List(items)
            }
            Some(b'{') => self.object(depth.checked_sub(1).ok_or(JsonError::Depth)?)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        node.raw = self.since(node.start);
        Ok(())
    }

    fn word(&mut self) -> Result<Tree<'a>, JsonError> {
        let rest = self.source.get(self.position..).unwrap_or_default();
        for (word, tree) in [("null", Tree::Null), ("true", Tree::True), ("false", Tree::False)] {
            if rest.starts_with(word) {
                self.position += word.len();
                return Ok(tree);
            }
        }
        Err(self.expected("a value"))
    }

    /// A list that may be nested `depth` deep, itself included.
    fn list(&mut self, depth: usize, mut item: impl FnMut(&mut Self, Node<'a>)) -> Result<(), JsonError> {
        let depth = depth.checked_sub(1).ok_or(JsonError::Depth)?;
        self.position += 1;
        self.skip_whitespace();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            let value = self.value(depth)?;
            item(self, value);
            self.skip_whitespace();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("',' or ']'"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Tree<'a>, JsonError> {
        self.position += 1;
        let mut members = std::mem::take(&mut self.spare);
        self.skip_whitespace();
        if self.take(b'}') {
            return Ok(Tree::Object(members));
        }
        loop {
            members.push(Member::NONE);
            if let Some(member) = members.last_mut() {
                self.member(member, depth)?;
            }
            self.skip_whitespace();
            if self.take(b'}') {
                return Ok(Tree::Object(members));
            }
            if !self.take(b',') {
                return Err(self.expected("',' or '}'"));
            }
        }
    }

    fn member(&mut self, member: &mut Member<'a>, depth: usize) -> Result<(), JsonError> {
        self.skip_whitespace();
        member.key_start = self.position;
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in double quotes"));
        }
        member.key = self.string()?;
        member.key_end = self.position;
        self.skip_whitespace();
        if !self.take(b':') {
            return Err(self.expected("':'"));
        }
        self.read(&mut member.value, depth)
    }

    fn number(&mut self) -> Result<Tree<'a>, JsonError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Tree::Number)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        if self.position == start {
            Err(self.expected("a digit"))
        } else {
            Ok(())
        }
    }

    #[inline(always)]
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.position += 1;
        let plain = self.unescaped();
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        self.rest_of_string(plain).map(Cow::Owned)
    }

    fn rest_of_string(&mut self, plain: &str) -> Result<String, JsonError> {
        let mut text = plain.to_owned();
        while !self.take(b'"') {
            if !self.take(b'\\') {
                return Err(self.expected("the end of the string"));
            }
            text.push(self.escape()?);
            text.push_str(self.unescaped());
        }
        Ok(text)
    }

    /// A run without escapes, up to the end of the string or the next escape.
    fn unescaped(&mut self) -> &'a str {
        let start = self.position;
        let rest = self.source.as_bytes().get(start..).unwrap_or_default();
        let is_special = |byte: &u8| SPECIAL.get(usize::from(*byte)) == Some(&true);
        self.position += rest.iter().position(is_special).unwrap_or(rest.len());
        self.since(start)
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.expected("an escape")),
        };
        self.position += 1;
        Ok(plain)
    }

    /// Half a surrogate pair becomes U+FFFD, as in Go.
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self
            .code_unit()
            .ok_or_else(|| self.expected("four hexadecimal digits"))?;
        let after_first = self.position;
        if (0xd800..0xdc00).contains(&first) && self.take(b'\\') {
            if let Some(second @ 0xdc00..0xe000) = self.code_unit() {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.position = after_first;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// `uXXXX`; `None` does not move the position.
    fn code_unit(&mut self) -> Option<u32> {
        let hex = self
            .source
            .get(self.position..self.position + 5)?
            .strip_prefix('u')?;
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.position += 5;
        u32::from_str_radix(hex, 16).ok()
    }
}

#[cfg(test)]
mod tests;
