//! Where the elements of a networks annotation begin.

use serde_json::value::RawValue;

use super::{
    notation::{Notation, position},
    report::Finding,
    tree::Scalar,
};

/// Gives each finding about an element the place of that element in `file`, where the notation of
/// the annotation makes that possible.
pub(super) fn locate(findings: &mut [Finding], file: &str, annotation: &Scalar) {
    if findings.iter().all(|finding| finding.element.is_none()) {
        return;
    }
    let Some(notation) = Notation::of(file, annotation) else {
        return;
    };
    let starts = starts(&annotation.text);
    for finding in findings {
        let start = finding.element.and_then(|element| starts.get(element));
        let byte = start.and_then(|start| notation.byte(*start));
        if let Some(at) = byte.and_then(|byte| position(file, annotation, byte)) {
            finding.at = Some(at);
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

    use super::*;

    #[rstest]
    #[case("a, ns/b@net2 ,\nc", &[0, 3, 15])]
    #[case(r#" [ {"name":"a"}, {"name":"b"} ]"#, &[3, 17])]
    #[case(r#"[{"name":"a"}"#, &[])]
    fn elements_begin_after_space(#[case] annotation: &str, #[case] expected: &[usize]) {
        assert_eq!(starts(annotation), expected);
    }
}
