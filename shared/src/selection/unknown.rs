//! Keys of an element that multus ignores, which are typing errors more often than not.

use crate::{distance::distance, violation::shown};

/// What the known keys look like without case and separators, so that `cniArgs` is close to
/// `cni-args`.
fn plain(key: &str) -> String {
    key.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// The unknown keys of one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKeys {
    /// The first one, shortened and printable.
    pub first: String,
    /// The known key that it may have been meant for.
    pub meant: Option<&'static str>,
    /// How many more there are.
    pub more: usize,
}

impl UnknownKeys {
    /// Counts `key`, unless it has a period: those belong to other programs by convention.
    pub(super) fn add(all: &mut Option<Self>, key: &str, known: &'static [&'static str]) {
        if key.contains('.') {
            return;
        }
        match all {
            Some(all) => all.more += 1,
            None => {
                *all = Some(Self {
                    first: shown(key),
                    meant: nearest(key, known),
                    more: 0,
                });
            }
        }
    }
}

/// The known key with the fewest wrong letters (at most two), else the longest that `key` begins
/// with (`macAddress`).
fn nearest(key: &str, known: &'static [&'static str]) -> Option<&'static str> {
    // A key that is much longer than every known one was meant for none.
    if key.len() > 2 * known.iter().map(|known| known.len()).max()? {
        return None;
    }
    let wanted = plain(key);
    let letters = |known: &'static str| {
        let wrong = distance(&wanted, &plain(known))?;
        // "nmae" is as far from "mac" as from "name", but little of "mac" would be left.
        (wrong <= known.len() / 2).then_some((wrong, known))
    };
    let by_letters = known.iter().filter_map(|known| letters(known)).min();
    let by_start = known.iter().filter(|known| wanted.starts_with(&plain(known)));
    by_letters
        .map(|(_, known)| known)
        .or_else(|| by_start.max_by_key(|known| known.len()).copied())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::selection::json::KEYS;

    #[rstest]
    #[case("interfce", Some("interface"))]
    #[case("nmae", Some("name"))]
    #[case("ip", Some("ips"))]
    #[case("cniArgs", Some("cni-args"))]
    #[case("default_route", Some("default-route"))]
    #[case("portMapping", Some("portMappings"))]
    #[case("macAddress", Some("mac"))]
    #[case("interfaceName", Some("interface"))]
    #[case("vlan", None)]
    #[case("x", None)]
    fn finds_the_known_key_that_was_meant(#[case] key: &str, #[case] meant: Option<&str>) {
        assert_eq!(nearest(key, KEYS), meant);
    }

    #[test]
    fn keys_with_a_period_are_not_counted() {
        let mut all = None;
        UnknownKeys::add(&mut all, "example.com/x", KEYS);
        assert_eq!(all, None);
        UnknownKeys::add(&mut all, "interfce", KEYS);
        UnknownKeys::add(&mut all, "vlan", KEYS);
        let expected = UnknownKeys {
            first: "interfce".to_owned(),
            meant: Some("interface"),
            more: 1,
        };
        assert_eq!(all, Some(expected));
    }
}
