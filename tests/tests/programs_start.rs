//! Both programs as plain processes with something wrong at their start: one clear message, and an
//! end or a life that fits.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Cluster, Error, Output, PLUG, Program, Result, eventually, free_address, get, in_namespace};

/// What is wrong in the file, and what the message has to name.
const BAD_FILES: &[(&str, &[&str])] = &[
    (r#"{"criSocketPat": "/run/x.sock"}"#, &["criSocketPat"]),
    (r#"{"criSocketPath": 5}"#, &["criSocketPath", "5"]),
    (
        r#"{"criSocketPath": "run/x.sock"}"#,
        &["criSocketPath", "run/x.sock"],
    ),
    (r#"{"stateDir": ""}"#, &["stateDir"]),
    (
        r#"{"interfaceNames": "sometimes"}"#,
        &["interfaceNames", "sometimes", "fill", "reject", "warn", "off"],
    ),
    (
        r#"{"missingNetworks": "fill"}"#,
        &["missingNetworks", "fill", "warn", "reject"],
    ),
    (r#"{"interfaceOffset": -1}"#, &["interfaceOffset", "-1"]),
    (r#"{"systemNamespaces": "kube-system"}"#, &["systemNamespaces"]),
    (r#"{"namespaceIsolation": "yes"}"#, &["namespaceIsolation"]),
    ("[]", &["object"]),
    ("{", &["JSON"]),
    ("", &["JSON"]),
];

#[tokio::test]
async fn neither_program_starts_with_a_bad_configuration_file() -> Result<()> {
    let place = Place::new()?;
    for (content, words) in BAD_FILES {
        let config = place.file("config.json", content)?;
        for program in both(&place)? {
            let output = program.flag("--config", &config).run().await?;
            ends_with_one_message(&output, content, words);
            assert!(
                output.text.contains(&config.display().to_string()),
                "no file name in: {}",
                output.text
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn neither_program_starts_without_its_configuration_file() -> Result<()> {
    let place = Place::new()?;
    let missing = place.path("absent.json");
    for config in [missing.as_path(), place.0.path()] {
        for program in both(&place)? {
            let output = program.flag("--config", config).run().await?;
            ends_with_one_message(&output, "no file", &[&config.display().to_string()]);
        }
    }
    Ok(())
}

#[tokio::test]
async fn neither_program_starts_with_bad_settings() -> Result<()> {
    let place = Place::new()?;
    let config = place.config(json!({}))?;
    for (content, words) in BAD_FILES {
        let settings = place.file("settings.json", content)?;
        for program in both(&place)? {
            let program = program.flag("--config", &config);
            let output = program.flag("--settings", &settings).run().await?;
            ends_with_one_message(&output, content, words);
            assert!(output.text.contains("settings.json"), "{}", output.text);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_running_program_refuses_bad_settings_and_takes_good_ones() -> Result<()> {
    let place = Place::new()?;
    let config = place.config(json!({}))?;
    for program in both(&place)? {
        let settings = place.file("settings.json", r#"{"interfaceOffset": 0}"#)?;
        let admin = free_address()?;
        let mut program = program
            .flag("--config", &config)
            .flag("--settings", &settings)
            .flag("--settings-delay", "0")
            .flag("--admin-listen", admin.to_string())
            .start()?;
        shows(admin, "/readyz?verbose", "interfaceOffset=0 (settings.json)").await?;

        place.file("settings.json", r#"{"interfaceOffset": "one"}"#)?;
        let refused = "settings.json: the key \"interfaceOffset\" has the value \"one\"";
        shows(admin, "/readyz", refused).await?;
        shows(admin, "/metrics", "_settings_refused 1").await?;
        program.still_runs()?;

        place.file("settings.json", r#"{"interfaceOffset": 1}"#)?;
        let output = program.ended_by_itself().await?;
        assert_eq!(output.code, Some(0), "{}", output.text);
        assert!(
            output.text.contains("interfaceOffset=1 (settings.json)"),
            "{}",
            output.text
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_agent_says_where_multus_configuration_differs() -> Result<()> {
    let place = Place::new()?;
    let config = place.config(json!({}))?;
    let multus = place.file("daemon-config.json", r#"{"namespaceIsolation": true}"#)?;
    let [agent, _] = both(&place)?;
    let admin = free_address()?;
    let mut agent = agent
        .flag("--config", &config)
        .flag("--multus-config", &multus)
        .flag("--admin-listen", admin.to_string())
        .start()?;
    shows(admin, "/readyz", "warning: namespaceIsolation is false").await?;
    shows(
        admin,
        "/metrics",
        "dynamic_networks_agent_multus_config_differences 1",
    )
    .await?;
    agent.still_runs()?;
    let output = agent.terminate().await?;
    assert!(
        output.text.contains("multus' configuration differs from ours"),
        "{}",
        output.text
    );
    Ok(())
}

/// Waits until a page has these words.
async fn shows(admin: std::net::SocketAddr, path: &str, words: &str) -> Result<()> {
    eventually(PLUG, format!("{path} shows {words:?}"), async || {
        let (code, body) = get(admin, path).await?;
        let shown = body.contains(words);
        shown
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("{code} {body}")))
    })
    .await
}

#[tokio::test]
async fn neither_program_starts_with_a_flag_that_it_does_not_know() -> Result<()> {
    let place = Place::new()?;
    for program in both(&place)? {
        let output = program.flag("--no-such-flag", "1").run().await?;
        assert_eq!(output.code, Some(2), "{}", output.text);
        assert!(output.text.contains("--no-such-flag"), "{}", output.text);
    }
    Ok(())
}

#[tokio::test]
async fn the_agent_lives_without_its_sockets_and_says_which_are_missing() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let place = Place::new()?;
    let config = place.config(json!({}))?;
    let admin = free_address()?;
    let mut agent = agent(&cluster.kubeconfig(), &config)?
        .flag("--admin-listen", admin.to_string())
        .start()?;

    eventually(PLUG, "it is alive, not ready, and says why", async || {
        let (code, body) = get(admin, "/readyz").await?;
        let clear = code == 503 && body.contains("absent-cri.sock") && body.contains("absent-multus.sock");
        clear
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("{code} {body}")))
    })
    .await?;
    assert_eq!(get(admin, "/livez").await?.0, 200);
    agent.still_runs()?;
    let output = agent.terminate().await?;
    assert_eq!(output.code, Some(0), "{}", output.text);
    Ok(())
}

#[tokio::test]
async fn the_agent_says_that_it_may_not_watch_pods() -> Result<()> {
    in_namespace("rights", async |ns| {
        let place = Place::new()?;
        let kubeconfig = place.file("powerless", &ns.powerless().await?)?;
        let config = place.config(json!({}))?;
        let admin = free_address()?;
        let mut agent = agent(&kubeconfig, &config)?
            .flag("--admin-listen", admin.to_string())
            .start()?;

        says(&mut agent, &["forbidden", "pods"]).await?;
        let (code, body) = get(admin, "/readyz").await?;
        assert_eq!(code, 503, "{body}");
        let output = agent.terminate().await?;
        assert_eq!(output.code, Some(0), "{}", output.text);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_webhook_says_that_it_may_not_read_its_secret() -> Result<()> {
    in_namespace("rights", async |ns| {
        let place = Place::new()?;
        let kubeconfig = place.file("powerless", &ns.powerless().await?)?;
        let (admin, listen) = (free_address()?, free_address()?);
        let mut webhook = Program::webhook()?
            .flag("--config", place.config(json!({}))?)
            .flag("--kubeconfig", &kubeconfig)
            .flag("--namespace", &ns.name)
            .flag("--admin-listen", admin.to_string())
            .flag("--listen", listen.to_string())
            .start()?;

        says(
            &mut webhook,
            &["forbidden", "secrets", "dynamic-networks-webhook-ca"],
        )
        .await?;
        let (code, body) = get(admin, "/readyz").await?;
        assert_eq!(code, 503, "{body}");
        let output = webhook.terminate().await?;
        assert_eq!(output.code, Some(0), "{}", output.text);
        Ok(())
    })
    .await
}

/// Waits until a program that goes on running has printed one line with all of `words`, and not
/// many lines.
async fn says(program: &mut tests::Running, words: &[&str]) -> Result<()> {
    eventually(PLUG, format!("it says {words:?} and goes on"), async || {
        program.still_runs()?;
        let text = program.text();
        let said = text
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        said.then_some(()).ok_or(Error::Unexpected(text))
    })
    .await?;
    let text = program.text();
    assert!(text.lines().count() < 30, "a flood:\n{text}");
    Ok(())
}

fn ends_with_one_message(output: &Output, what: &str, words: &[&str]) {
    let text = &output.text;
    assert_eq!(output.code, Some(1), "{what}: {text}");
    assert!(!text.contains("panicked"), "{what}: {text}");
    // Beside the line in which a program says its version.
    let said = text.lines().filter(|line| !line.contains("INFO")).count();
    assert_eq!(said, 1, "{what}: {text}");
    for word in words {
        assert!(text.contains(word), "{what}: {word:?} is not in: {text}");
    }
}

/// Files of one test.
struct Place(TempDir);

impl Place {
    fn new() -> Result<Self> {
        tempfile::tempdir()
            .map(Self)
            .map_err(|e| Error::Unexpected(e.to_string()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, content).map_err(|e| Error::Unexpected(e.to_string()))?;
        Ok(path)
    }

    /// A good configuration file whose directories exist here and whose sockets do not, with some
    /// keys changed.
    fn config(&self, changes: Value) -> Result<PathBuf> {
        let directory = |name: &str| {
            std::fs::create_dir_all(self.path(name)).map_err(|e| Error::Unexpected(e.to_string()))?;
            Ok::<_, Error>(self.path(name))
        };
        let mut config = json!({
            "criSocketPath": self.path("absent-cri.sock"),
            "multusSocketPath": self.path("absent-multus.sock"),
            "multusCniDir": directory("cni")?,
            "multusConfDir": directory("net.d")?,
            "stateDir": directory("state")?,
        });
        if let Value::Object(changes) = changes {
            for (key, value) in changes {
                config[key] = value;
            }
        }
        self.file("config.json", &config.to_string())
    }
}

fn agent(kubeconfig: &Path, config: &Path) -> Result<Program> {
    let program = Program::agent()?
        .flag("--node-name", "a-node-of-no-cluster")
        .flag("--config", config);
    Ok(program
        .flag("--kubeconfig", kubeconfig)
        .variable("POD_NAMESPACE", "kube-system")
        .variable("POD_NAME", "a-process")
        .variable("POD_UID", "00000000-0000-0000-0000-000000000000"))
}

/// Agent and webhook with an API server that nobody listens for: the configuration has to be judged
/// before.
fn both(place: &Place) -> Result<[Program; 2]> {
    let kubeconfig = place.file(
        "kubeconfig",
        &json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
            "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "nobody", "user": {"token": "none"}}],
            "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
        })
        .to_string(),
    )?;
    let agent = Program::agent()?.flag("--node-name", "a-node-of-no-cluster");
    let webhook = Program::webhook()?
        .flag("--namespace", "kube-system")
        .flag("--listen", free_address()?.to_string());
    Ok([
        agent.flag("--kubeconfig", &kubeconfig),
        webhook.flag("--kubeconfig", &kubeconfig),
    ])
}
