//! All histories of a scope, checked.
//!
//! # What is enumerated
//! A *history* is a sequence of incidents (an edit, the end of a sandbox, the passing of time, an
//! outage, …) and of faults (an ADD that fails half-way, an answer that is lost, a call that is
//! late, …). Each counts as one; a [`Scope`] says which may come together and how many there are.
//! After each incident the agent works until it waits. A fault meets one effect of that; every
//! effect is tried.
//!
//! A *crash* counts as nothing. The agent is killed at every point of every history at which the
//! node differs from the point before, and the history goes on from there: with the next incident
//! while the agent is down, or after it has started; it can be killed again, any number of times.
//!
//! After every history, and at every point of it, the outages end and the agent works on until it
//! waits for good or repeats itself; it is killed at every point of that, too. Then the invariants
//! are checked. Where plugins refuse a network's configuration, two futures are tried: it stays
//! refused, and it is corrected. Each outage is also tried as one that lasts, and its effects are
//! counted.
//!
//! # Why nothing is skipped silently
//! - States are compared by fingerprints of everything that decides the future. From equal states
//!   the same follows, so the second is not walked through again. It was first reached by a history
//!   that was not longer, because histories are walked through by length. Fingerprints have 64
//!   bits: among 20,000 states two that differ look equal with a probability of one in 10^11.
//! - A rest is known to be good when every state on the way to it was followed to its end once.
//! - An incident that changes nothing is the shorter history without it. A fault is tried at the
//!   effects that there are.
//! - Networks and interface names are interchangeable, so annotations are one of each kind up to
//!   their names.
//! - Two things cannot be known by any agent and are left out: whose an interface is that appeared
//!   under the name of an ADD whose agent died before the answer (`Node::is_free`), and a DEL of
//!   which a full disk refused to note that it began, when the agent then dies
//!   (`Node::hides_an_unplug`).
//! - Effects are carried out in the order in which they were started. Other orders come from faults
//!   that delay some.
//!
//! `HISTORY_LENGTH=7` asks for longer histories than usual.
//!
//! A history that ends badly is shrunk and printed as a test.

mod counts;
mod explorer;
mod history;
pub mod scope;

pub use counts::Counts;
pub use explorer::{Explorer, Failure};
pub use history::{Move, What, as_test, replay, shrink};
pub use scope::Scope;

/// Explores a scope, and panics with a test when a history ends badly.
pub fn explore(scope: &Scope) {
    let asked = std::env::var("HISTORY_LENGTH").ok();
    let length = asked.and_then(|asked| asked.parse().ok()).unwrap_or(scope.length);
    let begin = std::time::Instant::now();
    match Explorer::new(scope, length, None).run() {
        Ok(counts) => println!(
            "{}, up to {length}: {counts}, {:.1?}",
            scope.name,
            begin.elapsed()
        ),
        Err(failure) => {
            let history = shrink(scope, failure.history.clone(), None);
            let broken = replay(scope, &history, None);
            panic!(
                "{}\n\nshrunk: {broken:?}\n\n{}",
                failure.broken,
                as_test(scope, &history)
            );
        }
    }
}
