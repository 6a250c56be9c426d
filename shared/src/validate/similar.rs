//! "Did you mean": which existing networks a wrong name may have been meant for.

use crate::names::NetworkName;

/// At most this many suggestions.
const MAX_SUGGESTIONS: usize = 3;
/// Letters that may be wrong, missing or too many.
const MAX_DISTANCE: usize = 2;

/// The networks among `existing` that `wanted` may have been meant for, best first, at most three: the same name in another namespace,
/// or a name of the same namespace with up to two letters wrong.
pub fn similar<'a>(
    wanted: &NetworkName,
    existing: impl IntoIterator<Item = &'a NetworkName>,
) -> Vec<NetworkName> {
    let score = |candidate: &'a NetworkName| {
        let same_namespace = candidate.namespace() == wanted.namespace();
        let distance = match same_namespace {
            true => distance(wanted.name(), candidate.name())?,
            // As good as one wrong letter.
            false if candidate.name() == wanted.name() => 1,
            false => return None,
        };
        Some((distance, !same_namespace, candidate))
    };
    let mut scored: Vec<_> = existing.into_iter().filter_map(score).collect();
    scored.sort_unstable();
    scored
        .into_iter()
        .take(MAX_SUGGESTIONS)
        .map(|(.., candidate)| candidate.clone())
        .collect()
}

/// How many letters must be put in, left out or replaced to make `a` of `b`; `None` beyond [`MAX_DISTANCE`], or when nothing of a
/// short name would be left.
fn distance(a: &str, b: &str) -> Option<usize> {
    let limit = MAX_DISTANCE.min(a.len() / 2);
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut smallest = left;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *above;
            left = replaced.min(left + 1).min(*above + 1);
            *above = left;
            smallest = smallest.min(left);
        }
        if smallest > limit {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("macvlan1", "macvlan1", Some(0))]
    #[case("macvlan1", "macvlan2", Some(1))]
    #[case("macvlan1", "macvln1", Some(1))]
    #[case("macvlan1", "mcavlan1", Some(2))]
    #[case("macvlan1", "ipvlan1", None)]
    #[case("a", "b", None)]
    #[case("ab", "ac", Some(1))]
    #[case("ab", "cd", None)]
    fn counts_wrong_letters(#[case] a: &str, #[case] b: &str, #[case] expected: Option<usize>) {
        assert_eq!(distance(a, b), expected);
    }

    #[test]
    fn suggests_the_closest_names_first() {
        let names = [
            "default/foo-nett",
            "default/foo-net12",
            "other/foo-net",
            "other/foo-nett",
            "default/foo-n3t",
            "x/bar",
        ];
        let existing: Vec<_> = names
            .iter()
            .map(|name| NetworkName::parse(name).unwrap())
            .collect();
        let found = similar(&NetworkName::parse("default/foo-net").unwrap(), &existing);
        let found: Vec<_> = found.iter().map(NetworkName::to_string).collect();
        assert_eq!(found, ["default/foo-n3t", "default/foo-nett", "other/foo-net"]);
    }
}
