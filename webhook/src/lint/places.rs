//! Where in a file the parts of a networks annotation or of a network's config are written.

use serde_json::value::RawValue;

use super::{
    notation::{Notation, position},
    report::{Finding, Part},
    tree::{Position, Scalar},
};

/// Gives each finding about a part of `scalar` the place of that part in `file`, where the notation
/// makes that possible.
pub(super) fn locate(findings: &mut [Finding], file: &str, scalar: &Scalar) {
    if findings.iter().all(|finding| finding.part.is_none()) {
        return;
    }
    let Some(notation) = Notation::of(file, scalar) else {
        return;
    };
    let elements = starts(&scalar.text);
    for finding in findings {
        let start = match finding.part {
            Some(Part::Element(index)) => elements.get(index).copied(),
            Some(Part::Inside(at)) => byte_of(&scalar.text, at),
            None => None,
        };
        let byte = start.and_then(|start| notation.byte(start));
        let Some(at) = byte.and_then(|byte| position(file, scalar, byte)) else {
            continue;
        };
        finding.at = Some(at);
        if let Some(Part::Inside(inside)) = finding.part {
            drop_place(&mut finding.message, inside);
        }
    }
}

/// The byte at a line and column of `text`, which may be its end.
fn byte_of(text: &str, at: Position) -> Option<usize> {
    let lines = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let characters = usize::try_from(at.column).ok()?.checked_sub(1)?;
    let line = text.split_inclusive('\n').nth(lines).unwrap_or_default();
    let start = text
        .split_inclusive('\n')
        .take(lines)
        .map(str::len)
        .sum::<usize>();
    let within = line.char_indices().nth(characters);
    Some(start + within.map_or(line.len(), |(byte, _)| byte))
}

/// Takes the place inside the text out of a message: with two places, a reader looks at the wrong
/// one.
fn drop_place(message: &mut String, inside: Position) {
    let Position { line, column } = inside;
    for place in [
        format!(" (line {line}, column {column})"),
        format!(" at line {line}, column {column}"),
    ] {
        if let Some(start) = message.rfind(&place) {
            message.replace_range(start..start + place.len(), "");
        }
    }
}

/// The byte at which each element begins; nothing for JSON that cannot be read.
fn starts(annotation: &str) -> Vec<usize> {
    if annotation.contains(['[', '{', '"']) {
        let elements: Vec<&RawValue> = serde_json::from_str(annotation).unwrap_or_default();
        let begin = annotation.as_ptr().addr();
        let elements = elements.iter().map(|element| element.get().as_ptr().addr());
        return elements.map(|element| element.saturating_sub(begin)).collect();
    }
    let mut starts = Vec::new();
    let mut at = 0;
    for element in annotation.split(',') {
        starts.push(at + element.len() - element.trim_start().len());
        at += element.len() + 1;
    }
    starts
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use shared::{cni::check, config::Enforcement};

    use super::*;

    #[rstest]
    #[case::shown_by_the_file(r#"'{"type":"macvlan","mtu":"x","ipam":{"type":"dhcp"}}'"#, Some(26))]
    #[case::in_a_notation_that_is_unknown("*alias", None)]
    fn a_message_has_one_place(#[case] file: &str, #[case] column: Option<u64>) {
        let scalar = Scalar {
            start: 0,
            at: Position { line: 1, column: 1 },
            text: r#"{"type":"macvlan","mtu":"x","ipam":{"type":"dhcp"}}"#.to_owned(),
        };
        let problems = check(&scalar.text, "a").problems;
        let of_config = |problem| Finding::of_config(problem, Enforcement::Enforce);
        let mut findings: Vec<_> = problems.iter().map(of_config).collect();
        locate(&mut findings, file, &scalar);

        let [finding] = &findings[..] else {
            panic!("{findings:?}");
        };
        assert_eq!(finding.at, column.map(|column| Position { line: 1, column }));
        let is_inside = finding
            .message
            .contains("without quotes (line 1, column 25) [rule ");
        assert_eq!(is_inside, column.is_none(), "{}", finding.message);
    }

    #[rstest]
    #[case("a, ns/b@net2 ,\nc", &[0, 3, 15])]
    #[case(r#" [ {"name":"a"}, {"name":"b"} ]"#, &[3, 17])]
    #[case(r#"[{"name":"a"}"#, &[])]
    fn elements_begin_after_space(#[case] annotation: &str, #[case] expected: &[usize]) {
        assert_eq!(starts(annotation), expected);
    }
    #[rstest]
    #[case("a\nbé c", 1, 1, 0)]
    #[case("a\nbé c", 2, 4, 6)]
    #[case("a\nbé c", 2, 5, 7)]
    #[case("a\n", 2, 1, 2)]
    fn a_place_counts_lines_and_characters(
        #[case] text: &str,
        #[case] line: u64,
        #[case] column: u64,
        #[case] byte: usize,
    ) {
        assert_eq!(byte_of(text, Position { line, column }), Some(byte));
    }
}
