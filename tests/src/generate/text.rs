//! The text format: a comma list of `[namespace/]name[@interface]`.

use fastrand::Rng;

use super::{interface, label, once_in, pick};

/// A whole list.
pub fn list(rng: &mut Rng) -> String {
    if once_in(rng, 60) {
        return pick(
            rng,
            &[
                "", " ", ",", "null", "a,,b", "a,", "/", "@", "a@b@c", "a/b/c", "a@b/c", "ns/@x",
            ],
        )
        .to_owned();
    }
    let count = if once_in(rng, 400) {
        rng.usize(60..70)
    } else {
        rng.usize(1..5)
    };
    let items: Vec<String> = (0..count).map(|position| item(rng, position)).collect();
    items.join(",")
}

fn item(rng: &mut Rng, position: usize) -> String {
    const SPACE: &[&str] = &["", "", "", " ", "\t", "\n ", "\u{a0}", "\u{2003}", "\u{b}"];
    let mut text = String::new();
    let sprinkle = rng.bool();
    let space = |rng: &mut Rng, text: &mut String| {
        if sprinkle && once_in(rng, 4) {
            text.push_str(pick(rng, SPACE));
        }
    };
    space(rng, &mut text);
    if rng.bool() {
        text.push_str(label(rng));
        space(rng, &mut text);
        text.push('/');
        space(rng, &mut text);
    }
    text.push_str(label(rng));
    if rng.bool() {
        space(rng, &mut text);
        text.push('@');
        space(rng, &mut text);
        text.push_str(&interface(rng, position));
    }
    space(rng, &mut text);
    text
}
