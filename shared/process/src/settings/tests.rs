//! The files on a disk, as the kubelet writes them; time is simulated.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use prometheus_client::{encoding::text::encode, registry::Registry};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const SPREAD: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(600);

struct Fixture {
    place: TempDir,
    registry: Registry,
    metrics: SettingsMetrics,
}

impl Fixture {
    fn new(manifest: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("settings")).unwrap();
        fs::write(place.path().join("manifest.json"), manifest).unwrap();
        let (mut registry, metrics) = (Registry::default(), SettingsMetrics::default());
        metrics.register(&mut registry);
        Self {
            place,
            registry,
            metrics,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Another version of the ConfigMap, in one step.
    fn mount(&self, key: &str, content: &str) {
        let directory = self.path("settings");
        let version = directory.join(format!("..{}", fastrand::u64(..)));
        fs::create_dir(&version).unwrap();
        fs::write(version.join(key), content).unwrap();
        symlink(&version, directory.join("..new")).unwrap();
        fs::rename(directory.join("..new"), directory.join("..data")).unwrap();
        let _ = symlink(format!("..data/{key}"), directory.join(key));
    }

    async fn load(&self) -> Result<Settings, SettingsError> {
        let files = Files {
            manifest: self.path("manifest.json"),
            settings: self.path("settings/settings.json"),
        };
        Settings::load(files, self.metrics.clone()).await
    }

    fn exposed(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

#[tokio::test]
async fn effective_values_are_shown_with_their_file() {
    let fixture = Fixture::new(r#"{"stateDir":"/state"}"#);
    fixture.mount("settings.json", r#"{"interfaceOffset":1}"#);

    let settings = fixture.load().await.unwrap();

    let values = settings.values().join("\n");
    for line in [
        "stateDir=/state (dynamic-networks-config.json)",
        "interfaceOffset=1 (settings.json)",
        "interfaceNames=fill (default)",
    ] {
        assert!(values.contains(line), "{values}");
    }
    for (query, count) in [
        (None, 0),
        (Some("x=verbose"), 0),
        (Some("verbose"), 12),
        (Some("a=b&verbose=1"), 12),
    ] {
        assert_eq!(settings.lines(query).len(), count, "{query:?}");
    }
    let exposed = fixture.exposed();
    assert!(exposed.contains("# TYPE config info\n"), "{exposed}");
    assert!(exposed.contains("interfaceOffset=\"1\""), "{exposed}");
}

#[tokio::test]
async fn a_start_with_bad_settings_names_file_key_and_value() {
    let fixture = Fixture::new("{}");
    fixture.mount("settings.json", r#"{"interfaceOffset":"one"}"#);

    let error = fixture.load().await.unwrap_err().to_string();

    for part in [
        "settings/settings.json",
        "interfaceOffset",
        "\"one\"",
        "integer from 0 to 255",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_misnamed_key_of_the_configmap_is_refused() {
    let fixture = Fixture::new("{}");
    fixture.mount("setting.json", "{}");

    let error = fixture.load().await.unwrap_err().to_string();

    assert!(
        error.contains("has setting.json and no key settings.json"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_larger_than_a_configmap_is_refused() {
    let fixture = Fixture::new("{}");
    let spaces = " ".repeat(1024 * 1024);
    fixture.mount("settings.json", &format!("{{}}{spaces}"));

    let error = fixture.load().await.unwrap_err().to_string();

    assert!(error.contains("larger than 1 MiB"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_configmap_that_appears_later_is_due_within_the_spread() {
    let fixture = Fixture::new("{}");
    let settings = fixture.load().await.unwrap();
    let mut follower = settings.follower(SPREAD);
    assert!(timeout(LONG, follower.next()).await.is_err(), "nothing is new");

    fixture.mount("settings.json", r#"{"interfaceOffset":1}"#);
    let begun = Instant::now();
    assert_eq!(follower.next().await, News::Due);

    assert!(begun.elapsed() <= SPREAD + 2 * INTERVAL, "{:?}", begun.elapsed());
    assert_eq!(settings.config(), Config::default(), "values in use stay");
    assert!(settings.notices()[0].contains("restarts soon"));
}

#[tokio::test(start_paused = true)]
async fn bad_settings_are_shown_until_they_are_corrected() {
    let fixture = Fixture::new("{}");
    let settings = fixture.load().await.unwrap();
    let mut follower = settings.follower(SPREAD);

    fixture.mount("settings.json", r#"{"enforcement":"never"}"#);
    let news = follower.next().await;
    let News::Refused(cause) = news else {
        panic!("{news:?}");
    };
    assert!(
        cause.contains("\"enforcement\" has the value \"never\""),
        "{cause}"
    );
    assert!(timeout(LONG, follower.next()).await.is_err(), "it is said once");
    let notices = settings.notices().join("\n");
    assert!(notices.contains(&cause), "{notices}");
    assert!(fixture.exposed().contains("settings_refused 1\n"));

    fixture.mount("settings.json", "{}");
    assert!(timeout(LONG, follower.next()).await.is_err(), "no restart");
    assert_eq!(settings.notices(), Vec::<String>::new());
    assert!(fixture.exposed().contains("settings_refused 0\n"));
}

#[tokio::test(start_paused = true)]
async fn a_new_manifest_is_taken_over_too() {
    let fixture = Fixture::new("{}");
    let mut follower = fixture.load().await.unwrap().follower(SPREAD);

    fs::write(fixture.path("new"), r#"{"stateDir":"/b"}"#).unwrap();
    fs::rename(fixture.path("new"), fixture.path("manifest.json")).unwrap();

    assert_eq!(follower.next().await, News::Due);
}
