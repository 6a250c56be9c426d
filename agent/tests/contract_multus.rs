//! The client of multus against every way in which a daemon at its socket can behave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{os::unix::net::UnixListener, path::PathBuf, time::Duration};

use agent::multus::{HEALTH_DEADLINE, HealthError, Multus};
use agent_core::{
    delegate::{Answer, Call, Command, FailedPlugin, Refusal},
    identity::{PodIdentity, SandboxId},
};
use rstest::rstest;
use serde_json::{Value, json};
use shared::names::InterfaceName;
use support::{
    multus::{Script, ScriptedMultus, http},
    soon,
};
use tokio::{task::yield_now, time};

fn call(command: Command) -> Call {
    Call {
        command,
        sandbox: SandboxId::parse("5a9d").unwrap(),
        netns: "/var/run/netns/cni-1".to_owned(),
        interface: InterfaceName::parse("net1").unwrap(),
        pod: PodIdentity::new("default", "p", "u").unwrap(),
        config: r#"{"name":"l","plugins":[{"type":"macvlan"}]}"#.to_owned(),
        ips: vec!["10.1.0.5/24".to_owned()],
        mac: None,
        cni_args: None,
    }
}

async fn answer(command: Command, script: Script) -> Answer {
    let multus = ScriptedMultus::start(script);
    soon(Multus::new(multus.sockets()).delegate(&call(command))).await
}

#[tokio::test]
async fn an_add_that_multus_does_yields_its_result() {
    let result = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "net1", "sandbox": "/x"}]});
    let body = json!({ "Result": result }).to_string();
    assert_eq!(
        answer(Command::Add, Script::Says(http("200 OK", &body))).await,
        Answer::Done(result)
    );
}

#[tokio::test]
async fn a_del_that_multus_does_needs_no_body() {
    assert_eq!(
        answer(Command::Del, Script::Says(http("200 OK", ""))).await,
        Answer::Done(Value::Null)
    );
}

#[tokio::test]
async fn multus_reads_the_whole_request() {
    let mut multus = ScriptedMultus::start(Script::Says(http("200 OK", r#"{"Result":{}}"#)));
    let answered = Multus::new(multus.sockets());
    soon(answered.delegate(&call(Command::Add))).await;
    let request = multus.request().await;
    assert_eq!(request["env"]["CNI_IFNAME"], "net1");
    assert_eq!(request["interfaceAttributes"], json!({"ips": ["10.1.0.5/24"]}));
}

#[tokio::test]
async fn a_refusal_is_classified_and_shortened() {
    let text = "ContainerID:\"5a9d\" Netns:\"\" IfName:\"net1\" Args:\"\" Path:\"\" ERRORED: error configuring pod [default/p] \
        networking: plugin type=\"macvlan\" failed (add): failed to find plugin \"host-lokal\" in path [/opt/cni/bin]\n";
    assert_eq!(
        answer(Command::Add, Script::Says(http("400 Bad Request", text))).await,
        Answer::Refused {
            cause: Refusal::PluginMissing { plugin: "host-lokal".to_owned() },
            plugin: Some(FailedPlugin {
                kind: "macvlan".to_owned(),
                index: None,
                cause: "failed to find plugin \"host-lokal\" in path [/opt/cni/bin]".to_owned(),
            }),
            text: "plugin type=\"macvlan\" failed (add): failed to find plugin \"host-lokal\" in path [/opt/cni/bin]"
                .to_owned(),
        }
    );
}

#[tokio::test]
async fn a_refusal_as_a_cni_error_object_is_read() {
    let body = r#"{"code":11,"msg":"try again","details":"later"}"#;
    assert_eq!(
        answer(Command::Del, Script::Says(http("400 Bad Request", body))).await,
        Answer::Refused {
            cause: Refusal::Other,
            plugin: None,
            text: "try again; later".to_owned()
        }
    );
}

#[tokio::test]
async fn a_daemon_without_delegate_is_named_as_such() {
    let answer = answer(Command::Add, Script::Says(http("404 Not Found", ""))).await;
    assert!(
        matches!(
            &answer,
            Answer::Refused {
                cause: Refusal::NoDelegateApi,
                ..
            }
        ),
        "{answer:?}"
    );
}

#[rstest]
#[case::empty(http("200 OK", ""))]
#[case::null(http("200 OK", "null"))]
#[case::null_result(http("200 OK", r#"{"Result":null}"#))]
#[case::result_of_a_wrong_type(http("200 OK", r#"{"Result":[]}"#))]
#[case::no_result(http("200 OK", "{}"))]
#[case::not_json(http("200 OK", "pong"))]
#[case::nested_too_deep(http("200 OK", &"[".repeat(100_000)))]
#[case::html(http("500 Internal Server Error", "<html><body>oops</body></html>"))]
#[case::redirect(http("302 Found", ""))]
#[case::reset_in_the_body(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Result\":{".to_vec())]
#[case::not_http(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec())]
#[tokio::test]
async fn an_add_answered_with_nonsense_is_lost_and_not_done(#[case] bytes: Vec<u8>) {
    let answer = answer(Command::Add, Script::Says(bytes)).await;
    assert!(
        matches!(&answer, Answer::Lost(reason) if reason.len() < 2000),
        "{answer:?}"
    );
}

#[rstest]
#[case::nothing("")]
#[case::half_a_head("HTTP/1.1 200 OK\r\nContent-")]
#[tokio::test]
async fn a_handler_that_ends_before_an_answer_in_a_daemon_that_is_well_has_crashed(#[case] said: &str) {
    assert_eq!(
        answer(Command::Add, Script::Crashes(said.into())).await,
        Answer::Crashed
    );
}

#[tokio::test]
async fn a_connection_that_ends_before_an_answer_is_lost_when_the_daemon_is_not_well() {
    let answer = answer(Command::Add, Script::Says(Vec::new())).await;
    assert!(matches!(&answer, Answer::Lost(_)), "{answer:?}");
}

/// Its predecessor's plugin may run on, however well it is.
#[tokio::test]
async fn a_connection_that_ends_before_an_answer_is_lost_when_another_daemon_has_taken_over() {
    let mut multus = ScriptedMultus::start(Script::Waits(Vec::new()));
    let client = Multus::new(multus.sockets());
    let delegated = tokio::spawn(async move { client.delegate(&call(Command::Add)).await });
    multus.request().await;
    let successor = ScriptedMultus::start(Script::Says(http("200 OK", "")));
    std::fs::rename(&successor.sockets()[0], &multus.sockets()[0]).unwrap();
    multus.go_on();
    let answer = soon(delegated).await.unwrap();
    assert!(matches!(&answer, Answer::Lost(_)), "{answer:?}");
}

#[tokio::test]
async fn an_endless_answer_is_dropped_after_a_few_megabytes() {
    let multus = ScriptedMultus::start(Script::Floods(1 << 30));
    let answer = soon(Multus::new(multus.sockets()).delegate(&call(Command::Add))).await;
    assert!(
        matches!(&answer, Answer::Lost(reason) if reason.contains("longer")),
        "{answer:?}"
    );
    assert!(
        multus.flooded() < 16 << 20,
        "{} bytes were read",
        multus.flooded()
    );
}

#[tokio::test]
async fn a_missing_socket_means_that_nothing_was_sent() {
    let nowhere = Multus::new(vec!["/nowhere/multus.sock".into(), "/nowhere/else.sock".into()]);
    let answer = soon(nowhere.delegate(&call(Command::Add))).await;
    assert_eq!(
        answer,
        Answer::NotSent("there is no socket at /nowhere/multus.sock or /nowhere/else.sock".to_owned())
    );
}

#[tokio::test]
async fn a_socket_that_nobody_listens_at_means_that_nothing_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("multus.sock");
    drop(UnixListener::bind(&path).unwrap());
    let answer = soon(Multus::new(vec![path]).delegate(&call(Command::Add))).await;
    assert!(
        matches!(&answer, Answer::NotSent(reason) if reason.contains("refused")),
        "{answer:?}"
    );
}

/// The daemon may create its socket at another path when it restarts; the file of before stays.
#[tokio::test]
async fn a_stale_socket_file_hides_no_live_daemon() {
    let multus = ScriptedMultus::start(Script::Says(http("200 OK", "")));
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("multus.sock");
    let sockets: Vec<PathBuf> = [vec![stale.clone()], multus.sockets()].concat();
    let client = Multus::new(sockets);
    for _ in ["no file at the first path", "a stale one"] {
        let answer = soon(client.delegate(&call(Command::Del))).await;
        assert_eq!(answer, Answer::Done(Value::Null));
        drop(UnixListener::bind(&stale));
    }
}

/// The socket that was used decides, not the first that exists.
#[tokio::test]
async fn a_crash_behind_a_stale_socket_is_a_crash() {
    let multus = ScriptedMultus::start(Script::Crashes(Vec::new()));
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("multus.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let client = Multus::new([vec![stale], multus.sockets()].concat());
    assert_eq!(soon(client.delegate(&call(Command::Add))).await, Answer::Crashed);
}

#[tokio::test]
async fn a_sent_request_is_waited_for_without_end() {
    let mut multus = ScriptedMultus::start(Script::Waits(http("200 OK", "")));
    let client = Multus::new(multus.sockets());
    let delegated = tokio::spawn(async move { client.delegate(&call(Command::Del)).await });
    multus.request().await;
    time::pause();
    time::advance(Duration::from_secs(24 * 3600)).await;
    yield_now().await;
    assert!(!delegated.is_finished());
    time::resume();
    multus.go_on();
    assert_eq!(soon(delegated).await.unwrap(), Answer::Done(Value::Null));
}

#[tokio::test]
async fn a_daemon_that_answers_is_well() {
    let multus = ScriptedMultus::start(Script::Says(http("200 OK", "")));
    soon(Multus::new(multus.sockets()).healthy()).await.unwrap();
}

#[tokio::test]
async fn a_silent_daemon_is_not_well_after_the_deadline() {
    let mut multus = ScriptedMultus::start(Script::Waits(Vec::new()));
    let client = Multus::new(multus.sockets());
    let asked = tokio::spawn(async move { client.healthy().await });
    multus.request().await;
    time::pause();
    time::advance(HEALTH_DEADLINE).await;
    time::resume();
    let outcome = soon(asked).await.unwrap();
    assert!(matches!(&outcome, Err(HealthError::Unwell(_))), "{outcome:?}");
}

#[rstest]
#[case::error(http("500 Internal Server Error", ""))]
#[case::nothing(Vec::new())]
#[tokio::test]
async fn a_daemon_that_answers_badly_is_not_well(#[case] bytes: Vec<u8>) {
    let multus = ScriptedMultus::start(Script::Says(bytes));
    let outcome = soon(Multus::new(multus.sockets()).healthy()).await;
    assert!(matches!(&outcome, Err(HealthError::Unwell(_))), "{outcome:?}");
}
