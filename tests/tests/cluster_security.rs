//! What runs on the node has no more rights than promised.

use tests::{Cluster, Result};

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
        ("/var/lib/cni", true),
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
