//! Parses an annotation into a list: the limit of its size, and the choice of format.

use super::{Format, MAX_BYTES, SelectionList, draft::Draft, json, text};
use crate::violation::{Rule, Violation, Violations};

pub(super) fn list(source: &str, pod_namespace: &str) -> Result<SelectionList, Violations> {
    if source.len() > MAX_BYTES {
        let message = format!(
            "the annotation has {} bytes, at most {MAX_BYTES} are allowed; list fewer networks",
            source.len()
        );
        return Err(Violation::of_list(Rule::AnnotationSize, message).into());
    }
    let mut draft = Draft::default();
    let format = if source.is_empty() {
        Format::Text
    } else if source.contains(['[', '{', '"']) {
        json::read(source, pod_namespace, &mut draft)?;
        Format::Json
    } else {
        text::read(source, pod_namespace, &mut draft)?;
        Format::Text
    };
    draft.finish(source, format)
}
