//! How far a misspelt name is from the one that was meant.

/// Letters that may be wrong, missing or too many.
const MAX_DISTANCE: usize = 2;

/// How many letters must be added, left out or replaced to make `a` of `b`; `None` beyond
/// [`MAX_DISTANCE`], or when more than half of `a` would change.
pub(crate) fn distance(a: &str, b: &str) -> Option<usize> {
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
}
