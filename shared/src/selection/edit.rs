//! Elements that a person adds to a list or takes out of it: the bytes of all others stay as they
//! are, and so does the format, unless it cannot hold what is added.

use std::ops::Range;

use serde::Serialize;

use super::{Format, MAX_DEPTH, SelectionList};
use crate::{
    names::{InterfaceName, NetworkName},
    spanned_json::{self, Tree},
};

/// An element to be added: what `kubectl networks connect` can ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewElement {
    /// The NetworkAttachmentDefinition.
    pub network: NetworkName,
    /// The interface; `None`: the webhook chooses one.
    pub interface: Option<InterfaceName>,
    /// Addresses, as written.
    pub ips: Vec<String>,
    /// The hardware address, as written.
    pub mac: Option<String>,
}

impl NewElement {
    fn is_plain(&self) -> bool {
        self.ips.is_empty() && self.mac.is_none()
    }

    /// `NAMESPACE/NAME@INTERFACE`; only the network and the interface.
    fn text(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{}@{interface}", self.network),
            None => self.network.to_string(),
        }
    }

    fn json(&self) -> String {
        let object = Json {
            name: self.network.name(),
            namespace: self.network.namespace(),
            interface: self.interface.as_ref().map(InterfaceName::as_str),
            ips: &self.ips,
            mac: self.mac.as_deref(),
        };
        // A struct of texts can always be written.
        serde_json::to_string(&object).unwrap_or_default()
    }
}

/// The element as the annotation has it.
#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    ips: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<&'a str>,
}

impl SelectionList {
    /// The annotation with one more element at its end.
    pub fn with_element(&self, element: &NewElement) -> String {
        let text = self.source.trim_end();
        match self.format {
            Format::Json => {
                let (head, closed) = text.rsplit_once(']').unwrap_or((text, ""));
                let comma = if self.elements.is_empty() { "" } else { "," };
                format!("{}{comma}{}]{closed}", head.trim_end(), element.json())
            }
            Format::Text if element.is_plain() && self.can_hold_text(element) => {
                let comma = if self.elements.is_empty() { "" } else { "," };
                format!("{text}{comma}{}", element.text())
            }
            Format::Text => self.with_json(element),
        }
    }

    /// Text has no place for addresses: all elements become JSON.
    fn with_json(&self, element: &NewElement) -> String {
        let old = self.elements.iter().map(|old| NewElement {
            network: old.network.clone(),
            interface: old.interface.clone(),
            ips: Vec::new(),
            mac: None,
        });
        let all: Vec<_> = old.chain([element.clone()]).map(|each| each.json()).collect();
        format!("[{}]", all.join(","))
    }

    fn can_hold_text(&self, element: &NewElement) -> bool {
        // The text format takes labels only, JSON any name of an object.
        !element.network.name().contains('.')
            && element.interface.as_ref().is_none_or(|name| self.can_hold(name))
    }

    /// The annotation without the elements at these places, `[]` when none is left.
    pub fn without_elements(&self, places: &[usize]) -> String {
        let spans = match self.format {
            Format::Text => text_spans(&self.source),
            Format::Json => json_spans(&self.source),
        };
        let kept: Vec<&str> = (0..)
            .zip(spans)
            .filter(|(place, _)| !places.contains(place))
            .filter_map(|(_, span)| self.source.get(span))
            .collect();
        match self.format {
            _ if kept.is_empty() => "[]".to_owned(),
            Format::Text => kept.join(","),
            Format::Json => format!("[{}]", kept.join(",")),
        }
    }
}

fn text_spans(source: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let span = |item: &str| {
        let span = start..start + item.len();
        start = span.end + 1;
        span
    };
    source.split(',').map(span).collect()
}

fn json_spans(source: &str) -> Vec<Range<usize>> {
    match spanned_json::parse(source, MAX_DEPTH).map(|node| node.tree) {
        Ok(Tree::List(items)) => items.iter().map(|item| item.start..item.end()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::selection::Selection;

    fn list(annotation: &str) -> SelectionList {
        SelectionList::parse(Some(annotation), "ns").unwrap()
    }

    fn element(interface: Option<&str>, ips: &[&str]) -> NewElement {
        NewElement {
            network: NetworkName::new("other", "blue").unwrap(),
            interface: interface.map(|name| InterfaceName::parse(name).unwrap()),
            ips: ips.iter().map(|&ip| ip.to_owned()).collect(),
            mac: None,
        }
    }

    #[rstest]
    #[case("", "other/blue@net1")]
    #[case("a", "a,other/blue@net1")]
    #[case("a@x , b\n", "a@x , b,other/blue@net1")]
    #[case("[]", r#"[{"name":"blue","namespace":"other","interface":"net1"}]"#)]
    #[case(
        "[ {\"name\": \"a\", \"x\": 1} ] ",
        r#"[ {"name": "a", "x": 1},{"name":"blue","namespace":"other","interface":"net1"}]"#
    )]
    fn adds_in_the_format_of_the_list(#[case] before: &str, #[case] after: &str) {
        assert_eq!(list(before).with_element(&element(Some("net1"), &[])), after);
    }

    #[test]
    fn text_becomes_json_for_addresses() {
        let with = list("a@x,b").with_element(&element(None, &["10.0.0.1/24"]));
        let expected = r#"[{"name":"a","namespace":"ns","interface":"x"},{"name":"b","namespace":"ns"},"#;
        let expected = format!(r#"{expected}{{"name":"blue","namespace":"other","ips":["10.0.0.1/24"]}}]"#);
        assert_eq!(with, expected);
    }

    #[rstest]
    #[case("a@x, b@y ,c@z", &[1], "a@x,c@z")]
    #[case("a@x", &[0], "[]")]
    #[case(r#"[{"name": "a"} , {"name":"b"}]"#, &[0], r#"[{"name":"b"}]"#)]
    #[case(r#"[{"name":"a"}]"#, &[0], "[]")]
    fn takes_elements_out(#[case] before: &str, #[case] places: &[usize], #[case] after: &str) {
        assert_eq!(list(before).without_elements(places), after);
    }

    proptest! {
        #[test]
        fn other_elements_do_not_change(
            names in proptest::collection::vec("[a-z]{1,4}", 0..5),
            json: bool,
            ips: bool,
            gone in 0_usize..5,
        ) {
            let source = if json {
                let all: Vec<_> = names.iter().map(|name| format!(r#"{{"name" : "{name}", "k.x": 1}}"#)).collect();
                format!("[{}]", all.join(" ,"))
            } else {
                names.join(", ")
            };
            let before = list(&source);
            let added = element(None, if ips { &["10.0.0.1/24"] } else { &[] });
            let with = list(&before.with_element(&added));
            let (last, rest) = with.elements.split_last().unwrap();
            prop_assert_eq!(rest, &before.elements[..]);
            prop_assert_eq!(&last.network, &added.network);

            let without = list(&before.without_elements(&[gone]));
            let kept = before.elements.iter().enumerate().filter(|(place, _)| *place != gone);
            let kept: Vec<Selection> = kept.map(|(_, element)| element.clone()).collect();
            prop_assert_eq!(without.elements, kept);
        }
    }
}
