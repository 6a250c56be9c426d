//! `kubectl networks`, by the real kubectl: edits that lose nothing, that return when the kernel
//! has them, and that fail with words and an exit status.

use serde_json::{Value, json};
use tests::{Error, LONG, NO_NETWORKS, Namespace, Result, Said, bridge, eventually, in_namespace, macvlan};

const FAILED: Option<i32> = Some(1);
const TIMED_OUT: Option<i32> = Some(3);

/// Runs it in the test's namespace.
async fn networks(ns: &Namespace, words: &str) -> Result<Said> {
    let mut arguments: Vec<&str> = words.split(' ').collect();
    arguments.extend(["--namespace", &ns.name]);
    ns.cluster.kubectl_networks(&arguments).await
}

/// What it prints when it succeeds.
async fn done(ns: &Namespace, words: &str) -> Result<String> {
    let said = networks(ns, words).await?;
    if said.ok {
        return Ok(said.out);
    }
    Err(Error::Unexpected(format!("{words}: {said:?}")))
}

#[tokio::test]
async fn connects_and_disconnects_and_returns_when_it_is_done() -> Result<()> {
    in_namespace("kubectl", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        ns.create_nad("fixed", macvlan().static_addresses()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        let said = done(ns, "connect p blue --interface hot").await?;
        let address = pod.leases(&blue).await?.remove(0).address;
        assert_eq!(said, format!("pod/p connected {}/blue hot {address}\n", ns.name));
        pod.interface("hot").await?;
        // The webhook chooses a name.
        done(ns, "connect pod/p blue").await?;
        pod.interface("net1").await?;
        // Text becomes JSON, and nothing is unplugged meanwhile.
        done(
            ns,
            "connect p fixed --interface own --ip 10.99.1.7/24 --mac 02:00:5e:00:53:77",
        )
        .await?;
        let own = pod.interface("own").await?;
        assert_eq!(own.mac, "02:00:5e:00:53:77");
        pod.has_exactly(&["hot", "net1", "own"]).await?;

        let table = done(ns, "list p").await?;
        for row in ["POD   INTERFACE   NETWORK", "attached"] {
            assert!(table.contains(row), "{table}");
        }
        let rows: Vec<Value> = serde_json::from_str(&done(ns, "list --output json").await?)
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        let own = rows.iter().find(|row| row["interface"] == "own");
        assert_eq!(own.map(|row| &row["addresses"]), Some(&json!(["10.99.1.7"])));
        assert!(
            done(ns, "inspect blue")
                .await?
                .contains("Used by:   2 interface(s)")
        );

        let twice = networks(ns, "connect p blue --interface hot").await?;
        assert_eq!(twice.code, FAILED, "{twice:?}");
        assert!(twice.err.contains("choose another name"), "{twice:?}");
        let unclear = networks(ns, "disconnect p blue").await?;
        assert!(
            unclear.err.contains("name the interface: hot, net1"),
            "{unclear:?}"
        );
        for what in ["hot", "net1", "fixed"] {
            done(ns, &format!("disconnect p {what}")).await?;
        }
        pod.has_exactly(&[]).await?;
        ns.has_no_leases(&blue).await
    })
    .await
}

#[tokio::test]
async fn many_edits_at_once_lose_none() -> Result<()> {
    in_namespace("editors", async |ns| {
        ns.create_nad("blue", bridge().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let names = ["a", "b", "c", "d", "e", "f"];
        let edits = names.map(async |name| done(ns, &format!("connect p blue --interface {name}")).await);
        futures::future::try_join_all(edits).await?;
        pod.has_exactly(&names).await
    })
    .await
}

#[tokio::test]
async fn says_why_it_failed() -> Result<()> {
    in_namespace("fails", async |ns| {
        ns.create_nad("nowhere", macvlan().over("nolink0")).await?;
        let pod = ns.running_pod("p", "[]").await?;
        let said = networks(ns, "connect p nowhere --interface hot").await?;
        assert_eq!(said.code, FAILED, "{said:?}");
        assert!(said.err.contains("Link not found"), "{said:?}");
        let rows = done(ns, "list p").await?;
        assert!(rows.contains("failed"), "{rows}");
        done(ns, "disconnect p hot").await?;
        pod.has_exactly(&[]).await?;
        // The webhook's words, and nothing of the answer around them.
        let said = networks(ns, "connect p nowhere --mac nonsense").await?;
        assert_eq!(said.code, FAILED, "{said:?}");
        assert!(
            said.err.contains("nonsense") && !said.err.contains("Status {"),
            "{said:?}"
        );

        done(ns, "connect p nowhere --interface hot --wait=false").await?;
        let said = networks(ns, "wait p --timeout 20s").await?;
        assert_eq!(said.code, FAILED, "{said:?}");
        done(ns, "disconnect p hot").await?;

        // Nobody speaks of a pod without the annotation.
        ns.running_pod("silent", None).await?;
        let said = networks(ns, "wait silent --timeout 1s").await?;
        assert_eq!(said.code, TIMED_OUT, "{said:?}");
        let said = networks(ns, "connect missing blue").await?;
        assert!(said.code == FAILED && said.err.contains("missing"), "{said:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn edits_all_pods_of_a_workload() -> Result<()> {
    in_namespace("workload", async |ns| {
        ns.create_nad("blue", bridge().host_local()).await?;
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": ns.name},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                        "name": "app", "image": "docker.io/library/busybox", "imagePullPolicy": "IfNotPresent",
                        "command": ["sleep", "1000000"],
                    }]},
                },
            },
        });
        ns.cluster.apply(&deployment).await?;
        let rollout = ["rollout", "status", "--namespace", &ns.name, "deployment/web", "--timeout=90s"];
        ns.cluster.kubectl(&rollout).await?;
        let said = done(ns, "connect deploy/web blue --interface hot").await?;
        assert_eq!(said.lines().filter(|line| line.contains("/blue hot 10.")).count(), 2, "{said}");
        let listed = done(ns, "list deploy/web").await?;
        assert_eq!(listed.matches("attached").count(), 2, "{listed}");
        done(ns, "disconnect deploy/web hot").await?;
        let listed = done(ns, "list deploy/web").await?;
        assert_eq!(listed.matches("hot").count(), 0, "{listed}");
        // It would make new pods while the test's are deleted.
        let delete = ["delete", "deployment", "--namespace", &ns.name, "web"];
        ns.cluster.kubectl(&delete).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn doctor_finds_what_is_missing() -> Result<()> {
    in_namespace("missing", async |ns| {
        let words = format!("doctor --controller-namespace {}", ns.name);
        let said = networks(ns, &words).await?;
        assert_eq!(said.code, FAILED, "{said:?}");
        assert!(said.out.contains("WRONG  the agent is installed"), "{said:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn prints_for_programs_and_shells() -> Result<()> {
    in_namespace("prints", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        ns.running_pod("p", "blue@hot").await?;
        for (words, part) in [
            ("list --output wide", "NODE"),
            ("list --output yaml", "interface: hot"),
            ("list --output name", "pod/p hot"),
            ("list --all-namespaces", "NAMESPACE"),
            ("inspect blue --output yaml", "macvlan"),
            ("completion bash", "kubectl"),
        ] {
            let said = done(ns, words).await?;
            assert!(said.contains(part), "{words}: {said}");
        }
        let said = networks(ns, "connect p").await?;
        assert_eq!(said.code, Some(2), "{said:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn doctor_finds_a_healthy_cluster_healthy() -> Result<()> {
    in_namespace("doctor", async |ns| {
        eventually(LONG, "the doctor finds nothing", async || {
            let said = networks(ns, "doctor").await?;
            let all = [
                "the agent is ready on 1 of 1 nodes",
                "trusts its certificate",
                "certificate of",
            ];
            (said.ok && all.iter().all(|line| said.out.contains(line)))
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{said:?}")))
        })
        .await
    })
    .await
}
