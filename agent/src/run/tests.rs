//! What ends the program, and what the return of a dependency means.

use std::{cell::RefCell, fs};

use rstest::rstest;
use shared_process::settings::SettingsMetrics;

use super::*;

#[tokio::test]
async fn a_writer_of_events_that_panics_ends_the_program() {
    let (mut tasks, mut writing) = (JoinSet::new(), JoinSet::new());
    tasks.spawn(std::future::pending());
    writing.spawn(async { panic!("planted by a test") });
    let ended = tokio::time::timeout(LAST_EVENTS, first_end(&mut tasks, &mut writing)).await;
    assert!(
        ended.as_ref().is_ok_and(|why| why.contains("panicked")),
        "{ended:?}"
    );
}

/// First sights wait for multus' directory, records for the disk, and everything for the runtime.
#[rstest]
#[case(Dependency::CniCache)]
#[case(Dependency::Records)]
#[case(Dependency::Cri)]
fn the_return_of_a_dependency_makes_everything_due(#[case] returned: Dependency) {
    assert_eq!(trigger_of(returned), Trigger::Anything);
}

/// Good and bad settings of a running agent, on a disk.
struct Fixture {
    place: tempfile::TempDir,
    reported: Rc<RefCell<Vec<Event>>>,
    restart: CancellationToken,
}

impl Fixture {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("manifest.json"), "{}").unwrap();
        Self {
            place,
            reported: Rc::default(),
            restart: CancellationToken::new(),
        }
    }

    /// In one step, as the kubelet does.
    fn set(&self, settings: &str) {
        let new = self.place.path().join("new");
        fs::write(&new, settings).unwrap();
        fs::rename(new, self.place.path().join("settings.json")).unwrap();
    }

    /// Follows the settings from now on, as long as `work` takes.
    async fn follow_during<T>(&self, work: impl AsyncFnOnce() -> T) -> T {
        let files = Files {
            manifest: self.place.path().join("manifest.json"),
            settings: self.place.path().join("settings.json"),
        };
        let settings = Settings::load(files, SettingsMetrics::default()).await.unwrap();
        let reported = Rc::clone(&self.reported);
        let report = move |event: &Event| reported.borrow_mut().push(event.clone());
        let follower = settings.follower(Duration::ZERO);
        tokio::select! {
            why = restart_when_due(follower, report, self.restart.clone()) => panic!("{why}"),
            outcome = work() => outcome,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn good_new_settings_stop_the_agent_as_sigterm_does() {
    let fixture = Fixture::new();
    let mut stop = Stop::new(fixture.restart.clone()).unwrap();
    let stopped = fixture.follow_during(async || {
        fixture.set(r#"{"interfaceOffset":1}"#);
        stop.or(tokio::time::sleep(Duration::from_secs(60))).await
    });
    assert_eq!(stopped.await, None);
    assert_eq!(*fixture.reported.borrow(), []);
}

#[tokio::test(start_paused = true)]
async fn refused_settings_are_reported_and_stop_nothing() {
    let fixture = Fixture::new();
    let mut stop = Stop::new(fixture.restart.clone()).unwrap();
    let stopped = fixture.follow_during(async || {
        fixture.set(r#"{"interfaceOffset":"one"}"#);
        stop.or(tokio::time::sleep(Duration::from_secs(60))).await
    });
    assert_eq!(stopped.await, Some(()));
    let reported = fixture.reported.borrow();
    let text = &reported[0].text;
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(
        text.contains("settings.json") && text.contains("interfaceOffset"),
        "{text}"
    );
}
