//! The gate on the real API server: names are filled in before an edit is stored, and an edit that
//! could not work is refused and changes nothing.

use serde_json::{Value, json};
use shared::annotations::{ENFORCEMENT_LABEL, INTERFACE_NAMES_LABEL};
use tests::{Error, LONG, Mesh, NO_NETWORKS, Namespace, Pod, Result, eventually, in_namespace, macvlan};

#[tokio::test]
async fn fills_in_the_names_of_a_text_list() -> Result<()> {
    in_namespace("fill", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        pod.annotate("blue,blue@uplink_p0,blue").await?;

        assert_eq!(
            pod.annotation().await?.as_deref(),
            Some("blue@net1,blue@uplink_p0,blue@net2")
        );
        pod.has_exactly(&["net1", "uplink_p0", "net2"]).await
    })
    .await
}

#[tokio::test]
async fn fills_in_the_names_of_a_json_list_and_keeps_what_it_does_not_know() -> Result<()> {
    in_namespace("fill", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        pod.annotate(r#"[ {"x-team": {"b": 1, "a": [2.50]}, "name": "blue"} ]"#)
            .await?;

        let stored = pod.annotation().await?.unwrap_or_default();
        let list: Value = serde_json::from_str(&stored).map_err(|e| Error::Unexpected(e.to_string()))?;
        assert_eq!(list[0]["interface"], json!("net1"), "{stored}");
        assert!(stored.contains(r#""x-team": {"b": 1, "a": [2.50]}"#), "{stored}");
        pod.has_exactly(&["net1"]).await
    })
    .await
}

#[tokio::test]
async fn changes_nothing_when_the_unnamed_list_is_applied_again() -> Result<()> {
    in_namespace("again", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", "blue").await?;
        pod.annotate("blue,blue@ens4").await?;
        pod.has_exactly(&["net1", "ens4"]).await?;
        let before = pod.interfaces().await?;

        pod.annotate("blue,blue@ens4").await?;

        assert_eq!(pod.annotation().await?.as_deref(), Some("blue@net1,blue@ens4"));
        // A later edit has been carried out, so an effect of this one would show.
        pod.annotate("blue@net1,blue@ens4,blue@ens5").await?;
        pod.has_exactly(&["net1", "ens4", "ens5"]).await?;
        assert_eq!(pod.interfaces().await?[..before.len()], before);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn leaves_pod_and_interfaces_as_they_were_when_it_refuses() -> Result<()> {
    in_namespace("refuse", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("blue@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        let net1 = pod.interface("net1").await?;
        let stored = pod.annotation().await?;

        for (wrong, words) in REFUSED {
            let refusal = pod.refusal_of(wrong).await?;
            for word in *words {
                assert!(refusal.contains(word), "{wrong:?}: {word:?} is not in: {refusal}");
            }
        }

        assert_eq!(pod.annotation().await?, stored);
        pod.annotate("blue@net1,blue@net2").await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        assert_eq!(pod.interface("net1").await?, net1);
        Ok(())
    })
    .await
}

/// What cannot work, and what the refusal has to name.
const REFUSED: &[(&str, &[&str])] = &[
    ("blue@net1,blue@a/b/c", &["element 1"]),
    ("blue@net1,blue@lo", &["element 1", "interface", "lo"]),
    ("blue@net1,blue@eth0", &["element 1", "interface", "eth0"]),
    ("blue@net1,blue@net1", &["element 1", "interface", "net1"]),
    ("blue@a-name-of-16-chr", &["element 0", "interface", "15"]),
    ("BLUE", &["element 0", "name", "BLUE"]),
    (
        r#"[{"name":"blue","interface":"net1"},{"interface":"net2"}]"#,
        &["element 1", "name"],
    ),
    (
        r#"[{"name":"blue","mac":"nonsense"}]"#,
        &["element 0", "mac", "nonsense"],
    ),
    (r#"{"name":"blue"}"#, &["list"]),
    ("[null]", &["element 0"]),
    ("[{", &["JSON"]),
    ("\u{1}\u{7f}\u{fffd}[\"", &["JSON"]),
    ("\u{fffd}\u{200b}\t,,@@//", &["element 0"]),
];

#[tokio::test]
async fn kubectl_prints_what_the_table_of_rules_says() -> Result<()> {
    in_namespace("kubectl", async |ns| {
        let examples = examples()?;
        assert!(examples.len() > 15, "{examples:?}");
        for (networks, printed) in examples {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "worker", "namespace": "default", "annotations": {shared::annotations::NETWORKS: networks}},
                "spec": {"containers": [{"name": "app", "image": "none"}]},
            });
            let create = ["create", "--dry-run=server", "--filename", "-"];
            let said = ns.cluster.kubectl_given(&create, &pod.to_string()).await?;
            assert_eq!((said.ok, said.err.trim()), (false, printed.as_str()), "{networks}");
        }
        Ok(())
    })
    .await
}

/// The examples of `docs/rules.md` that a list shows by itself, with what kubectl is said to print;
/// but for those too long to be shown whole.
fn examples() -> Result<Vec<(String, String)>> {
    let text = tests::read("docs/rules.md")?;
    let of_a_rule = |section: &str| {
        let (_, example) = section.split_once("\nRefused:\n\n    ")?;
        let (networks, answer) = example.split_once("\n\nThe answer:\n\n    ")?;
        let whole = !networks.ends_with("...");
        whole.then(|| (networks.to_owned(), answer.trim().to_owned()))
    };
    Ok(text.split("\n## ").filter_map(of_a_rule).collect())
}

#[tokio::test]
async fn refuses_a_pod_that_could_not_start() -> Result<()> {
    in_namespace("create", async |ns| {
        match ns.create_pod("p", "blue@net1,blue@net1").await {
            Err(error) if error.refusal().is_some_and(|words| words.contains("net1")) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Error::Unexpected("the pod was admitted".to_owned())),
        }
    })
    .await
}

#[tokio::test]
async fn pods_without_the_annotation_need_no_gate() -> Result<()> {
    in_namespace("plain", async |ns| {
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.set("example.com/note", json!("edited")).await?;
        assert_eq!(pod.annotation().await?, None);
        pod.has_exactly(&[]).await
    })
    .await
}

#[tokio::test]
async fn an_unnamed_list_is_applied_twice_also_before_its_interface_is_there() -> Result<()> {
    in_namespace("twice", async |ns| {
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        // Without a definition the interface does not come, so nothing but the annotation itself
        // can tell its name.
        for _ in 0..3 {
            pod.annotate("later,later").await?;
            assert_eq!(pod.annotation().await?.as_deref(), Some("later@net1,later@net2"));
        }
        Ok(())
    })
    .await
}

/// The match conditions of the mutating webhook count names and interfaces of a list. They err in
/// one direction only: a list that lacks a name is filled in or refused.
#[tokio::test]
async fn an_update_is_filled_in_or_refused_however_its_list_is_written() -> Result<()> {
    in_namespace("counted", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        for (networks, stored) in [
            ("blue", "blue@net1"),
            (" blue@net1 , blue ", " blue@net1 , blue@net2 "),
            (r#"[{"name":"blue"}]"#, r#"[{"name":"blue","interface":"net1"}]"#),
            (
                r#"[{"name" :"blue"}]"#,
                r#"[{"name" :"blue","interface" :"net1"}]"#,
            ),
            (
                r#"[{"name":"blue","interface":""}]"#,
                r#"[{"name":"blue","interface":"net1"}]"#,
            ),
            (
                r#"[{"name":"blue","interface":"net1"},{"name":"blue"}]"#,
                r#"[{"name":"blue","interface":"net1"},{"name":"blue","interface":"net2"}]"#,
            ),
            ("blue@net1,blue@net2", "blue@net1,blue@net2"),
            (
                r#"[{"name":"blue","interface":"net1"}]"#,
                r#"[{"name":"blue","interface":"net1"}]"#,
            ),
            ("[]", "[]"),
        ] {
            pod.annotate("").await?;
            pod.annotate(networks).await?;
            assert_eq!(pod.annotation().await?.as_deref(), Some(stored), "{networks}");
        }
        for networks in [
            r#"[{"name":"blue","cni-args":{"interface":"x"}}]"#,
            r#"[{"n\u0061me":"blue"}]"#,
        ] {
            let refusal = pod.refusal_of(networks).await?;
            assert!(refusal.contains("[rule interface-name-missing]"), "{refusal}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_status_path_is_no_way_around() -> Result<()> {
    in_namespace("status", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        match pod.annotate_by_status("blue@lo").await {
            Err(error)
                if error
                    .refusal()
                    .is_some_and(|words| words.contains("interface-reserved")) => {}
            other => return Err(Error::Unexpected(format!("{other:?}"))),
        }
        pod.annotate_by_status("blue").await?;

        assert_eq!(pod.annotation().await?.as_deref(), Some("blue@net1"));
        pod.has_exactly(&["net1"]).await
    })
    .await
}

#[tokio::test]
async fn a_namespace_chooses_what_happens_to_elements_without_a_name() -> Result<()> {
    in_namespace("modes", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        for (mode, admitted, words) in [
            ("reject", false, "blue@net1 [rule interface-name-missing]"),
            ("warn", true, "no interface name, so it is not plugged; write"),
            ("off", true, ""),
        ] {
            ns.label(INTERFACE_NAMES_LABEL, mode).await?;
            says_once_the_label_is_known(ns, &pod, "blue", admitted, words).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_namespace_chooses_whether_a_broken_rule_refuses() -> Result<()> {
    in_namespace("enforce", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        for (enforcement, admitted) in [("warn", true), ("enforce", false)] {
            ns.label(ENFORCEMENT_LABEL, enforcement).await?;
            let words = "[rule interface-duplicate]";
            says_once_the_label_is_known(ns, &pod, "blue@net1,blue@net1", admitted, words).await?;
        }
        Ok(())
    })
    .await
}

/// Waits until kubectl, when it writes `list`, is told `words`, and the list is stored or not: each
/// replica of the webhook hears of a label in its own time.
async fn says_once_the_label_is_known(
    ns: &Namespace,
    pod: &Pod,
    list: &str,
    admitted: bool,
    words: &str,
) -> Result<()> {
    let annotation = format!("{}={list}", shared::annotations::NETWORKS);
    let command = [
        "annotate",
        "--namespace",
        &ns.name,
        "--overwrite",
        "pod",
        &pod.name,
        &annotation,
    ];
    pod.annotate("[]").await?;
    let description = format!("{list} is {}", if admitted { "stored" } else { "refused" });
    eventually(LONG, description, async || {
        let said = ns.cluster.kubectl_given(&command, "").await?;
        let stored = pod.annotation().await?;
        pod.annotate("[]").await?;
        let expected = if admitted { list } else { "[]" };
        let silent = words.is_empty() && said.err.is_empty();
        let met = said.ok == admitted && stored.as_deref() == Some(expected);
        (met && (silent || (!words.is_empty() && said.err.contains(words))))
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("{said:?}, stored {stored:?}")))
    })
    .await
}

#[tokio::test]
async fn a_virtual_machines_list_comes_back_byte_for_byte() -> Result<()> {
    // As KubeVirt writes it: compact, sorted, hashed interface names; a binding plugin's element
    // has none.
    const AT_START: &str = r#"[{"name":"blue","namespace":"NS","mac":"02:00:00:00:00:01","interface":"pod37a8eec1ce1"},{"name":"bind","namespace":"NS","cni-args":{"logicNetworkName":"bind"}}]"#;
    const HOT_PLUGGED: &str = r#"[{"name":"blue","namespace":"NS","mac":"02:00:00:00:00:01","interface":"pod37a8eec1ce1"},{"name":"bind","namespace":"NS","cni-args":{"logicNetworkName":"bind"}},{"name":"blue","namespace":"NS","interface":"pod7e0055a6880"}]"#;
    in_namespace("kubevirt", async |ns| {
        for network in ["blue", "bind"] {
            ns.create_nad(network, macvlan()).await?;
        }
        let list = AT_START.replace("NS", &ns.name);
        let launcher = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "virt-launcher", "namespace": ns.name, "labels": {"kubevirt.io": "virt-launcher"},
                "annotations": {shared::annotations::NETWORKS: list},
            },
            "spec": {"schedulingGates": [{"name": "tests.invalid/never"}], "containers": [{"name": "app", "image": "none"}]},
        });
        let stored = async || {
            let path = r"jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/networks}";
            let get = ["get", "pod", "virt-launcher", "--namespace", &ns.name, "--output", path];
            ns.cluster.kubectl(&get).await
        };
        let said = ns.cluster.kubectl_given(&["apply", "--filename", "-"], &launcher.to_string()).await?;
        assert!(said.ok, "{said:?}");
        assert_eq!(stored().await?, list);

        let list = HOT_PLUGGED.replace("NS", &ns.name);
        let patch = json!({"metadata": {"annotations": {shared::annotations::NETWORKS: list}}}).to_string();
        ns.cluster
            .kubectl(&["patch", "pod", "virt-launcher", "--namespace", &ns.name, "--patch", &patch])
            .await?;
        assert_eq!(stored().await?, list);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_another_webhook_appends_is_named_too_whoever_is_called_first() -> Result<()> {
    in_namespace("mesh", async |ns| {
        for network in ["blue", "istio-cni"] {
            ns.create_nad(network, macvlan()).await?;
        }
        ns.is_filled(true).await?;
        for prefix in ["a-mesh", "z-mesh"] {
            let mesh = Mesh::appends(ns, prefix, "istio-cni").await?;
            let named = eventually(
                LONG,
                format!("{prefix}: both networks have names"),
                async || match ns.would_store("blue").await? {
                    stored if stored == "blue@net1, istio-cni@net2" => Ok(()),
                    stored => Err(Error::Unexpected(stored)),
                },
            );
            let named = named.await;
            mesh.leaves().await?;
            named?;
            eventually(LONG, format!("{prefix} is gone"), async || {
                match ns.would_store("blue").await? {
                    stored if stored == "blue@net1" => Ok(()),
                    stored => Err(Error::Unexpected(stored)),
                }
            })
            .await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_dry_run_shows_what_would_be_stored_and_does_nothing() -> Result<()> {
    in_namespace("dry", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let annotation = format!("{}=blue", shared::annotations::NETWORKS);
        let annotate = ["annotate", "--namespace", &ns.name, "pod", &pod.name, &annotation];
        let dry = [&annotate[..], &["--dry-run=server", "--output", "yaml"]].concat();

        assert!(ns.cluster.kubectl(&dry).await?.contains("blue@net1"));

        assert_eq!(pod.annotation().await?, None);
        // A later edit has been carried out, so an effect of that one would show.
        pod.annotate("blue@net2").await?;
        pod.has_exactly(&["net2"]).await
    })
    .await
}

#[tokio::test]
async fn a_deployment_is_told_why_it_gets_no_pods() -> Result<()> {
    in_namespace("deploy", async |ns| {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": ns.name},
            "spec": {
                "selector": {"matchLabels": {"app": "d"}},
                "template": {
                    "metadata": {"labels": {"app": "d"}, "annotations": {shared::annotations::NETWORKS: "blue@eth0"}},
                    "spec": {"containers": [{"name": "app", "image": "docker.io/library/busybox"}]},
                },
            },
        });
        let said = ns.cluster.kubectl_given(&["apply", "--filename", "-"], &deployment.to_string()).await?;
        assert!(said.ok, "{said:?}");
        let path = "jsonpath={.status.conditions[?(@.type=='ReplicaFailure')].message}";
        eventually(LONG, "the Deployment says what is wrong", async || {
            let told = ns
                .cluster
                .kubectl(&["get", "deployment", "d", "--namespace", &ns.name, "--output", path])
                .await?;
            (told.contains("element 0") && told.contains("eth0"))
                .then_some(())
                .ok_or(Error::Unexpected(told))
        })
        .await
    })
    .await
}
