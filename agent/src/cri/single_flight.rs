//! One call for all who ask at the same time.
//!
//! Guarantees: an answer is from a call that began after it was asked for; at most one call runs;
//! after a failure the next call waits, longer with each failure in a row. May be cancelled at any
//! time: the call goes on as long as one caller waits for it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use agent_core::backoff;
use futures::{
    FutureExt as _,
    future::{LocalBoxFuture, Shared},
};
use tokio::time::{Instant, sleep_until};

use super::CriError;

/// The pause after the first failure; it doubles with each in a row.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(2);

type Answer<T> = Result<Rc<T>, CriError>;

/// See the module.
pub(super) struct SingleFlight<T> {
    call: Box<dyn Fn() -> LocalBoxFuture<'static, Result<T, CriError>>>,
    pace: Rc<Pace>,
    latest: RefCell<Option<Flight<T>>>,
}

struct Flight<T> {
    begun: Rc<Cell<bool>>,
    answer: Shared<LocalBoxFuture<'static, Answer<T>>>,
}

/// When the next call may begin. Shared by the calls to one runtime.
#[derive(Default)]
pub(super) struct Pace {
    failures: Cell<u32>,
    not_before: Cell<Option<Instant>>,
}

impl<T: 'static> SingleFlight<T> {
    pub(super) fn new(
        pace: Rc<Pace>,
        call: impl Fn() -> LocalBoxFuture<'static, Result<T, CriError>> + 'static,
    ) -> Self {
        Self {
            call: Box::new(call),
            pace,
            latest: RefCell::default(),
        }
    }

    /// The answer of the next call that begins.
    pub(super) async fn ask(&self) -> Answer<T> {
        let answer = self.join();
        answer.await
    }

    fn join(&self) -> Shared<LocalBoxFuture<'static, Answer<T>>> {
        let mut latest = self.latest.borrow_mut();
        if let Some(next) = latest.as_ref().filter(|flight| !flight.begun.get()) {
            return next.answer.clone();
        }
        // A call that all its callers have given up would stand still: it ends here.
        let before = latest.take().map(|flight| flight.answer);
        let before = before.filter(|answer| answer.peek().is_none() && answer.strong_count() > Some(1));
        let begun = Rc::new(Cell::new(false));
        let answer = self.fly(before, Rc::clone(&begun)).boxed_local().shared();
        *latest = Some(Flight {
            begun,
            answer: answer.clone(),
        });
        answer
    }

    fn fly(
        &self,
        before: Option<Shared<LocalBoxFuture<'static, Answer<T>>>>,
        begun: Rc<Cell<bool>>,
    ) -> impl Future<Output = Answer<T>> + 'static {
        let pace = Rc::clone(&self.pace);
        let call = (self.call)();
        async move {
            if let Some(before) = before {
                // What it answers was asked for by others.
                let _ = before.await;
            }
            pace.wait().await;
            begun.set(true);
            let answer = call.await;
            pace.note(answer.is_ok());
            answer.map(Rc::new)
        }
    }
}

impl Pace {
    async fn wait(&self) {
        // Another kind of call may fail meanwhile.
        while let Some(due) = self.not_before.get().filter(|due| *due > Instant::now()) {
            sleep_until(due).await;
        }
    }

    fn note(&self, well: bool) {
        if well {
            self.failures.set(0);
            self.not_before.set(None);
            return;
        }
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let pause = backoff::doubled(FIRST, failures, LONGEST);
        self.not_before.set(Some(Instant::now() + pause));
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    /// Each call takes a second and answers its number.
    struct Calls {
        begun: Rc<Cell<usize>>,
        fails: Rc<Cell<bool>>,
        flight: SingleFlight<usize>,
    }

    const TAKES: Duration = Duration::from_secs(1);

    impl Calls {
        fn new() -> Self {
            let (begun, fails) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let state = (Rc::clone(&begun), Rc::clone(&fails));
            let flight = SingleFlight::new(Rc::default(), move || {
                let (begun, fails) = state.clone();
                async move {
                    begun.set(begun.get() + 1);
                    let number = begun.get();
                    tokio::time::sleep(TAKES).await;
                    let failure = CriError::Unreachable(String::new());
                    if fails.get() { Err(failure) } else { Ok(number) }
                }
                .boxed_local()
            });
            Self { begun, fails, flight }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_share_one_call() {
        let calls = Calls::new();
        let answers = join_all((0..110).map(|_| calls.flight.ask())).await;
        assert_eq!(answers[0], Ok(Rc::new(1)), "it began at once");
        assert!(answers[1..].iter().all(|answer| *answer == Ok(Rc::new(2))));
        assert_eq!(calls.begun.get(), 2);
    }

    /// What is answered must not be older than the question.
    #[tokio::test(start_paused = true)]
    async fn a_caller_never_joins_a_call_that_has_begun() {
        let calls = Calls::new();
        let late = async |after: Duration| {
            tokio::time::sleep(after).await;
            calls.flight.ask().await
        };
        let (first, second, third) = tokio::join!(calls.flight.ask(), late(TAKES / 2), late(TAKES / 3));
        assert_eq!((first, second.clone()), (Ok(Rc::new(1)), Ok(Rc::new(2))));
        assert_eq!(third, second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_caller_holds_up_no_other() {
        let calls = Calls::new();
        assert!(calls.flight.ask().now_or_never().is_none());
        let begun = Instant::now();
        assert_eq!(calls.flight.ask().await, Ok(Rc::new(2)));
        assert_eq!(begun.elapsed(), TAKES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_meanwhile_holds_up_no_other() {
        let calls = Calls::new();
        let mut first = Box::pin(calls.flight.ask());
        let mut second = Box::pin(calls.flight.ask());
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none(), "it waits for the first");
        drop(first);
        assert_eq!(second.await, Ok(Rc::new(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_are_further_and_further_apart() {
        let calls = Calls::new();
        calls.fails.set(true);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let asked = Instant::now();
            assert!(calls.flight.ask().await.is_err());
            pauses.push((asked.elapsed() - TAKES).as_millis());
        }
        assert_eq!(pauses, [0, 200, 400, 800, 1600, 2000, 2000]);
        calls.fails.set(false);
        assert!(calls.flight.ask().await.is_ok());
        let asked = Instant::now();
        assert!(calls.flight.ask().await.is_ok());
        assert_eq!(asked.elapsed(), TAKES);
    }
}
