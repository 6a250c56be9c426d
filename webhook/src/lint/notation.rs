//! How a string is written in YAML or JSON: which byte of the file writes which byte of the string.
//!
//! The parser says what the string is; here its notation is read along it. Where the two disagree,
//! the notation is one that this module does not know, and nothing is said about its bytes.

use std::iter;

use super::tree::{Position, Scalar};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Block,
}

/// The notation of one string.
#[derive(Debug)]
pub(super) struct Notation {
    style: Style,
    /// The byte of the file for each byte of the string, and for its end.
    bytes: Vec<usize>,
}

impl Notation {
    /// The notation of `scalar` in `file`, where it is one of those that are known.
    pub(super) fn of(file: &str, scalar: &Scalar) -> Option<Self> {
        let Scalar { start, text, .. } = scalar;
        let header = block_header(file, *start);
        let style = match file.get(*start..)?.chars().next()? {
            _ if header.is_some() => Style::Block,
            '\'' => Style::Single,
            '"' => Style::Double,
            _ => Style::Plain,
        };
        let bytes = match header {
            Some(header) => Block::read(file, header, text),
            None => flow(file, *start, style, text),
        }?;
        Some(Self { style, bytes })
    }

    /// Where in the file byte `index` of the string is written.
    pub(super) fn byte(&self, index: usize) -> Option<usize> {
        self.bytes.get(index).copied()
    }

    /// `text` as it is written inside this notation; `None` where it has no way to.
    pub(super) fn encoded(&self, text: &str) -> Option<String> {
        match self.style {
            Style::Double => {
                let quoted = serde_json::to_string(text).ok()?;
                Some(quoted.strip_prefix('"')?.strip_suffix('"')?.to_owned())
            }
            _ if text.contains(char::is_control) => None,
            Style::Single => Some(text.replace('\'', "''")),
            Style::Plain | Style::Block => Some(text.to_owned()),
        }
    }
}

/// The line and column of a byte of `file` that writes a part of `scalar`.
pub(super) fn position(file: &str, scalar: &Scalar, byte: usize) -> Option<Position> {
    // From where the string begins: a file may be large and have many findings.
    let before = file.get(scalar.start..byte)?;
    let line = before.rsplit('\n').next()?;
    let breaks = u64::try_from(before.matches('\n').count()).ok()?;
    let characters = u64::try_from(line.chars().count()).ok()?;
    Some(Position {
        line: scalar.at.line + breaks,
        column: characters + if breaks == 0 { scalar.at.column } else { 1 },
    })
}

/// The `|` or `>` of the block whose content begins at `start`: alone at the end of the last line
/// before it that is not empty.
fn block_header(file: &str, start: usize) -> Option<usize> {
    let before = file.get(..start)?.trim_end_matches(' ').strip_suffix('\n')?;
    let line = before.rsplit('\n').find(|line| !line.trim().is_empty())?;
    let code = line.split(" #").next()?.trim_end();
    let key = code
        .trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'))
        .strip_suffix(['|', '>'])?;
    let is_alone = key.is_empty() || key.ends_with([' ', '\t']);
    is_alone.then(|| line.as_ptr().addr() - file.as_ptr().addr() + key.len())
}

/// Plain and quoted strings, whose line breaks are folded.
fn flow(file: &str, start: usize, style: Style, text: &str) -> Option<Vec<usize>> {
    let mut at = start + usize::from(style != Style::Plain);
    let mut bytes = Vec::with_capacity(text.len() + 1);
    loop {
        let expected = text.get(bytes.len()..)?;
        if expected.is_empty() && style == Style::Plain {
            break;
        }
        let rest = file.get(at..)?;
        let first = rest.chars().next()?;
        let (piece, length) = match (first, style) {
            ('"', Style::Double) => break,
            ('\'', Style::Single) if !rest.starts_with("''") => break,
            ('\'', Style::Single) => ("'".to_owned(), 2),
            ('\\', Style::Double) => escaped(rest)?,
            (' ' | '\t' | '\r' | '\n', _) => folded(rest),
            _ => (first.to_string(), first.len_utf8()),
        };
        if !expected.starts_with(&piece) {
            return None;
        }
        bytes.extend(iter::repeat_n(at, piece.len()));
        at += length;
    }
    bytes.push(at);
    (bytes.len() == text.len() + 1).then_some(bytes)
}

/// White space: as written within a line, one space for a line break, a line break for each empty
/// line.
fn folded(rest: &str) -> (String, usize) {
    let length = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    let space = rest.get(..length).unwrap_or_default();
    let piece = match space.matches('\n').count() {
        0 => space.to_owned(),
        1 => " ".to_owned(),
        more => "\n".repeat(more - 1),
    };
    (piece, length)
}

/// What an escape in double quotes means, and its length.
fn escaped(rest: &str) -> Option<(String, usize)> {
    let kind = rest.chars().nth(1)?;
    let plain = |text: &str| Some((text.to_owned(), 1 + kind.len_utf8()));
    match kind {
        '0' => plain("\0"),
        'a' => plain("\u{7}"),
        'b' => plain("\u{8}"),
        't' | '\t' => plain("\t"),
        'n' => plain("\n"),
        'v' => plain("\u{b}"),
        'f' => plain("\u{c}"),
        'r' => plain("\r"),
        'e' => plain("\u{1b}"),
        ' ' => plain(" "),
        '"' => plain("\""),
        '/' => plain("/"),
        '\\' => plain("\\"),
        'N' => plain("\u{85}"),
        '_' => plain("\u{a0}"),
        'L' => plain("\u{2028}"),
        'P' => plain("\u{2029}"),
        '\r' | '\n' => {
            let line = rest.find('\n')? + 1;
            let next = rest.get(line..)?;
            let indent = next.len() - next.trim_start_matches([' ', '\t']).len();
            Some((String::new(), line + indent))
        }
        'x' => Some((char::from_u32(hexadecimal(rest, 2)?)?.to_string(), 4)),
        'u' => utf_16(rest),
        'U' => Some((char::from_u32(hexadecimal(rest, 8)?)?.to_string(), 10)),
        _ => None,
    }
}

fn hexadecimal(escape: &str, digits: usize) -> Option<u32> {
    u32::from_str_radix(escape.get(2..2 + digits)?, 16).ok()
}

/// `\uXXXX`, or the two of a surrogate pair as JSON has them.
fn utf_16(rest: &str) -> Option<(String, usize)> {
    let unit = |escape| u16::try_from(hexadecimal(escape, 4)?).ok();
    let first = unit(rest)?;
    if let Ok(text) = String::from_utf16(&[first]) {
        return Some((text, 6));
    }
    let second = unit(rest.get(6..).filter(|rest| rest.starts_with("\\u"))?)?;
    Some((String::from_utf16(&[first, second]).ok()?, 12))
}

/// A literal or folded block while it is read.
struct Block<'a> {
    text: &'a str,
    bytes: Vec<usize>,
}

impl<'a> Block<'a> {
    fn read(file: &str, start: usize, text: &'a str) -> Option<Vec<usize>> {
        let is_folded = file.get(start..)?.starts_with('>');
        let header = file.get(start..)?.find('\n')? + 1;
        let mut block = Self {
            text,
            bytes: Vec::with_capacity(text.len() + 1),
        };
        let mut indent = None;
        let mut previous: Option<&str> = None;
        let mut empty = 0;
        let (mut at, mut end) = (start + header, start + header);
        while !block.has_only_breaks_left() {
            let line = file.get(at..)?.split_inclusive('\n').next()?;
            let content = line.trim_end_matches(['\r', '\n']);
            let is_blank = content.trim_start_matches(' ').is_empty();
            if is_blank && indent.is_none_or(|indent| content.len() <= indent) {
                empty += 1;
            } else {
                // With an indentation indicator, the first line may have spaces of its own.
                let indent = *indent.get_or_insert(spaces(content).checked_sub(block.spaces())?);
                let content = content.get(indent..)?;
                let gap = gap(previous, content, empty, is_folded);
                block.take(&gap, |_| end)?;
                block.take(content, |index| at + indent + index)?;
                end = at + indent + content.len();
                (previous, empty) = (Some(content), 0);
            }
            at += line.len();
        }
        block.bytes.resize(text.len() + 1, end);
        Some(block.bytes)
    }

    fn left(&self) -> &'a str {
        self.text.get(self.bytes.len()..).unwrap_or_default()
    }

    fn has_only_breaks_left(&self) -> bool {
        self.left().bytes().all(|byte| byte == b'\n')
    }

    /// Spaces at the beginning of the next line that is not empty.
    fn spaces(&self) -> usize {
        spaces(self.left().trim_start_matches('\n'))
    }

    fn take(&mut self, piece: &str, byte: impl Fn(usize) -> usize) -> Option<()> {
        self.left().strip_prefix(piece)?;
        self.bytes.extend((0..piece.len()).map(byte));
        Some(())
    }
}

fn spaces(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// What is between two lines of a block with some empty ones between them.
fn gap(previous: Option<&str>, next: &str, empty: usize, is_folded: bool) -> String {
    let is_more_indented = |line: &str| line.starts_with([' ', '\t']);
    let Some(previous) = previous else {
        return "\n".repeat(empty);
    };
    if !is_folded || is_more_indented(previous) || is_more_indented(next) {
        return "\n".repeat(empty + 1);
    }
    match empty {
        0 => " ".to_owned(),
        more => "\n".repeat(more),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::tree, *};

    fn scalar(file: &str) -> Scalar {
        let node = tree::read(file).pop().unwrap().unwrap();
        node.find(&["k"]).unwrap().scalar().unwrap()
    }

    #[rstest]
    #[case::plain("k: a,Xb", "X")]
    #[case::plain_in_a_flow_map("{k: aXb, l: c}", "X")]
    #[case::plain_over_two_lines("k: a,\n  Xb", "X")]
    #[case::after_an_anchor("k: &a aXb", "X")]
    #[case::after_a_tag("k: !!str aXb", "X")]
    #[case::single_quotes("k: 'it''s X b'", "X")]
    #[case::single_quotes_over_lines("k: 'a\n\n\n  X'", "X")]
    #[case::double_quotes(r#"{"k": "é\"\/\u00e9\ud83d\ude00\t X"}"#, "X")]
    #[case::an_escaped_line_break("k: \"a \\\n   X\"", "X")]
    #[case::literal("k: |\n  a\n\n   b\n  X\n", "X")]
    #[case::literal_that_keeps_breaks("j: 1\nk: |+ # why\n\n    a\n    X\n\n\nl: 2", "X")]
    #[case::literal_with_an_indicator("k: |2-\n    a\n  X\n", "X")]
    #[case::literal_with_carriage_returns("k: |\r\n  a\r\n  X\r\n", "X")]
    #[case::plain_below_a_comment_with_a_bar("k: # a |\n  aXb", "X")]
    #[case::folded_lines("k: >-\n  a\n  b\n\n    c\n  X\n  d\n", "X")]
    fn finds_the_byte_in_the_file(#[case] file: &str, #[case] mark: &str) {
        let scalar = scalar(file);
        let notation = Notation::of(file, &scalar).unwrap();
        let index = scalar.text.find(mark).unwrap();

        assert_eq!(notation.byte(index), file.find(mark), "{scalar:?}");
        assert!(notation.byte(scalar.text.len()).is_some());
    }

    #[test]
    fn knows_no_notation_that_says_something_else() {
        let other = Scalar {
            start: 3,
            at: Position::default(),
            text: "b".to_owned(),
        };

        assert!(Notation::of("k: a", &other).is_none());
        assert!(Notation::of("k: 'a'", &other).is_none());
        assert!(Notation::of("k: |\n  a", &other).is_none());
        assert!(Notation::of("k:", &other).is_none());
    }

    #[rstest]
    #[case::on_the_first_line("é: 1\nk: é,X", 2, 6)]
    #[case::on_a_later_line("k: >\n  é,\n  éX", 3, 4)]
    #[case::in_the_second_document("a: 1\n---\nk: 'é X'", 3, 7)]
    fn a_byte_has_a_line_and_a_column(#[case] file: &str, #[case] line: u64, #[case] column: u64) {
        let scalar = scalar(file);

        let at = position(file, &scalar, file.find('X').unwrap()).unwrap();
        assert_eq!((at.line, at.column), (line, column));
    }
}
