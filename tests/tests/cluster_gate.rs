//! The gate on the real API server: names are filled in before an edit is stored, and an edit that could not work is
//! refused and changes nothing.

use serde_json::{Value, json};
use tests::{Error, NO_NETWORKS, Result, in_namespace, macvlan};

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
async fn kubectl_prints_the_refusal() -> Result<()> {
    in_namespace("kubectl", async |ns| {
        ns.create_nad("blue", macvlan()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let annotation = format!("{}=blue@lo", shared::annotations::NETWORKS);
        let command = ["annotate", "--namespace", &ns.name, "pod", &pod.name, &annotation];

        match ns.cluster.kubectl(&command).await {
            Err(Error::Command { stderr, .. }) => {
                assert!(stderr.contains(shared::annotations::NETWORKS), "{stderr}");
                assert!(stderr.contains("element 0") && stderr.contains("lo"), "{stderr}");
                Ok(())
            }
            other => Err(Error::Unexpected(format!("{other:?}"))),
        }
    })
    .await
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
