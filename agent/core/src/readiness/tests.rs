use std::rc::Rc;

use shared::config::Config;

use super::*;
use crate::{
    effect::Timing,
    turn::{Context, InFlight},
};

/// A condition and the time.
struct Bench {
    state: ConditionState,
    now: Duration,
    wake: Option<Duration>,
}

fn sandbox(name: &str) -> SandboxId {
    SandboxId::parse(name).unwrap()
}

fn networks(text: &str) -> Annotation {
    Annotation::parse(Some(text), "default", None)
}

fn failing() -> Verdict {
    Verdict::Failing("AttachFailed", "no such network".to_owned())
}

impl Bench {
    fn new() -> Self {
        Self {
            state: ConditionState::default(),
            now: Duration::from_secs(100),
            wake: None,
        }
    }

    /// A pod with networks that has been judged complete; the API server knows it.
    fn complete() -> Self {
        let mut bench = Self::new();
        bench.state.edited(&networks("a@net1"), bench.now);
        bench.state.read(Ok(None), bench.now());
        let change = bench.judge(&Verdict::Complete(1)).expect("a first condition");
        assert!(change.changed_at.is_some());
        bench.write(&change);
        bench
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.now,
            epoch: 1_000_000 + self.now.as_secs(),
            jitter: 0.0,
        }
    }

    fn with_turn<T>(&mut self, with: impl FnOnce(&mut ConditionState, &mut Turn<'_>) -> T) -> T {
        let context = Context {
            config: Rc::new(Config::parse("{}").unwrap()),
            own: None,
            timing: Timing::default(),
        };
        let (mut in_flight, mut actions) = (InFlight::default(), Vec::new());
        let now = self.now();
        self.wake = None;
        let mut turn = Turn {
            now,
            context: &context,
            stopping: false,
            in_flight: &mut in_flight,
            actions: &mut actions,
            wake: &mut self.wake,
        };
        with(&mut self.state, &mut turn)
    }

    fn judge(&mut self, verdict: &Verdict) -> Option<ConditionChange> {
        self.judge_in("s1", verdict)
    }

    fn judge_without_sandbox(&mut self) -> Option<ConditionChange> {
        self.with_turn(|state, turn| {
            state.begin_turn();
            state.judge(&Verdict::Complete(0), None, turn);
            state.change(turn)
        })
    }

    fn judge_in(&mut self, id: &str, verdict: &Verdict) -> Option<ConditionChange> {
        let id = sandbox(id);
        self.with_turn(|state, turn| {
            state.begin_turn();
            state.judge(verdict, Some(&id), turn);
            state.change(turn)
        })
    }

    fn write(&mut self, change: &ConditionChange) {
        self.state.note_sent(change);
        let view = crate::effect::StatusView {
            uid: "u".to_owned(),
            version: "1".to_owned(),
            status: None,
            annotation_bytes: 0,
        };
        let now = self.now();
        self.state.patched(&PatchOutcome::Written(view), false, now);
    }

    fn edit(&mut self, text: &str) {
        let now = self.now;
        self.state.edited(&networks(text), now);
    }
}

#[test]
fn an_edit_has_a_second_before_it_is_false() {
    let mut bench = Bench::complete();
    bench.edit("a@net1,b@net2");
    assert_eq!(bench.judge(&Verdict::InProgress), None);
    assert_eq!(bench.wake, Some(bench.now + GRACE));
    bench.now += GRACE;
    let change = bench.judge(&Verdict::InProgress).unwrap();
    assert_eq!(change.condition.status, ConditionStatus::False);
    assert_eq!(change.condition.reason, "InProgress");
}

/// Its sandbox is seen for the first time then: nothing had to be known of it before.
#[test]
fn the_first_edit_of_a_pod_has_a_second_too() {
    let mut bench = Bench::new();
    bench.edit("[]");
    bench.state.read(Ok(None), bench.now());
    let change = bench.judge_without_sandbox().unwrap();
    assert_eq!(change.condition.reason, "NoNetworks");
    bench.write(&change);
    bench.now += Duration::from_secs(100);
    bench.edit("a@net1");
    assert_eq!(bench.judge(&Verdict::InProgress), None);
    bench.now += GRACE;
    let change = bench.judge(&Verdict::InProgress).unwrap();
    assert_eq!(change.condition.reason, "InProgress");
    bench.write(&change);
    let change = bench.judge(&Verdict::Complete(1)).unwrap();
    bench.write(&change);
    // The next sandbox is another case.
    assert!(bench.judge_in("s2", &Verdict::InProgress).is_some());
}

#[test]
fn a_row_of_edits_gets_no_more_time() {
    let mut bench = Bench::complete();
    bench.edit("b@net2");
    bench.judge(&Verdict::InProgress);
    bench.now += GRACE - Duration::from_millis(1);
    bench.edit("b@net3");
    bench.now += Duration::from_millis(1);
    assert!(bench.judge(&Verdict::InProgress).is_some());
}

#[test]
fn a_failure_is_false_at_once() {
    let mut bench = Bench::complete();
    bench.edit("b@net2");
    let change = bench.judge(&failing()).unwrap();
    assert_eq!(change.condition.status, ConditionStatus::False);
    assert_eq!(change.changed_at, Some(bench.now().epoch));
    assert!(
        change
            .condition
            .message
            .starts_with("no such network; networks=sha256:")
    );
}

#[test]
fn a_new_sandbox_is_false_at_once() {
    let mut bench = Bench::complete();
    let change = bench.judge_in("s2", &Verdict::InProgress).unwrap();
    assert_eq!(change.condition.status, ConditionStatus::False);
}

#[test]
fn the_transition_time_is_that_of_a_changed_status() {
    let mut bench = Bench::complete();
    bench.edit("b@net2");
    let change = bench.judge(&Verdict::Complete(1)).unwrap();
    assert_eq!(change.changed_at, None);
    assert!(change.condition.speaks_of(networks("b@net2").digest()));
}

#[test]
fn another_text_of_one_failure_waits() {
    let mut bench = Bench::complete();
    let change = bench.judge(&failing()).unwrap();
    bench.write(&change);
    let other = Verdict::Failing("AttachFailed", "another cause".to_owned());
    assert_eq!(bench.judge(&other), None);
    assert_eq!(bench.wake, Some(bench.now + REWORD));
    bench.now += REWORD;
    assert!(bench.judge(&other).is_some());
}

#[test]
fn a_retry_in_progress_keeps_the_failure() {
    let mut bench = Bench::complete();
    let change = bench.judge(&failing()).unwrap();
    bench.write(&change);
    bench.now += 10 * GRACE;
    assert_eq!(bench.judge(&Verdict::InProgress), None);
}

#[test]
fn says_nothing_about_a_pod_that_never_asked() {
    let mut bench = Bench::complete();
    bench.state = ConditionState::default();
    bench.state.edited(&Annotation::Absent, bench.now);
    bench.state.read(Ok(None), bench.now());
    assert_eq!(bench.judge(&Verdict::Complete(0)), None);
}

#[test]
fn a_write_without_an_answer_is_read_again() {
    let mut bench = Bench::complete();
    let change = bench.judge(&failing()).unwrap();
    bench.state.note_sent(&change);
    let now = bench.now();
    let failed = PatchOutcome::Failed("no answer".to_owned());
    bench.state.patched(&failed, true, now);
    assert_eq!(bench.state.known, Known::Unknown);
    assert!(bench.state.retry().is_some());
}

#[test]
fn a_refused_condition_does_not_go_along_again() {
    let mut bench = Bench::complete();
    let change = bench.judge(&failing()).unwrap();
    bench.state.note_sent(&change);
    let now = bench.now();
    let failed = PatchOutcome::Failed("denied".to_owned());
    bench.state.patched(&failed, true, now);
    bench.state.known = Known::Is(None);
    assert_eq!(bench.with_turn(ConditionState::send_along), None);
}

#[test]
fn a_long_message_ends_with_the_digest() {
    let digest = NetworksDigest::of("a@net1");
    for text in [
        "x".repeat(5000),
        "ü".repeat(3000),
        "x".to_owned() + &"𝄞".repeat(2000),
    ] {
        let message = message(&text, digest);
        assert!(
            message.len() <= MAX_MESSAGE && message.len() > MAX_MESSAGE - 4,
            "{}",
            message.len()
        );
        assert!(message.ends_with(&format!("...; {digest}")));
    }
}
