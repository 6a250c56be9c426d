//! The two paths in process: reviews in, answers out, as the API server sees them.

use axum::http::{StatusCode, header};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use shared::annotations;

use super::*;
use crate::{
    cluster::networks::NetworkAttachmentDefinition,
    http::routes::App,
    testing::{
        app, ask, ask_raw, cases, client, create, failure, know, macvlan, network, networks_of, not_found,
        patched, pod, post, review, update,
    },
};

/// A webhook that knows the network `a`, which takes addresses.
fn ready(settings: &Value) -> App {
    let app = app(settings);
    know(&app, &[("a", macvlan(&["ips", "mac"]))]);
    app
}

/// What `/validate` says: the message of a refusal, or nothing.
async fn refusal(app: &App, review: &Value) -> Option<String> {
    let answer = ask(app, "/validate", review).await;
    let message = answer["status"]["message"].as_str().map(str::to_owned);
    assert_eq!(answer["allowed"], message.is_none(), "{answer}");
    message
}

async fn warnings(app: &App, review: &Value) -> Vec<String> {
    let answer = ask(app, "/validate", review).await;
    assert_eq!(answer["allowed"], true, "{answer}");
    let warnings: Vec<String> = serde_json::from_value(answer["warnings"].clone()).unwrap_or_default();
    assert!(
        warnings.iter().all(|warning| warning.len() <= 256),
        "{warnings:?}"
    );
    warnings
}

#[tokio::test]
async fn a_filled_in_name_passes_validation() {
    let app = ready(&json!({}));
    let original = pod(r#"[{"name":"a"}]"#);

    let answer = ask(&app, "/mutate", &create(&original)).await;
    let filled = patched(&original, &answer);

    assert_eq!(answer["allowed"], true);
    assert!(networks_of(&filled).contains("net1"));
    assert_eq!(refusal(&app, &create(&filled)).await, None);
    assert_eq!(
        ask(&app, "/mutate", &create(&filled)).await.get("patch"),
        None,
        "nothing more to do"
    );
}

#[tokio::test]
async fn a_refusal_lists_every_violation_at_once() {
    let app = ready(&json!({}));

    let answer = ask(&app, "/validate", &create(&pod("a@eth0,b@/,a@way-too-long-name"))).await;

    let status = &answer["status"];
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&json!(422), &json!("Invalid"))
    );
    let causes = status["details"]["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 3, "{status:#}");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with("pod default/worker: annotation k8s.v1.cni.cncf.io/networks: "),
        "{message}"
    );
    for (index, cause) in causes.iter().enumerate() {
        let text = cause["message"].as_str().unwrap();
        assert!(
            text.contains(&format!("element {index}")) && message.contains(text),
            "{text}"
        );
        assert_eq!(
            cause["field"],
            "metadata.annotations[k8s.v1.cni.cncf.io/networks]"
        );
    }
}

#[tokio::test]
async fn a_pod_without_a_name_is_called_by_prefix() {
    let mut unnamed = pod("a@eth0");
    unnamed["metadata"]["name"] = Value::Null;
    unnamed["metadata"]["generateName"] = "web-".into();

    let message = refusal(&ready(&json!({})), &create(&unnamed)).await.unwrap();

    assert!(message.starts_with("pod default/web-<generated>: "), "{message}");
}

#[rstest]
#[case::half_a_list("[{\"name\":\"a\"")]
#[case::one_object(r#"{"name":"a"}"#)]
#[case::a_null("[null]")]
#[case::twice(r#"[{"name":"a","name":"b"}]"#)]
#[case::another_spelling(r#"[{"Name":"a"}]"#)]
#[case::duplicates("a@x,a@x")]
#[case::control_characters("a@\u{7}")]
#[tokio::test]
async fn unreadable_annotations_pass_mutation_and_fail_validation(#[case] networks: &str) {
    let app = ready(&json!({}));
    for review in [create(&pod(networks)), update(&pod("a@net1"), &pod(networks))] {
        let answer = ask(&app, "/mutate", &review).await;
        assert_eq!((&answer["allowed"], answer.get("patch")), (&json!(true), None));
        assert!(refusal(&app, &review).await.is_some());
    }
}

#[tokio::test]
async fn an_unchanged_broken_annotation_blocks_no_other_edit() {
    let app = ready(&json!({}));
    let damaged = pod("[null]");
    let mut relabelled = damaged.clone();
    relabelled["metadata"]["labels"] = json!({ "a": "b" });

    assert_eq!(refusal(&app, &update(&damaged, &relabelled)).await, None);
    assert_eq!(
        refusal(&app, &update(&damaged, &pod("a@net1"))).await,
        None,
        "and mended"
    );
}

#[tokio::test]
async fn deletions_pass_both() {
    let app = ready(&json!({}));
    let delete = review("DELETE", None, Some(&pod("[null]")));

    assert_eq!(ask(&app, "/mutate", &delete).await["allowed"], true);
    assert_eq!(refusal(&app, &delete).await, None);
}

#[tokio::test]
async fn the_mode_reject_says_what_to_write() {
    let app = ready(&json!({ "interfaceNames": "reject" }));
    let review = create(&pod("a"));

    assert_eq!(ask(&app, "/mutate", &review).await.get("patch"), None);
    let message = refusal(&app, &review).await.unwrap();
    assert!(message.contains("default/a@net1"), "{message}");
}

#[tokio::test]
async fn mode_warn_admits_with_warnings_mode_off_without() {
    let review = create(&pod("a"));

    assert_eq!(
        warnings(&ready(&json!({ "interfaceNames": "warn" })), &review)
            .await
            .len(),
        1
    );
    assert_eq!(
        warnings(&ready(&json!({ "interfaceNames": "off" })), &review)
            .await
            .len(),
        0
    );
}

#[tokio::test]
async fn a_namespace_overrides_the_configured_mode() {
    let app = ready(&json!({ "interfaceNames": "reject" }));
    label(&app, Some("fill"), None);

    assert!(
        ask(&app, "/mutate", &create(&pod("a")))
            .await
            .get("patch")
            .is_some()
    );
}

#[tokio::test]
async fn an_unknown_mode_label_is_ignored_with_a_warning() {
    let app = ready(&json!({}));
    label(&app, Some("Fill!"), None);

    assert!(
        ask(&app, "/mutate", &create(&pod("a")))
            .await
            .get("patch")
            .is_some()
    );
    assert_eq!(warnings(&app, &create(&pod("a@net1"))).await, [LABEL_WARNING]);
}

#[tokio::test]
async fn an_unknown_network_is_a_warning_with_a_suggestion() {
    let app = app(&json!({}));
    know(&app, &[("macvlan1", macvlan(&[]))]);

    let warnings = warnings(&app, &create(&pod("macvlan2@net1"))).await;

    assert!(
        warnings[0].contains("did you mean default/macvlan1"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn as_long_as_nothing_is_listed_nothing_is_missing() {
    let app = app(&json!({ "missingNetworks": "reject" }));

    assert_eq!(
        warnings(&app, &create(&pod("a@net1"))).await,
        Vec::<String>::new()
    );
}

/// The path of a network of the namespace `default`.
const NETWORK: &str = "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions";

/// An API server that has these networks, and is in trouble about `troubled`; the paths that it was
/// asked for.
fn api_server(app: &mut App, networks: &[(&str, Value)]) -> Arc<std::sync::Mutex<Vec<String>>> {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let networks: Vec<(String, Value)> = networks
        .iter()
        .map(|(name, config)| ((*name).to_owned(), config.clone()))
        .collect();
    app.admission.client = Some(client(move |_, path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        heard.lock().unwrap().push(path.to_owned());
        if name == "troubled" {
            return failure();
        }
        let Some((name, config)) = networks.iter().find(|(known, _)| known == name) else {
            return not_found();
        };
        let found = json!({ "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": { "name": name, "namespace": "default" }, "spec": { "config": config.to_string() } });
        (200, found)
    }));
    asked
}

#[tokio::test]
async fn looks_a_missing_network_up_once_before_refusing_it() {
    let mut app = ready(&json!({ "missingNetworks": "reject" }));
    let asked = api_server(&mut app, &[("fresh", macvlan(&[]))]);

    assert_eq!(refusal(&app, &create(&pod("fresh@x,a@y,fresh@z"))).await, None);
    assert_eq!(*asked.lock().unwrap(), [format!("{NETWORK}/fresh")]);

    let message = refusal(&app, &create(&pod("gone@x"))).await.unwrap();
    assert!(message.contains("unknown-network"), "{message}");

    assert_eq!(
        refusal(&app, &create(&pod("troubled@x"))).await,
        None,
        "unknown is not missing"
    );
}

/// README applies a network and a pod that uses it in one file.
#[tokio::test]
async fn a_missing_network_is_confirmed_before_the_warning() {
    let mut app = ready(&json!({}));
    let asked = api_server(&mut app, &[("fresh", macvlan(&[]))]);

    for quiet in ["fresh@x,a@y", "troubled@x"] {
        assert_eq!(
            warnings(&app, &create(&pod(quiet))).await,
            Vec::<String>::new(),
            "{quiet}"
        );
    }
    assert_eq!(asked.lock().unwrap().len(), 2);

    for _ in 0..3 {
        let warnings = warnings(&app, &create(&pod("gone@x"))).await;
        assert!(
            warnings[0].contains("no such NetworkAttachmentDefinition"),
            "{warnings:?}"
        );
    }
    assert_eq!(asked.lock().unwrap().len(), 3, "absence is remembered");
}

#[tokio::test]
async fn looks_up_disputed_networks_and_remembers_missing_ones() {
    let mut app = ready(&json!({ "missingNetworks": "reject", "namespaceIsolation": true }));
    let asked = api_server(&mut app, &[]);

    // A network that was there before, and one that the pod may not use.
    let edit = update(&pod("gone@x,a@y"), &pod("gone@x,other/secret@z"));
    refusal(&app, &edit).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());

    for _ in 0..3 {
        let message = refusal(&app, &create(&pod("gone@x"))).await.unwrap();
        assert!(message.contains("unknown-network"), "{message}");
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}

/// The watch may be behind, or lost.
#[tokio::test]
async fn no_refusal_rests_on_an_old_cache() {
    let mut app = app(&json!({}));
    app.admission.networks.replace(&[
        network("default", "mapped", &macvlan(&[])),
        network("default", "repaired", &json!({ "plugins": [] })),
        network("default", "troubled", &json!({ "plugins": [] })),
        network("default", "worse", &macvlan(&[])),
        on_devices(),
    ]);
    app.admission.namespaces.replace([]);
    api_server(
        &mut app,
        &[
            ("mapped", macvlan(&["portMappings"])),
            ("repaired", macvlan(&[])),
            ("worse", json!({ "plugins": [] })),
            ("device", macvlan(&[])),
        ],
    );
    let ports = json!([{ "hostPort": 8080, "containerPort": 80 }]);
    let mapped = json!([{ "name": "mapped", "interface": "net1", "portMappings": ports }]).to_string();

    for annotation in [&mapped, "repaired@net1", "troubled@net1", "worse@net1"] {
        assert_eq!(
            refusal(&app, &create(&pod(annotation))).await,
            None,
            "{annotation}"
        );
    }
    assert_eq!(refusal(&app, &second_device(1)).await, None);
}

/// The network `default/device`, whose plugin requires a device.
fn on_devices() -> NetworkAttachmentDefinition {
    let mut device = network("default", "device", &json!({ "type": "sriov" }));
    let resource = (
        annotations::RESOURCE_NAME.to_owned(),
        "vendor.example/vf".to_owned(),
    );
    device.metadata.annotations = Some([resource].into());
    device
}

/// A running pod with so many devices, and one network on them, gets a second one.
fn second_device(given: u32) -> Value {
    let limits = json!({ "vendor.example/vf": given.to_string() });
    let mut review = update(&pod("device@net1"), &pod("device@net1,device@net2"));
    for object in ["object", "oldObject"] {
        let spec = &mut review["request"][object]["spec"];
        *spec = json!({ "nodeName": "node", "containers": [{ "resources": { "limits": limits } }] });
    }
    review
}

#[tokio::test]
async fn a_pod_is_refused_more_devices_than_its_limits() {
    let app = app(&json!({}));
    app.admission.networks.replace(&[on_devices()]);
    app.admission.namespaces.replace([]);
    let message = refusal(&app, &second_device(1)).await.unwrap();
    assert!(message.contains("device-plugin"), "{message}");
    assert_eq!(refusal(&app, &second_device(2)).await, None);
}

#[tokio::test]
async fn without_the_crd_every_network_is_missing() {
    let mut app = app(&json!({ "missingNetworks": "reject" }));
    app.admission.namespaces.replace([]);
    let metrics = app.metrics.clone();
    let networks = Arc::clone(&app.admission.networks);
    let client = client(|_, _| not_found());
    app.admission.client = Some(client.clone());
    tokio::spawn(async move { networks.follow(client, &metrics).await });
    crate::testing::until("it is known", || {
        app.admission.networks.state() == crate::cluster::State::NotInstalled
    })
    .await;

    let message = refusal(&app, &create(&pod("a@net1"))).await.unwrap();
    assert!(message.contains("unknown-network"), "{message}");
}

#[tokio::test]
async fn what_the_plugins_declare_is_remembered() {
    let app = app(&json!({}));
    know(
        &app,
        &[
            ("plain", macvlan(&[])),
            ("mapped", macvlan(&["portMappings"])),
            ("node", Value::Null),
        ],
    );
    app.admission.networks.replace(&[
        network("default", "plain", &macvlan(&[])),
        network("default", "mapped", &macvlan(&["portMappings"])),
        network("default", "node", &Value::Null),
        network("default", "broken", &json!({ "name": "x", "plugins": [] })),
    ]);
    let asking = |name: &str| {
        let ports = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]);
        create(&pod(
            &json!([{ "name": name, "interface": "net1", "portMappings": ports }]).to_string(),
        ))
    };

    assert!(
        refusal(&app, &asking("plain"))
            .await
            .unwrap()
            .contains("portMappings")
    );
    assert_eq!(refusal(&app, &asking("mapped")).await, None);
    assert_eq!(
        refusal(&app, &asking("node")).await,
        None,
        "the config is on the node: no opinion"
    );
    assert!(
        refusal(&app, &asking("broken"))
            .await
            .unwrap()
            .contains("network-config")
    );
}

#[tokio::test]
async fn a_dry_run_gets_the_usual_answer() {
    let app = ready(&json!({}));
    let review = create(&pod("a"));
    let mut dry = review.clone();
    dry["request"]["dryRun"] = true.into();

    assert_eq!(
        ask(&app, "/mutate", &dry).await,
        ask(&app, "/mutate", &review).await
    );
}

#[tokio::test]
async fn reviews_are_counted_by_path_operation_verdict_and_rule() {
    let app = ready(&json!({}));
    ask(&app, "/mutate", &create(&pod("a"))).await;
    ask(&app, "/validate", &update(&pod("a@x"), &pod("a@eth0"))).await;
    ask_raw(&app, post("/validate", "x")).await;

    let text = app.metrics.to_text();

    for line in [
        r#"verdicts_total{path="mutate",operation="CREATE",verdict="filled"} 1"#,
        r#"verdicts_total{path="validate",operation="UPDATE",verdict="refused"} 1"#,
        r#"verdicts_total{path="validate",operation="other",verdict="unreadable"} 1"#,
        r#"violations_total{operation="UPDATE",rule="interface-reserved"} 1"#,
        r#"review_duration_seconds_count{path="validate",operation="UPDATE"} 1"#,
        "in_flight 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn refuses_a_broken_pod_and_fails_a_broken_envelope() {
    let app = ready(&json!({}));
    let mut broken = pod("a");
    broken["metadata"]["annotations"] = json!(["no", "map"]);
    for path in ["/mutate", "/validate"] {
        let answer = ask(&app, path, &create(&broken)).await;
        assert_eq!(
            (&answer["allowed"], &answer["status"]["code"]),
            (&json!(false), &json!(400))
        );

        let (status, _) = ask_raw(&app, post(path, "{}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[rstest]
#[case::no_type(None, None, 415)]
#[case::yaml(Some("application/yaml"), None, 415)]
#[case::with_charset(Some("application/json; charset=utf-8"), None, 200)]
#[case::gzip(Some("application/json"), Some("gzip"), 415)]
#[case::identity(Some("application/json"), Some("identity"), 200)]
#[tokio::test]
async fn only_plain_json_is_read(
    #[case] kind: Option<&str>,
    #[case] encoding: Option<&str>,
    #[case] expected: u16,
) {
    let mut request = post("/mutate", create(&pod("a")).to_string());
    request.headers_mut().clear();
    for (name, value) in [(header::CONTENT_TYPE, kind), (header::CONTENT_ENCODING, encoding)] {
        value.map(|value| request.headers_mut().insert(name, value.parse().unwrap()));
    }

    assert_eq!(ask_raw(&ready(&json!({})), request).await.0, expected);
}

#[tokio::test]
async fn other_paths_and_methods_are_not_answered() {
    let app = ready(&json!({}));
    assert_eq!(ask_raw(&app, post("/", "")).await.0, StatusCode::NOT_FOUND);
    let mut get = post("/mutate", "");
    *get.method_mut() = axum::http::Method::GET;
    assert_eq!(ask_raw(&app, get).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

/// A review in which one value, anywhere, is replaced.
fn damaged_review() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let pods = (r#"[\[\]{}",:@/a-z0-9 ]{0,30}"#, r"[a-z@/,]{0,20}")
        .prop_map(|(old, new)| update(&pod(&old), &pod(&new)));
    (pods, value, any::<prop::sample::Index>()).prop_map(|(mut review, value, at)| {
        let mut pointers = Vec::new();
        collect_pointers(&review, String::new(), &mut pointers);
        *review.pointer_mut(&pointers[at.index(pointers.len())]).unwrap() = value;
        review
    })
}

fn collect_pointers(value: &Value, at: String, pointers: &mut Vec<String>) {
    if let Value::Object(map) = value {
        for (key, value) in map {
            collect_pointers(
                value,
                format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                pointers,
            );
        }
    }
    pointers.push(at);
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn whatever_comes_gets_a_well_formed_answer(review in damaged_review(), cut in any::<prop::sample::Index>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let app = ready(&json!({}));
        let whole = review.to_string().into_bytes();
        let torn = whole[..cut.index(whole.len())].to_vec();
        for (body, path) in [(&whole, "/mutate"), (&whole, "/validate"), (&torn, "/mutate"), (&torn, "/validate")] {
            let (status, answer) = runtime.block_on(ask_raw(&app, post(path, body.clone())));
            if status == StatusCode::OK {
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                let response = &answer["response"];
                prop_assert!(response["uid"].is_string() && response["allowed"].is_boolean(), "{answer}");
                // An unreadable object is not admitted.
                let readable = review::read(body).is_ok_and(|request| request.change().is_ok());
                prop_assert!(readable || response["allowed"] == false, "{answer}");
            } else {
                prop_assert_eq!(status, StatusCode::BAD_REQUEST);
                prop_assert!(review::read::<review::Pod>(body).is_err());
            }
        }
    }
}

#[tokio::test]
async fn adopts_names_from_the_stored_pods_network_status() {
    let app = ready(&json!({}));
    let status = json!([{ "name": "default/a", "interface": "net7", "dns": {} }]).to_string();
    let mut stored = pod("[]");
    stored["metadata"]["annotations"][annotations::NETWORK_STATUS] = status.into();
    let mut sent = pod("a");
    sent["metadata"]["annotations"][annotations::NETWORK_STATUS] = "[]".into();

    let answer = ask(&app, "/mutate", &update(&stored, &sent)).await;

    assert_eq!(networks_of(&patched(&sent, &answer)), "a@net7");
}

/// The largest answer without its patch, and the largest patch.
const MAX_ANSWER: usize = 16 * 1024;
const MAX_PATCH: usize = 256 * 1024;

/// An annotation of one piece, repeated up to the size that is allowed.
fn repeated() -> impl Strategy<Value = String> {
    let shapes = prop::sample::select(vec![
        (r#"[{"name":"a","portMappings":["#, "]}]"),
        (r#"[{"name":"a","ips":["#, "]}]"),
        (r#"[{"name":"a","#, "}]"),
        (r#"[{"name":"a","cni-args":{"#, "}}]"),
        ("[", "]"),
        ("", ""),
    ]);
    let filler = "[a-z\"\\\\\u{b}\u{c}\u{7f}\u{85}é𝄞]{0,200}";
    let piece = prop_oneof![
        Just("{}".to_owned()),
        Just(r#""x":1"#.to_owned()),
        Just("\u{b}".repeat(1000) + "a"),
        filler.prop_map(|text| Value::from(text).to_string()),
        filler.prop_map(|text| format!("{}:1", Value::from(text))),
        filler.prop_map(|text| json!({"name": text, "interface": "net1"}).to_string()),
        filler.prop_map(|text| format!("{text}@lo")),
    ];
    (shapes, piece, 1usize..64 * 1024).prop_map(|((begin, end), piece, size)| {
        let count = (size / (piece.len() + 1)).max(1);
        format!("{begin}{}{end}", vec![piece; count].join(","))
    })
}

async fn check_sizes(app: &App, review: &Value) -> Result<(), TestCaseError> {
    for path in ["/mutate", "/validate"] {
        let mut answer = ask(app, path, review).await;
        let patch = answer["patch"].take();
        prop_assert!(
            answer.to_string().len() <= MAX_ANSWER - 100,
            "{}",
            answer.to_string().len()
        );
        prop_assert!(patch.as_str().unwrap_or_default().len() <= MAX_PATCH);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn no_annotation_makes_a_large_answer(annotation in repeated()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let app = ready(&json!({ "missingNetworks": "reject" }));
        let mut pod = pod(&annotation);
        pod["metadata"]["name"] = "\"".repeat(5000).into();
        let (created, edited) = (create(&pod), update(&self::pod("a@net1"), &pod));
        runtime.block_on(async {
            check_sizes(&app, &created).await?;
            check_sizes(&app, &edited).await
        })?;
    }
}

#[tokio::test]
async fn an_unreadable_pod_gets_a_small_answer() {
    let mut review = create(&pod("a"));
    review["request"]["object"]["spec"] = "x".repeat(100_000).into();
    let answer = ask(&ready(&json!({})), "/validate", &review).await;
    assert!(
        answer.to_string().len() < MAX_ANSWER,
        "{}",
        answer.to_string().len()
    );
    let (status, body) = ask_raw(
        &ready(&json!({})),
        post("/validate", format!("\"{}\"", "x".repeat(100_000))),
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.len() < MAX_ANSWER, "{}", body.len());
}

/// A namespace with these labels.
fn label(app: &App, interface_names: Option<&str>, enforcement: Option<&str>) {
    let labels = crate::cluster::namespaces::Labels {
        interface_names: interface_names.map(str::to_owned),
        enforcement: enforcement.map(str::to_owned),
    };
    app.admission.namespaces.replace([("default".to_owned(), labels)]);
}

#[rstest]
#[case::set(json!({ "enforcement": "warn" }), None, true)]
#[case::by_the_namespace(json!({}), Some("warn"), true)]
#[case::not_by_the_namespace(json!({ "enforcement": "warn" }), Some("enforce"), false)]
#[case::by_default(json!({}), None, false)]
#[tokio::test]
async fn where_rules_only_warn_the_same_words_are_warnings(
    #[case] settings: Value,
    #[case] of_namespace: Option<&str>,
    #[case] admitted: bool,
) {
    let app = ready(&settings);
    label(&app, None, of_namespace);

    let answer = ask(&app, "/validate", &create(&pod("a@eth0,b@net1,c@net1"))).await;

    assert_eq!(answer["allowed"], admitted, "{answer}");
    let rules = "interface-reserved,interface-duplicate";
    assert_eq!(answer["auditAnnotations"], json!({ "rule": rules }));
    if admitted {
        let warnings: Vec<String> = serde_json::from_value(answer["warnings"].clone()).unwrap();
        assert!(
            warnings[0].contains("interface-reserved") && warnings[1].contains("interface-duplicate"),
            "{warnings:?}"
        );
        assert_eq!(answer.get("status"), None);
    }
    let verdict = if admitted { "warned" } else { "refused" };
    assert!(
        app.metrics
            .to_text()
            .contains(&format!(r#"verdict="{verdict}"}} 1"#))
    );
    assert!(app.metrics.to_text().contains(r#"rule="interface-duplicate"} 1"#));
}

#[tokio::test]
async fn what_is_filled_in_is_an_audit_annotation() {
    let answer = ask(&ready(&json!({})), "/mutate", &create(&pod("a,a@x,a"))).await;
    assert_eq!(answer["auditAnnotations"], json!({ "filled": "net1,net3" }));
}

#[tokio::test]
async fn a_label_that_is_no_enforcement_is_warned_about() {
    let app = ready(&json!({}));
    label(&app, None, Some("off"));
    assert_eq!(
        warnings(&app, &create(&pod("a@net1"))).await,
        [ENFORCEMENT_WARNING]
    );
}

#[tokio::test]
async fn what_a_networks_config_does_is_known() {
    let app = ready(&json!({}));
    let said = refusal(
        &app,
        &create(&pod(r#"[{"name":"a","interface":"net1","ips":["192.0.2.13"]}]"#)),
    )
    .await;
    assert!(said.is_some_and(|said| said.contains("[rule ip-prefix]")));
}

#[tokio::test]
async fn refuses_a_network_whose_plugin_refuses_its_config() {
    let app = app(&json!({}));
    know(
        &app,
        &[("a", json!({"cniVersion":"1.0.0","type":"macvlan","mtu":"9000"}))],
    );
    let said = refusal(&app, &create(&pod("a@net1"))).await;
    assert!(said.is_some_and(|said| said.contains("[rule network-config]") && said.contains("mtu")));
}

/// A pod that is Ready only while its networks are; `networks`: its annotation.
fn gated(networks: Option<&str>, host_network: bool) -> Value {
    let mut pod = pod(networks.unwrap_or_default());
    if networks.is_none() {
        pod["metadata"]["annotations"] = json!({});
    }
    pod["spec"]["readinessGates"] = json!([{"conditionType": shared::readiness::NETWORKS_READY}]);
    pod["spec"]["hostNetwork"] = json!(host_network);
    pod
}

#[rstest]
#[case::without_the_annotation(None, false, "write '[]' if it needs no networks")]
#[case::on_the_hosts_network(Some("a@net1"), true, "but uses the host's network")]
#[tokio::test]
async fn warns_about_a_gate_that_never_opens(
    #[case] networks: Option<&str>,
    #[case] host_network: bool,
    #[case] words: &str,
) {
    let app = ready(&json!({}));
    let said = warnings(&app, &create(&gated(networks, host_network))).await;
    assert!(said.iter().any(|warning| warning.contains(words)), "{said:?}");
}

#[rstest]
#[case::no_networks(Some("[]"), false)]
#[case::no_networks_on_the_host(Some("[]"), true)]
#[case::an_empty_text(Some(""), false)]
#[case::networks(Some("a@net1"), false)]
#[tokio::test]
async fn says_nothing_about_a_gate_that_opens(#[case] networks: Option<&str>, #[case] host_network: bool) {
    let app = ready(&json!({}));
    let said = warnings(&app, &create(&gated(networks, host_network))).await;
    assert!(
        !said.iter().any(|warning| warning.contains("never becomes Ready")),
        "{said:?}"
    );
}

#[tokio::test]
async fn warns_about_a_gate_only_at_create() {
    let app = ready(&json!({}));
    let pod = gated(None, false);
    assert_eq!(warnings(&app, &update(&pod, &pod)).await, [""; 0]);
}
