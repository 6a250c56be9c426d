//! The annotation that an edit leaves.

use shared::{
    names::InterfaceName,
    selection::{NewElement, SelectionList},
};

use crate::error::Error;

/// Reads an annotation of a pod in this namespace.
pub fn parse(annotation: &str, namespace: &str) -> Result<SelectionList, Error> {
    let parsed = SelectionList::parse(Some(annotation), namespace);
    parsed.map_err(|violations| {
        let violations: Vec<_> = violations.texts().collect();
        let violations = violations.join("; ");
        Error::Edit(format!(
            "the pod's annotation cannot be read: {violations}\nCorrect it with kubectl edit; nothing was changed"
        ))
    })
}

/// With one more element.
pub fn connected(list: &SelectionList, element: &NewElement) -> Result<String, Error> {
    if let Some(interface) = &element.interface {
        let taken = list
            .elements
            .iter()
            .find(|old| old.interface.as_ref() == Some(interface));
        if let Some(old) = taken {
            return Err(Error::Edit(format!(
                "interface {interface} is network {} already; choose another name",
                old.network
            )));
        }
    }
    Ok(list.with_element(element))
}

/// Without the element of this interface, or of this network.
pub fn disconnected(list: &SelectionList, namespace: &str, what: &str) -> Result<String, Error> {
    let full = if what.contains('/') {
        what.to_owned()
    } else {
        format!("{namespace}/{what}")
    };
    let places = |matches: &dyn Fn(usize) -> bool| -> Vec<usize> {
        (0..list.elements.len()).filter(|&place| matches(place)).collect()
    };
    let element = |place: usize| list.elements.get(place);
    let by_interface = places(&|place| {
        let interface = element(place).and_then(|element| element.interface.as_ref());
        interface.is_some_and(|name| name.as_str() == what)
    });
    let found = if by_interface.is_empty() {
        places(&|place| element(place).is_some_and(|element| element.network.as_str() == full))
    } else {
        by_interface
    };
    match &found[..] {
        [_] => Ok(list.without_elements(&found)),
        [] => {
            let has: Vec<String> = list
                .elements
                .iter()
                .map(|element| shown(element.network.as_str(), element.interface.as_ref()))
                .collect();
            let has = if has.is_empty() {
                "no networks".to_owned()
            } else {
                has.join(", ")
            };
            Err(Error::Edit(format!(
                "the pod has neither interface nor network {what}; it has {has}"
            )))
        }
        several => {
            let names: Vec<_> = several
                .iter()
                .filter_map(|&place| element(place)?.interface.as_ref())
                .map(InterfaceName::as_str)
                .collect();
            Err(Error::Edit(format!(
                "the pod has network {what} {} times; name the interface: {}",
                several.len(),
                names.join(", ")
            )))
        }
    }
}

/// `NAMESPACE/NAME@INTERFACE`
fn shown(network: &str, interface: Option<&InterfaceName>) -> String {
    interface.map_or_else(|| network.to_owned(), |name| format!("{network}@{name}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use shared::names::NetworkName;

    use super::*;

    #[rstest]
    #[case("a@net1,b@net2", "net1", Ok("b@net2"))]
    #[case("a@net1,b@net2", "b", Ok("a@net1"))]
    #[case("a@net1,o/a@net2", "o/a", Ok("a@net1"))]
    #[case("a@net1", "a", Ok("[]"))]
    // An interface wins over a network of that name.
    #[case("net1@x,a@net1", "net1", Ok("net1@x"))]
    #[case(
        "a@net1,a@net2",
        "a",
        Err("the pod has network a 2 times; name the interface: net1, net2")
    )]
    #[case(
        "a@net1",
        "c",
        Err("the pod has neither interface nor network c; it has ns/a@net1")
    )]
    #[case(
        "",
        "c",
        Err("the pod has neither interface nor network c; it has no networks")
    )]
    fn disconnects(#[case] before: &str, #[case] what: &str, #[case] expected: Result<&str, &str>) {
        let edited = disconnected(&parse(before, "ns").unwrap(), "ns", what);
        let edited = edited.map_err(|error| error.to_string());
        assert_eq!(edited.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn an_interface_is_given_once() {
        let list = parse("a@net1", "ns").unwrap();
        let element = NewElement {
            network: NetworkName::new("ns", "b").unwrap(),
            interface: Some(InterfaceName::parse("net1").unwrap()),
            ips: Vec::new(),
            mac: None,
        };
        let error = connected(&list, &element).unwrap_err().to_string();
        assert_eq!(
            error,
            "interface net1 is network ns/a already; choose another name"
        );
    }

    #[test]
    fn an_unreadable_annotation_stays() {
        let error = parse("[null]", "ns").unwrap_err().to_string();
        assert!(error.contains("nothing was changed"), "{error}");
    }
}
