//! What a tenant can write decides nothing, what runs on the node has no more rights than promised,
//! and what is secret stays so.

use serde_json::{Value, json};
use shared::annotations::NETWORK_STATUS;
use tests::{Cluster, Error, Nad, Order, PLUG, Pod, Result, eventually, in_namespace, macvlan};

#[tokio::test]
async fn a_forged_network_status_causes_no_add_no_del_and_no_skip() -> Result<()> {
    in_namespace("forged", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("blue@cold,blue@net1").await?;
        pod.has_exactly(&["cold", "net1"]).await?;

        // That what is there is not, and that what is wanted next is.
        forge(&pod, &blue, &["net2"]).await?;
        pod.annotate("blue@cold,blue@net1,blue@net2").await?;
        is_called(&pod, "net2", &["ADD"]).await?;
        pod.has_exactly(&["cold", "net1", "net2"]).await?;
        // That nobody has anything, that somebody has what nobody wants, and that it cannot be
        // read.
        for forged in [
            json!("[]"),
            entries(&blue, &["net1", "net7", "eth0"]),
            json!("}{"),
        ] {
            pod.set(NETWORK_STATUS, forged).await?;
        }
        pod.annotate("blue@cold,blue@net3").await?;
        is_called(&pod, "net1", &["ADD", "DEL"]).await?;
        is_called(&pod, "net2", &["ADD", "DEL"]).await?;
        is_called(&pod, "net3", &["ADD"]).await?;

        assert_eq!(calls(&pod, "cold").await?, ["ADD"]);
        assert!(calls(&pod, "net7").await?.is_empty());
        let names: Vec<_> = pod.interfaces().await?.into_iter().map(|i| i.name).collect();
        assert_eq!(names, ["eth0", "cold", "net3"]);
        assert_eq!(pod.leases(&blue).await?.len(), 2);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn records_that_a_pod_forges_in_its_own_files_change_nothing() -> Result<()> {
    in_namespace("files", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        let sandbox = &pod.sandbox().await?.id;
        // The agent's own record of an attachment, and multus' and libcni's files, under another
        // interface's name.
        let record = ns
            .cluster
            .node
            .run(&["cat", &format!("/var/lib/dynamic-networks/{sandbox}/cold")])
            .await?;
        let record = record.replace("\"cold\"", "\"net7\"");
        let script = format!(
            "mkdir -p /var/lib/dynamic-networks/{sandbox} /var/lib/cni/multus/results &&
             cat >/var/lib/dynamic-networks/{sandbox}/net7 && echo '[]' >/var/lib/cni/multus/{sandbox} &&
             echo '{{}}' >/var/lib/cni/multus/results/{}-{sandbox}-net7",
            blue.config_name
        );
        let write = format!("printf %s '{record}' | sh -c \"{script}\"");
        ns.cluster
            .kubectl(&["exec", "p", "--namespace", &ns.name, "--", "sh", "-c", &write])
            .await?;

        pod.annotate("blue@cold,blue@net1").await?;
        pod.has_exactly(&["cold", "net1"]).await?;
        pod.has_records_of(&["cold", "net1"]).await?;
        assert!(calls(&pod, "net7").await?.is_empty());
        ns.is_at_rest(&[(&pod, &["cold", "net1"])], &[], &[&blue]).await
    })
    .await
}

#[tokio::test]
async fn no_log_and_no_event_shows_a_networks_config_or_a_token() -> Result<()> {
    in_namespace("secret", async |ns| {
        let secret = format!("hush-{}", ns.name);
        let blue = ns
            .create_nad(
                "blue",
                macvlan().host_local().recorded().with("password", &secret),
            )
            .await?;
        ns.admits_broken_networks().await?;
        ns.create_raw_nad("torn", &format!(r#"{{"password": "{secret}", "#))
            .await?;
        ns.create_raw_nad("wrong", &json!({"name": "wrong", "plugins": secret}).to_string())
            .await?;
        let pod = ns.running_pod("p", tests::NO_NETWORKS).await?;
        // A failure of every kind, on the way in and on the way out.
        ns.order(&blue, "ADD", Order::Fail("not yet")).await?;
        pod.annotate("blue@net1").await?;
        pod.has_event("FailedAddingInterface", "not yet").await?;
        ns.order(&blue, "DEL", Order::Fail("not now")).await?;
        pod.has_exactly(&["net1"]).await?;
        pod.annotate("[]").await?;
        pod.has_event("FailedRemovingInterface", "not now").await?;
        ns.no_orders().await?;
        pod.recovers_to(&[]).await?;

        let log = ns.cluster.agent_log().await?;
        assert!(
            log.contains(&format!("{}/p", ns.name)),
            "it has logged about this pod"
        );
        assert!(!log.contains(&secret), "the config is in the log");
        assert!(
            !log.contains(&ns.cluster.agent_token().await?),
            "the token is in the log"
        );
        let events = pod.events().await?;
        assert!(
            !events.iter().any(|event| event.message.contains(&secret)),
            "{events:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_agent_runs_with_the_rights_that_are_promised() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.installed().await?;
    let process = cluster.agent_process().await?;
    let status = cluster
        .node
        .run(&["cat", &format!("/proc/{process}/status")])
        .await?;
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    for (name, value) in [
        ("Uid", "0 0 0 0"),
        ("NoNewPrivs", "1"),
        // Filtered.
        ("Seccomp", "2"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        assert_eq!(
            field(name).as_deref(),
            Some(value),
            "{name} of the agent's process"
        );
    }
    for namespace in ["ipc", "mnt", "net", "pid", "uts"] {
        let of = async |process: &str| {
            cluster
                .node
                .run(&["readlink", &format!("/proc/{process}/ns/{namespace}")])
                .await
        };
        assert_ne!(
            of(&process).await?,
            of("1").await?,
            "the node's own {namespace} namespace"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_agent_can_write_its_records_and_nothing_else_of_the_node() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.installed().await?;
    let process = cluster.agent_process().await?;
    let mounts = cluster
        .node
        .run(&["cat", &format!("/proc/{process}/mountinfo")])
        .await?;
    // "… ROOT PLACE OPTIONS …": proc_pid_mountinfo(5).
    let mounts: Vec<(&str, bool)> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(4);
            Some((
                words.next()?,
                words.next()?.split(',').any(|option| option == "ro"),
            ))
        })
        .collect();
    for (place, read_only) in [
        ("/", true),
        ("/host/run", true),
        ("/var/lib/cni/multus", false),
        ("/etc/cni/multus/net.d", true),
        ("/etc/dynamic-networks-controller", true),
        ("/var/lib/dynamic-networks", false),
    ] {
        assert!(
            mounts.contains(&(place, read_only)),
            "{place}, read-only {read_only}: {mounts:?}"
        );
    }
    Ok(())
}

/// Writes a network-status that lists these and nothing else.
async fn forge(pod: &Pod, nad: &Nad, interfaces: &[&str]) -> Result<()> {
    pod.set(NETWORK_STATUS, entries(nad, interfaces)).await
}

fn entries(nad: &Nad, interfaces: &[&str]) -> Value {
    let entry = |interface: &&str| {
        json!({
            "name": nad.full_name(), "interface": interface, "ips": [nad.address(99)],
            "mac": "02:00:00:00:00:99", "dns": {},
        })
    };
    let list: Vec<_> = interfaces.iter().map(entry).collect();
    json!(json!(list).to_string())
}

/// The verbs with which the recorder was called for an interface, oldest first.
async fn calls(pod: &Pod, interface: &str) -> Result<Vec<String>> {
    let calls = pod.recorded(interface).await?;
    Ok(calls.into_iter().map(|recorded| recorded.call.command).collect())
}

async fn is_called(pod: &Pod, interface: &str, verbs: &[&str]) -> Result<()> {
    eventually(PLUG, format!("{interface} has seen {verbs:?}"), async || {
        let seen = calls(pod, interface).await?;
        if seen == verbs {
            Ok(())
        } else {
            Err(Error::Unexpected(format!("{seen:?}")))
        }
    })
    .await
}
