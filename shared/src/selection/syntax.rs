//! What is wrong with an annotation that is not JSON: the place, what is expected there, and what
//! to write, for the mistakes that people make.

use super::MAX_DEPTH;
use crate::{
    spanned_json::JsonError,
    violation::{Rule, Violation},
};

pub(super) const EXAMPLE: &str = r#"[{"name":"macvlan1","interface":"net1"}]"#;

/// What word processors make of `"` and `'`.
const TYPOGRAPHIC: [char; 7] = ['“', '”', '„', '‟', '‘', '’', '‚'];
const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

pub(super) fn violation(source: &str, error: &JsonError) -> Violation {
    let JsonError::Syntax(offset, expected) = *error else {
        let message = format!("the annotation is nested more than {MAX_DEPTH} levels deep; use fewer levels");
        return Violation::of_list(Rule::JsonDepth, message);
    };
    let (offset, expected, advice) = match typographic_quote(source, offset) {
        Some(at) => (
            at,
            "a straight quote '\"'",
            "replace the typographic quote".to_owned(),
        ),
        None => (offset, expected, advice(source, offset, expected)),
    };
    let (line, column) = place(source, offset);
    let message = format!("not valid JSON: {expected} is expected at line {line}, column {column}; {advice}");
    let rest = source.get(offset..).filter(|rest| !rest.is_empty());
    Violation::of_list(Rule::JsonSyntax, message).value(rest.unwrap_or("the end"))
}

/// Line and column, from 1; columns count characters.
fn place(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    (before.matches('\n').count() + 1, column + 1)
}

/// The first typographic quote up to `offset` that stands where a JSON quote would.
fn typographic_quote(source: &str, offset: usize) -> Option<usize> {
    let candidates = source.match_indices(TYPOGRAPHIC);
    let mut stand_as_quotes = candidates.filter(|(at, quote)| {
        let before = source.get(..*at).unwrap_or_default();
        let after = source.get(at + quote.len()..).unwrap_or_default();
        let opens = first_before(before).is_some_and(|c| "[{,:".contains(c));
        let closes = first_after(after).is_some_and(|c| "]},:".contains(c));
        opens || closes
    });
    let (at, _) = stand_as_quotes.next()?;
    (at <= offset).then_some(at)
}

fn first_before(text: &str) -> Option<char> {
    text.trim_end_matches(WHITESPACE).chars().next_back()
}

fn first_after(text: &str) -> Option<char> {
    text.trim_start_matches(WHITESPACE).chars().next()
}

/// What to do about the character at `offset`, where `expected` should be.
fn advice(source: &str, offset: usize, expected: &str) -> String {
    let rest = source.get(offset..).unwrap_or_default();
    let before = first_before(source.get(..offset).unwrap_or_default());
    let advice = match (rest.chars().next(), before, expected) {
        (_, _, "the end of the string") if rest.is_empty() => "close the string with '\"'",
        (_, _, "the end of the string") => "write line breaks and tabs in a string as \\n and \\t",
        (None, ..) => "close every '[' and '{' that is open",
        (Some('#'), ..) => "JSON has no comments: remove the comment",
        (Some('/'), ..) if rest.starts_with("//") || rest.starts_with("/*") => {
            "JSON has no comments: remove the comment"
        }
        (Some('}' | ']'), Some(','), _) => "remove the comma before it",
        (Some(','), Some(',' | '[' | '{'), _) => "remove the comma",
        (Some('\''), ..) => "replace single quotes by double quotes",
        (_, _, "':'") => "write a colon between a key and its value",
        (Some(']'), _, "',' or '}'") => "close the object with '}' before it",
        (Some('}'), _, "',' or ']'") => "close the list with ']' before it",
        (Some('"' | '{' | '['), _, "',' or '}'" | "',' or ']'") => "write a comma before it",
        (_, _, "the end") => "remove what follows the list",
        (Some(c), _, "a value") if c.is_alphabetic() => "put text in double quotes",
        (Some(c), _, "a key in double quotes") if c.is_alphabetic() => "put the key in double quotes",
        _ => return format!("write a list such as {EXAMPLE}"),
    };
    advice.to_owned()
}
