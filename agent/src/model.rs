//! The core on a simulated node, checked after every history of a kind: planning, recording, executing, adopting and releasing are the real
//! ones, multus, runtime, API server, disk and clock are [`crate::simulated`].
//!
//! # What is enumerated
//! A *history* is a sequence of happenings (an edit, the end of a sandbox, the passing of time, an outage, …) and of faults (an ADD that
//! fails half-way, an answer that is lost, a record that cannot be written, …). Each counts as one, and a theme says which may come
//! together and how many there are: six of those that matter most to each other (edits, failing calls, sandboxes that end), fewer of
//! wider choices. After each happening the agent looks until it sleeps. A fault meets one effect of such a look; every effect is tried.
//!
//! A *crash* counts as nothing. The agent is killed at every point of every history at which the node is not as it was at the point
//! before, and the history goes on from there: with the next happening while the agent is down, or after its first look; it can be killed
//! again, any number of times. (Between two changes of the node a crash leaves the same, whichever question the agent was about to ask.)
//!
//! After every history, and at every point of it, the outages end and the agent works on until it sleeps for good or what it does repeats
//! itself; it is killed at every point of that, too. Then the invariants are checked: what can be seen at rest in
//! `simulated::breach`, what can be seen on the way in `simulated::multus`.
//!
//! # Why nothing is skipped silently
//! - States are compared by fingerprints of everything that decides the future (`simulated::fingerprint` says what is left out, and why).
//!   From equal states the same follows, so the second one is not walked through again. It was first reached by a history that was not
//!   longer, because the histories are walked through by length. Fingerprints have 64 bits: among 20,000 states two that differ look equal
//!   with a probability of one in 10^11.
//! - A rest is known to be good when every state on the way to it was followed to its end once.
//! - A happening that changes nothing (an edit to the same text, the end of what has ended) is the shorter history without it. A fault
//!   is tried at the effects that there are: one that would meet no effect is no fault.
//! - Networks and interface names are interchangeable, so the annotations are one of each kind up to their names: nothing, one element,
//!   the same name on another network, two elements, the second one alone, and one that cannot be read.
//! - Two things cannot be told by anybody and are left out: whose an interface is that appeared under the same name as an ADD whose
//!   agent died before the answer ([`Node::can`](crate::simulated::Node::can)), and a DEL of which a full disk refused to note that it began,
//!   when the agent then dies (`Node::hides_an_unplug`).
//!
//! Themes mix in the last of them only, in histories of up to three. `HISTORY_LENGTH=7` asks for longer histories of all of them;
//! docs/development.md says how long that takes.
//!
//! A history that ends badly is shrunk and printed as a test. That each kind of mistake is found is tested with planted ones.

mod explorer;
mod found;
mod history;
mod planted;

use explorer::Explorer;
use history::{as_test, replay, shrink};

use crate::simulated::{Effect, Fault, Happening, Rig};

/// Which things happen to each other.
pub struct Theme {
    name: &'static str,
    /// The pod runs already, without networks.
    running: bool,
    happenings: &'static [Happening],
    /// Which faults effects meet.
    faults: fn(Effect, Fault) -> bool,
    /// What happens in the middle of a look.
    meanwhile: &'static [Happening],
    /// How long the histories are.
    length: usize,
}

const NONE: Happening = Happening::Edit(Some("[]"));
const A: Happening = Happening::Edit(Some("a@net1"));
const B: Happening = Happening::Edit(Some("b@net1"));
const BOTH: Happening = Happening::Edit(Some("a@net1,b@net2"));
const SECOND: Happening = Happening::Edit(Some("b@net2"));
const UNREADABLE: Happening = Happening::Edit(Some("[null]"));

/// What happens to every pod.
const LIFE: Theme = Theme {
    name: "edits, failing calls and sandboxes that end",
    running: true,
    happenings: &[
        NONE,
        A,
        B,
        Happening::Pass,
        Happening::SandboxEnds,
        Happening::SandboxStarts,
    ],
    faults: |effect, fault| match effect {
        Effect::Add => matches!(fault, Fault::HalfDone | Fault::LostRunning),
        Effect::Del => fault == Fault::Refused,
        _ => false,
    },
    meanwhile: &[],
    length: 6,
};

/// One interface that comes, goes and changes its network, and calls that go wrong in every way.
const ONE_INTERFACE: Theme = Theme {
    name: "one interface and failing calls",
    running: true,
    happenings: &[NONE, A, B, Happening::Pass],
    faults: |effect, _| matches!(effect, Effect::Add | Effect::Del),
    meanwhile: &[],
    length: 5,
};

/// Siblings.
const TWO_INTERFACES: Theme = Theme {
    name: "two interfaces and failing calls",
    running: true,
    happenings: &[NONE, BOTH, SECOND, Happening::Pass],
    faults: |effect, fault| match effect {
        Effect::Add => matches!(fault, Fault::HalfDone | Fault::LostRunning),
        Effect::Del => matches!(fault, Fault::Refused | Fault::LostRunning),
        _ => false,
    },
    meanwhile: &[],
    length: 5,
};

/// Sandboxes and pods that come and go.
const SANDBOXES: Theme = Theme {
    name: "sandboxes and pods that end",
    running: false,
    happenings: &[
        NONE,
        A,
        BOTH,
        Happening::Pass,
        Happening::SandboxFalls,
        Happening::SandboxEnds,
        Happening::SandboxStarts,
        Happening::TornDownAgain,
        Happening::PodTerminates,
        Happening::PodDeleted,
        Happening::PodRecreated,
    ],
    faults: |effect, fault| match effect {
        Effect::Add => fault == Fault::LostRunning,
        Effect::Del => fault == Fault::Refused,
        _ => false,
    },
    meanwhile: &[],
    length: 4,
};

/// What is written down.
const WRITING: Theme = Theme {
    name: "a disk and a status that cannot be written",
    running: true,
    happenings: &[
        NONE,
        A,
        B,
        Happening::Pass,
        Happening::DiskFull,
        Happening::DiskFree,
        Happening::StrangerWrites,
    ],
    faults: |effect, _| matches!(effect, Effect::Write | Effect::Erase | Effect::Patch),
    meanwhile: &[],
    length: 4,
};

/// Neighbours that go away, and networks that change.
const NEIGHBOURS: Theme = Theme {
    name: "neighbours that go and networks that change",
    running: true,
    happenings: &[
        NONE,
        A,
        B,
        UNREADABLE,
        Happening::Pass,
        Happening::NetworkDeleted("a"),
        Happening::NetworkCreated("a"),
        Happening::NetworkChanged("a"),
        Happening::MultusAway,
        Happening::MultusBack,
        Happening::ApiAway,
        Happening::ApiBack,
        Happening::RuntimeAway,
        Happening::RuntimeBack,
        Happening::StrangerPlugs("net1"),
    ],
    faults: |_, _| false,
    meanwhile: &[],
    length: 4,
};

/// What happens while the agent is at work.
const IN_BETWEEN: Theme = Theme {
    name: "what happens in the middle of the work",
    running: true,
    happenings: &[NONE, A, B, Happening::Pass, Happening::SandboxStarts],
    faults: |_, _| false,
    meanwhile: &[
        NONE,
        B,
        Happening::Pass,
        Happening::SandboxEnds,
        Happening::PodTerminates,
        Happening::PodDeleted,
    ],
    length: 3,
};

/// Neighbours that do not answer a question.
const QUESTIONS: Theme = Theme {
    name: "questions without an answer",
    running: false,
    happenings: &[
        NONE,
        A,
        B,
        Happening::Pass,
        Happening::SandboxStarts,
        Happening::SandboxEnds,
        Happening::PodDeleted,
    ],
    faults: |effect, _| effect == Effect::Read,
    meanwhile: &[],
    length: 4,
};

/// All of the above together.
const EVERYTHING: Theme = Theme {
    name: "everything together",
    running: true,
    happenings: &[
        NONE,
        A,
        B,
        BOTH,
        SECOND,
        UNREADABLE,
        Happening::Pass,
        Happening::SandboxFalls,
        Happening::SandboxEnds,
        Happening::SandboxStarts,
        Happening::TornDownAgain,
        Happening::PodTerminates,
        Happening::PodDeleted,
        Happening::PodRecreated,
        Happening::NetworkDeleted("a"),
        Happening::NetworkCreated("a"),
        Happening::NetworkChanged("a"),
        Happening::MultusAway,
        Happening::MultusBack,
        Happening::ApiAway,
        Happening::ApiBack,
        Happening::RuntimeAway,
        Happening::RuntimeBack,
        Happening::DiskFull,
        Happening::DiskFree,
        Happening::StrangerPlugs("net1"),
        Happening::StrangerWrites,
    ],
    faults: |_, _| true,
    meanwhile: IN_BETWEEN.meanwhile,
    length: 3,
};

impl Theme {
    fn begin(&self) -> Rig {
        if self.running {
            Rig::running()
        } else {
            Rig::before_start()
        }
    }
}

/// The length of the histories, if it is to be another one than usual.
fn length(usual: usize) -> usize {
    let asked = std::env::var("HISTORY_LENGTH").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual)
}

fn explore(theme: &Theme) {
    let length = length(theme.length);
    let begin = std::time::Instant::now();
    let mut explorer = Explorer::new(theme, length, None);
    match explorer.run() {
        Ok(counts) => println!(
            "{}, up to {length}: {counts}, {:.1?}",
            theme.name,
            begin.elapsed()
        ),
        Err(failure) => {
            let history = shrink(theme, failure.history, None);
            let breach = replay(theme, &history, None);
            panic!(
                "{}\n\nshrunk: {breach:?}\n\n{}",
                failure.breach,
                as_test(theme, &history)
            );
        }
    }
}

#[test]
fn holds_for_every_history_of_edits_failing_calls_and_sandboxes_that_end() {
    explore(&LIFE);
}

#[test]
fn holds_for_every_history_of_one_interface_and_failing_calls() {
    explore(&ONE_INTERFACE);
}

#[test]
fn holds_for_every_history_of_two_interfaces_and_failing_calls() {
    explore(&TWO_INTERFACES);
}

#[test]
fn holds_for_every_history_of_sandboxes_and_pods_that_end() {
    explore(&SANDBOXES);
}

#[test]
fn holds_for_every_history_of_a_disk_and_a_status_that_cannot_be_written() {
    explore(&WRITING);
}

#[test]
fn holds_for_every_history_of_neighbours_that_go_and_networks_that_change() {
    explore(&NEIGHBOURS);
}

#[test]
fn holds_for_whatever_happens_in_the_middle_of_the_work() {
    explore(&IN_BETWEEN);
}

#[test]
fn holds_for_every_history_of_questions_without_an_answer() {
    explore(&QUESTIONS);
}

#[test]
fn holds_for_every_history_of_everything_together() {
    explore(&EVERYTHING);
}
