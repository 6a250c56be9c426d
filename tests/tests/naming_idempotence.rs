//! Filling in twice is filling in once, for generated lists of every sort: on create and on update,
//! also when another webhook puts an element into the list between two calls. What is named already
//! comes back byte for byte.
//!
//! `FILLING_CASES=N` sets the number of cases, `FILLING_SEED=S` the first seed: a failure prints
//! the seed that replays it.

use fastrand::Rng;
use shared::{
    naming::{fill_on_create, fill_on_update},
    selection::{Format, MAX_BYTES, SelectionList},
    status::StatusEntry,
    violation::shown,
};
use tests::{Error, generate};

const NAMESPACE: &str = "pod-ns";
const CASES: u64 = 100_000;
/// Seeds of the lists that pods had before, apart from those of the lists that they get.
const BEFORE: u64 = 1 << 40;

#[test]
fn filling_in_twice_is_filling_in_once() -> Result<(), Error> {
    let cases = generate::number("FILLING_CASES", CASES)?;
    let first = generate::number("FILLING_SEED", 0)?;
    // One thread for each core that a small machine has.
    let middle = first + cases / 2;
    let (low, high) = std::thread::scope(|scope| {
        let low = scope.spawn(|| tally(first..middle));
        (low.join(), tally(middle..first + cases))
    });
    let low = low.map_err(|_| Error::Unexpected("a thread panicked".to_owned()))??;
    let filled = low + high?;
    println!("{cases} cases, names were filled into {filled}");
    if cases >= CASES {
        assert!(
            filled * 10 >= cases * 3,
            "names were filled into fewer than 30 %: the generator tests too little"
        );
    }
    Ok(())
}

/// How many of these cases had a name to fill in.
fn tally(seeds: std::ops::Range<u64>) -> Result<u64, Error> {
    let mut filled = 0;
    for seed in seeds {
        let networks = generate::annotation(seed);
        let outcome = Case::of(seed).check(&networks);
        filled += u64::from(outcome.map_err(|what| {
            Error::Unexpected(format!("seed {seed}: {:?}: {what:.1000}", shown(&networks)))
        })?);
    }
    Ok(filled)
}

/// What decides about names besides the list itself.
enum Case {
    Create {
        offset: u32,
    },
    Update {
        old: Option<SelectionList>,
        status: Vec<StatusEntry>,
    },
}

impl Case {
    fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        if rng.bool() {
            return Self::Create {
                offset: rng.u32(0..3),
            };
        }
        let old = parse(&generate::annotation(BEFORE + seed));
        let names = old
            .iter()
            .flat_map(|list| &list.elements)
            .map(|element| element.network.to_string());
        let shown = names.map(|name| StatusEntry {
            name,
            interface: format!("net{}", rng.u8(1..9)),
            ..StatusEntry::default()
        });
        let status = shown.collect();
        Self::Update { old, status }
    }

    fn fill(&self, networks: &str) -> String {
        let Some(list) = parse(networks) else {
            return networks.to_owned();
        };
        let names = match self {
            Self::Create { offset } => fill_on_create(&list, *offset),
            Self::Update { old, status } => fill_on_update(&list, old.as_ref(), status),
        };
        list.with_interfaces(&names)
    }

    /// Whether there was a name to fill in.
    fn check(&self, networks: &str) -> Result<bool, String> {
        let once = self.fill(networks);
        same("the second time", &self.fill(&once), &once)?;
        let Some(before) = parse(networks) else {
            same("an unreadable list", &once, networks)?;
            return Ok(false);
        };
        // One of nearly the largest size may become too large by the names: it is refused as such.
        if once.len() > MAX_BYTES {
            return Ok(true);
        }
        let list = parse(&once).ok_or_else(|| format!("unreadable once filled in: {once:?}"))?;
        if list.elements.iter().any(|element| element.interface.is_none()) {
            return Err(format!("not all is named: {once:?}"));
        }
        let unnamed = before.elements.iter().any(|element| element.interface.is_none());
        if !unnamed {
            same("a list in which all is named", &once, networks)?;
        }
        let kept = before.elements.iter().zip(&list.elements).all(|(before, after)| {
            before.asks_as(after)
                && before
                    .interface
                    .as_ref()
                    .is_none_or(|name| after.interface.as_ref() == Some(name))
        });
        if !kept || before.elements.len() != list.elements.len() {
            return Err(format!("something else has changed: {once:?}"));
        }
        for (meddled, skip) in meddled(&list) {
            self.check_meddled(&list, &meddled, skip)?;
        }
        Ok(unnamed)
    }

    /// After another webhook put elements ahead of the first one (`skip` of them) or behind the
    /// last.
    fn check_meddled(&self, before: &SelectionList, meddled: &str, skip: usize) -> Result<(), String> {
        let once = self.fill(meddled);
        same("the second time after another webhook", &self.fill(&once), &once)?;
        if once.len() > MAX_BYTES {
            return Ok(());
        }
        // It may have been one too many.
        let Some(list) = parse(&once) else {
            return same("an unreadable list of another webhook", &once, meddled);
        };
        let names = list.elements.iter().skip(skip).map(|element| &element.interface);
        let kept = before
            .elements
            .iter()
            .map(|element| &element.interface)
            .eq(names.take(before.elements.len()));
        kept.then_some(())
            .ok_or_else(|| format!("another webhook's {meddled:?} changes names: {once:?}"))
    }
}

/// The list with an unnamed element of another webhook at its end and at its beginning, and how
/// many came to stand ahead.
fn meddled(list: &SelectionList) -> Vec<(String, usize)> {
    let source = list.source();
    if list.elements.is_empty() {
        return Vec::new();
    }
    match list.format {
        Format::Text => vec![
            (format!("{source}, istio-cni"), 0),
            (format!("istio-cni,{source}"), 1),
        ],
        Format::Json => {
            let (start, end) = (source.find('['), source.rfind(']'));
            let inner = start
                .zip(end)
                .and_then(|(start, end)| source.get(start + 1..end))
                .unwrap_or_default();
            vec![
                (format!(r#"[{inner},{{"name":"istio-cni"}}]"#), 0),
                (format!(r#"[{{"name":"istio-cni"}},{inner}]"#), 1),
            ]
        }
    }
}

fn parse(networks: &str) -> Option<SelectionList> {
    SelectionList::parse(Some(networks), NAMESPACE).ok()
}

fn same(what: &str, seen: &str, wanted: &str) -> Result<(), String> {
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {seen:?} instead of {wanted:?}"))
    }
}
