//! Generated networks annotations: whole ones, damaged ones and hostile ones, each replayable by
//! its seed.
//!
//! A case is made by a random generator seeded with the case's number, so
//! `ANNOTATION_SEED=N ANNOTATION_CASES=1` replays case N.

mod json;
mod result;
mod text;

use fastrand::Rng;

pub use result::result;

use crate::Error;

/// One generated annotation. About two in three are meant to be valid, the others carry one to
/// three faults.
pub fn annotation(seed: u64) -> String {
    let mut rng = Rng::with_seed(seed);
    let mut value = if rng.u8(0..4) == 0 {
        text::list(&mut rng)
    } else {
        json::list(&mut rng)
    };
    if rng.u8(0..8) == 0 {
        for _ in 0..rng.usize(1..4) {
            value = mutate(&mut rng, &value);
        }
    }
    value
}

/// A number that the environment may set: how many cases, or which is the first.
///
/// # Errors
/// [`Error::Setup`] when it is set to something else.
pub fn number(variable: &str, default: u64) -> Result<u64, Error> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .map_err(|_| Error::Setup(format!("{variable}={text:?} is no number"))),
        Err(_) => Ok(default),
    }
}

/// Deletes, doubles, replaces or inserts one character.
fn mutate(rng: &mut Rng, value: &str) -> String {
    const SPICE: &[char] = &[
        '[', ']', '{', '}', '"', '\\', ',', ':', '/', '@', ' ', '\t', '\n', '\u{0}', '\u{7f}', '0', '9', '-',
        '.', 'e', 'E', 'n', 'u', 'S', 's', '\u{17f}', '\u{212a}', '\u{feff}', '\u{a0}', '\u{2028}', 'é',
        '😀',
    ];
    let mut chars: Vec<char> = value.chars().collect();
    let spice = pick(rng, SPICE);
    if chars.is_empty() {
        return spice.to_string();
    }
    let at = rng.usize(0..chars.len());
    match rng.u8(0..4) {
        0 => {
            chars.remove(at);
        }
        1 => chars.insert(at, chars[at]),
        2 => chars[at] = spice,
        _ => chars.insert(at, spice),
    }
    chars.into_iter().collect()
}

/// One of `choices`.
fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(0..choices.len())]
}

/// True once in `n` times.
fn once_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(0..n) == 0
}

/// A DNS-1123 label that exists nowhere; now and then one that is none.
fn label(rng: &mut Rng) -> &'static str {
    const GOOD: &[&str] = &[
        "a",
        "net-a",
        "macvlan1-config",
        "0",
        "x9",
        "blue",
        "istio-cni",
        "a-b-c",
    ];
    const BAD: &[&str] = &[
        "", "-a", "a-", "A", "a_b", "a b", "é", "a\u{0}", "..", "a;b=c", "a\nb", "ſ",
    ];
    if once_in(rng, 60) {
        pick(rng, BAD)
    } else {
        pick(rng, GOOD)
    }
}

/// An interface name; seldom one that cannot be. `taken` makes clashes rare among good ones.
fn interface(rng: &mut Rng, position: usize) -> String {
    const BAD: &[&str] = &[
        "lo",
        "eth0",
        ".",
        "..",
        "a/b",
        "a:b",
        "a b",
        "sixteen-bytes-xx",
        "éééééééé",
        "tab\there",
        "nul\u{0}",
        "\u{85}x",
        "\u{a0}",
        "net1",
        "net1",
    ];
    match rng.u8(0..60) {
        0 => pick(rng, BAD).to_owned(),
        1 => "x".repeat(rng.usize(14..18)),
        2..=20 => format!("ens{position}"),
        21..=40 => format!("net{}", position + 1),
        _ => format!("uplink_p{position}"),
    }
}
