//! Plugins beyond the usual ones, hot-plugged: routes by source (sbr), limits (bandwidth),
//! addresses from a DHCP server and VLANs. What they set up is there while the interface is, and
//! gone afterwards. These tests need `tests/cluster/plugins.sh`: see `hack/pair.sh`.

use serde_json::{Value, json};
use tests::{Error, NO_NETWORKS, Namespace, PLUG, Pod, Result, eventually, in_namespace};

#[tokio::test]
async fn routes_by_source_come_and_go() -> Result<()> {
    in_namespace("sbr", async |ns| {
        let list = json!([
            {"type": "macvlan", "master": "eth1", "mode": "bridge", "ipam": {"type": "static", "addresses": [{"address": "10.198.0.7/24"}]}},
            {"type": "sbr"},
        ]);
        create(ns, "routed", list).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("routed@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        let rules = in_pod(ns, &pod, &["ip", "rule"]).await?;
        assert!(rules.contains("from 10.198.0.7"), "{rules}");

        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        let rules = in_pod(ns, &pod, &["ip", "rule"]).await?;
        assert!(!rules.contains("10.198.0.7"), "{rules}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bandwidth_limit_comes_and_goes() -> Result<()> {
    in_namespace("slow", async |ns| {
        let bridge = ns.bridge("slow");
        let list = json!([
            {"type": "bridge", "bridge": bridge, "ipam": {}},
            {"type": "bandwidth", "capabilities": {"bandwidth": true}},
        ]);
        create(ns, "slow", list).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let rates = json!({"ingressRate": 1_000_000, "ingressBurst": 1_000_000, "egressRate": 2_000_000, "egressBurst": 1_000_000});
        let element = json!([{"name": "slow", "interface": "net1", "bandwidth": rates}]);
        pod.annotate(&element.to_string()).await?;
        pod.has_exactly(&["net1"]).await?;
        // Downwards at the bridge's end of the pair, upwards at a device that the plugin makes.
        limits(ns, &bridge, &["1Mbit", "2Mbit"]).await?;

        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        limits(ns, &bridge, &[]).await
    })
    .await
}

#[tokio::test]
async fn an_address_of_a_dhcp_server_is_leased_and_released() -> Result<()> {
    in_namespace("dhcp", async |ns| {
        // Not bridge: it takes its link away before it asks its IPAM plugin, whose daemon then
        // cannot reach the server.
        let lan =
            |ipam: Value| json!([{"type": "macvlan", "master": "eth1", "mode": "bridge", "ipam": ipam}]);
        let address = json!([{"address": "10.197.0.1/24"}]);
        create(ns, "lan", lan(json!({"type": "static", "addresses": address}))).await?;
        create(ns, "leased", lan(json!({"type": "dhcp"}))).await?;
        let server = ns
            .create_pod_as("server", "lan@net1", |spec| {
                spec["containers"][0]["command"] = json!(["sh", "-c", SERVER]);
            })
            .await?;
        server.is_ready().await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        pod.annotate("leased@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        let addresses = pod.interface("net1").await?.addresses;
        assert!(addresses[0].starts_with("10.197.0."), "{addresses:?}");
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;
        is_released(ns, &pod, "net1").await?;

        pod.annotate("leased@net2").await?;
        pod.has_exactly(&["net2"]).await?;
        pod.delete().await?;
        is_released(ns, &pod, "net2").await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a kernel with VLANs (CONFIG_VLAN_8021Q)"]
async fn a_vlan_comes_and_goes() -> Result<()> {
    in_namespace("vlan", async |ns| {
        create(
            ns,
            "tagged",
            json!([{"type": "vlan", "master": "eth1", "vlanId": 7, "ipam": {}}]),
        )
        .await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        pod.annotate("tagged@net1").await?;
        pod.has_exactly(&["net1"]).await?;
        assert_eq!(pod.interface("net1").await?.kind, "vlan");
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await
    })
    .await
}

/// A DHCP server on net1.
const SERVER: &str = r"
    printf '%s\n' 'interface net1' 'start 10.197.0.50' 'end 10.197.0.99' 'option subnet 255.255.255.0' \
        'option lease 600' 'lease_file /tmp/leases' 'pidfile /tmp/pid' >/tmp/conf
    >/tmp/leases
    exec udhcpd -f /tmp/conf";

async fn create(ns: &Namespace, name: &str, plugins: Value) -> Result<()> {
    let config = json!({"cniVersion": "1.0.0", "name": format!("{}-{name}", ns.name), "plugins": plugins});
    ns.create_raw_nad(name, &config.to_string()).await
}

async fn in_pod(ns: &Namespace, pod: &Pod, command: &[&str]) -> Result<String> {
    let exec = ["exec", &pod.name, "--namespace", &ns.name, "--"];
    ns.cluster.kubectl(&[&exec, command].concat()).await
}

/// Waits until the ports of `bridge`, and the devices to which they redirect, have just these
/// rates.
async fn limits(ns: &Namespace, bridge: &str, wanted: &[&str]) -> Result<()> {
    let script = r#"for port in /sys/class/net/"$1"/brif/*; do
        [ -e "$port" ] || continue
        port=${port##*/}
        tc qdisc show dev "$port"
        for device in $(tc filter show dev "$port" parent ffff: | sed -n 's/.*to device \([^)]*\)).*/\1/p'); do
            tc qdisc show dev "$device"
        done
    done | sed -n 's/.* tbf .* rate \([^ ]*\) .*/\1/p' | sort -u"#;
    eventually(PLUG, format!("{bridge} has the limits {wanted:?}"), async || {
        let shown = ns.cluster.node.run(&["sh", "-c", script, "sh", bridge]).await?;
        if shown.split_whitespace().eq(wanted.iter().copied()) {
            return Ok(());
        }
        Err(Error::Unexpected(shown))
    })
    .await
}

/// Waits until the daemon of the dhcp plugin has released the lease.
async fn is_released(ns: &Namespace, pod: &Pod, interface: &str) -> Result<()> {
    let lease = format!("{}/{}-leased/{interface}: ", pod.sandbox().await?.id, ns.name);
    eventually(PLUG, format!("{lease} is released"), async || {
        let log = ns.cluster.node.run(&["cat", "/run/cni/dhcp.log"]).await?;
        let of_lease: Vec<_> = log.lines().filter(|line| line.contains(&lease)).collect();
        if of_lease
            .last()
            .is_some_and(|line| line.ends_with(": releasing lease"))
        {
            return Ok(());
        }
        Err(Error::Unexpected(format!("{of_lease:?}")))
    })
    .await
}
