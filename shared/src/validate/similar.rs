//! "Did you mean": existing networks with a name close to a wrong one.

use crate::{distance::distance, names::NetworkName};

/// At most this many suggestions.
const MAX_SUGGESTIONS: usize = 3;

/// The networks among `existing` whose name is close to `wanted`, best first, at most three: the
/// same name in another namespace, or a name of the same namespace with up to two letters wrong.
pub fn similar<'a>(
    wanted: &NetworkName,
    existing: impl IntoIterator<Item = &'a NetworkName>,
) -> Vec<NetworkName> {
    let score = |candidate: &'a NetworkName| {
        let same_namespace = candidate.namespace() == wanted.namespace();
        let distance = match same_namespace {
            true => distance(wanted.name(), candidate.name())?,
            // Ranked as one wrong letter.
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

#[cfg(test)]
mod tests {
    use super::*;

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
