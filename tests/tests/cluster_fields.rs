//! Every field of an element at the plugin itself: what it was given at ADD, and that it is given
//! the same at DEL, whatever has become of the network since.

use serde_json::{Value, json};
use tests::{NO_NETWORKS, Nad, Node, Pod, Recorded, Result, in_namespace, macvlan};

const GUID: &str = "c2:11:22:33:44:55:66:77";
/// Where multus and the agent look for the configuration of a network with an empty spec.
const MULTUS_CONF_DIR: &str = "/etc/cni/multus/net.d";

#[tokio::test]
async fn a_plugin_is_given_every_field_at_add_and_the_same_at_del() -> Result<()> {
    in_namespace("fields", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let list = json!([element(&blue, "net1")]).to_string();
        pod.annotate(&list).await?;
        pod.has_exactly(&["net1"]).await?;
        assert_eq!(pod.annotation().await?.as_deref(), Some(list.as_str()));
        let net1 = pod.interface("net1").await?;
        assert_eq!(net1.mac, mac(&blue));
        assert_eq!(net1.addresses, [format!("{}/24", blue.address(20))]);

        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;

        let [add, del] = add_and_del(&pod, "net1").await?;
        let asked = add.asked();
        assert_eq!(asked["runtimeConfig"], every_capability(&blue));
        assert_eq!(
            asked["args"],
            json!({"cni": {"color": "blue", "depth": {"of": 3}}})
        );
        assert_eq!(asked["name"], json!(blue.config_name));
        assert_eq!(
            asked["cniVersion"], "1.0.0",
            "the network's own, not the daemon's"
        );
        assert_eq!(
            add.argument("IP"),
            Some(format!("{}/24", blue.address(20)).as_str())
        );
        assert_eq!(add.argument("MAC"), Some(mac(&blue).as_str()));
        assert_eq!(del.asked(), asked);
        same_pod_in(&pod, [&add, &del]).await?;
        assert_eq!(del.config["prevResult"]["interfaces"][0]["mac"], mac(&blue));
        ns.is_at_rest(&[(&pod, &[])], &[], &[&blue]).await
    })
    .await
}

/// The same for what multus plugged when the pod started: the agent has it from libcni's cache.
#[tokio::test]
async fn a_plugin_is_given_at_del_what_multus_gave_it_when_the_pod_started() -> Result<()> {
    in_namespace("fields", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let list = json!([element(&blue, "cold")]).to_string();
        let pod = ns.running_pod("p", list.as_str()).await?;
        pod.has_exactly(&["cold"]).await?;

        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;

        let [add, del] = add_and_del(&pod, "cold").await?;
        assert_eq!(add.config["runtimeConfig"], every_capability(&blue));
        for part in ["name", "type", "runtimeConfig", "args"] {
            assert_eq!(del.config[part], add.config[part], "{part}");
        }
        same_pod_in(&pod, [&add, &del]).await?;
        ns.is_at_rest(&[(&pod, &[])], &[], &[&blue]).await
    })
    .await
}

#[tokio::test]
async fn a_del_is_that_of_the_add_when_the_network_was_changed_deleted_or_made_anew() -> Result<()> {
    in_namespace("fields", async |ns| {
        let plugin = || macvlan().host_local().recorded();
        let changed = &ns.create_nad("changed", plugin()).await?;
        let deleted = &ns.create_nad("deleted", plugin()).await?;
        let anew = &ns.create_nad("anew", plugin()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let list = json!([
            element(changed, "net1"),
            element(deleted, "net2"),
            element(anew, "net3")
        ]);
        pod.annotate(&list.to_string()).await?;
        pod.has_exactly(&["net1", "net2", "net3"]).await?;

        // Other plugin, other name, other lease range: nothing of it is for what runs already.
        let other = json!({"cniVersion": "0.4.0", "name": "other", "type": "nosuch"}).to_string();
        ns.change_nad(changed, &other).await?;
        ns.delete_nad(deleted).await?;
        ns.delete_nad(anew).await?;
        ns.create_raw_nad("anew", &other).await?;
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;

        for interface in ["net1", "net2", "net3"] {
            let [add, del] = add_and_del(&pod, interface).await?;
            assert_eq!(del.asked(), add.asked());
            assert!(add.asked()["runtimeConfig"]["bandwidth"].is_object());
        }
        ns.is_at_rest(&[(&pod, &[])], &[], &[changed, deleted, anew])
            .await
    })
    .await
}

/// Alone and as a list of one: the plugin cannot tell the difference.
#[tokio::test]
async fn a_single_configuration_and_a_list_are_alike_to_the_plugin() -> Result<()> {
    in_namespace("fields", async |ns| {
        // A recorded network installs the recorder.
        ns.create_nad("any", macvlan().recorded()).await?;
        let plugin =
            json!({"type": "cni-recorder", "capabilities": {"portMappings": true}, "own": [1, {"two": 3}]});
        let mut single = plugin.clone();
        single["cniVersion"] = json!("0.4.0");
        single["name"] = json!("single");
        ns.create_raw_nad("single", &single.to_string()).await?;
        let list = json!({"cniVersion": "0.4.0", "name": "single", "plugins": [plugin]});
        ns.create_raw_nad("list", &list.to_string()).await?;
        let pods =
            futures::future::try_join_all(["a", "b"].map(|name| ns.running_pod(name, NO_NETWORKS))).await?;
        let mut seen = Vec::new();
        for (pod, network) in pods.iter().zip(["single", "list"]) {
            let element = json!({"name": network, "interface": "net1", "portMappings": ports()});
            pod.annotate(&json!([element]).to_string()).await?;
            pod.has_event("AddedInterface", "net1").await?;
            pod.annotate("[]").await?;
            pod.has_event("RemovedInterface", "net1").await?;
            let [add, del] = add_and_del(pod, "net1").await?;
            assert_eq!(del.asked(), add.asked());
            assert!(del.config["prevResult"].is_object(), "{del:?}");
            seen.push(add.asked());
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0]["runtimeConfig"], json!({"portMappings": ports()}));
        assert_eq!(seen[0]["own"], json!([1, {"two": 3}]));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_network_with_an_empty_spec_has_its_configuration_on_the_node() -> Result<()> {
    in_namespace("fields", async |ns| {
        // The node's files know no namespaces.
        let (single, list) = (format!("{}-single", ns.name), format!("{}-list", ns.name));
        let node = &ns.cluster.node;
        let plugin = macvlan_of_the_node();
        let mut alone = plugin.clone();
        alone["name"] = json!(single);
        alone["cniVersion"] = json!("1.0.0");
        let chain = json!({"cniVersion": "1.0.0", "name": list, "plugins": [plugin]});
        let files = [
            (format!("{single}.conf"), alone),
            (format!("{list}.conflist"), chain),
        ];
        node.run(&["mkdir", "-p", MULTUS_CONF_DIR]).await?;
        for (file, config) in &files {
            node.write(&format!("{MULTUS_CONF_DIR}/{file}"), &config.to_string())
                .await?;
        }
        for name in [&single, &list] {
            ns.create_empty_nad(name).await?;
        }
        let pod = ns.running_pod("p", NO_NETWORKS).await?;

        pod.annotate(&format!("{single}@net1,{list}@net2")).await?;
        pod.has_exactly(&["net1", "net2"]).await?;
        assert_eq!(pod.interface("net1").await?.kind, "macvlan");

        forget(node, &files).await?;
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await
    })
    .await
}

#[tokio::test]
async fn a_default_route_for_a_running_pod_is_refused_clearly() -> Result<()> {
    in_namespace("fields", async |ns| {
        let blue = ns.create_nad("blue", macvlan().host_local()).await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let element = json!({"name": "blue", "interface": "net1", "default-route": [blue.address(1)]});

        let refusal = pod.refusal_of(&json!([element]).to_string()).await?;

        assert!(
            refusal.contains("default-route") && refusal.contains("re-create the pod"),
            "{refusal}"
        );
        pod.has_exactly(&[]).await
    })
    .await
}

/// One with every field that a plugin can be given.
fn element(nad: &Nad, interface: &str) -> Value {
    json!({
        "name": nad.name,
        "interface": interface,
        "ips": [format!("{}/24", nad.address(20))],
        "mac": mac(nad),
        "cni-args": {"color": "blue", "depth": {"of": 3}},
        "portMappings": ports(),
        "bandwidth": bandwidth(),
        "infiniband-guid": GUID,
        "ipam-claim-reference": "claim",
    })
}

/// One of the network's own: no two interfaces on one wire can share a hardware address.
fn mac(nad: &Nad) -> String {
    let numbers: Vec<u8> = nad
        .subnet
        .split('.')
        .filter_map(|number| number.parse().ok())
        .collect();
    format!(
        "02:00:5e:{}:11",
        numbers[1..]
            .iter()
            .map(|n| format!("{n:02x}"))
            .collect::<Vec<_>>()
            .join(":")
    )
}

fn ports() -> Value {
    json!([{"hostPort": 18080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}])
}

fn bandwidth() -> Value {
    json!({"ingressRate": 1_000_000, "ingressBurst": 2_000_000, "egressRate": 3_000_000, "egressBurst": 4_000_000})
}

fn every_capability(nad: &Nad) -> Value {
    json!({
        "ips": [format!("{}/24", nad.address(20))],
        "mac": mac(nad),
        "portMappings": ports(),
        "bandwidth": bandwidth(),
        "infinibandGUID": GUID,
    })
}

fn macvlan_of_the_node() -> Value {
    json!({"type": "macvlan", "master": "eth1", "mode": "bridge", "ipam": {}})
}

async fn forget(node: &Node, files: &[(String, Value)]) -> Result<()> {
    for (file, _) in files {
        node.run(&["rm", &format!("{MULTUS_CONF_DIR}/{file}")]).await?;
    }
    Ok(())
}

/// The one ADD and the one DEL that the plugin saw of an interface.
async fn add_and_del(pod: &Pod, interface: &str) -> Result<[Recorded; 2]> {
    let calls = pod.recorded(interface).await?;
    let verbs: Vec<_> = calls.iter().map(|seen| seen.call.command.clone()).collect();
    assert_eq!(verbs, ["ADD", "DEL"], "{interface}");
    calls
        .try_into()
        .map_err(|calls| tests::Error::Unexpected(format!("{calls:?}")))
}

/// Both calls are for this pod's sandbox, in its namespace and under its name.
async fn same_pod_in(pod: &Pod, calls: [&Recorded; 2]) -> Result<()> {
    let sandbox = pod.sandbox().await?;
    for call in calls {
        assert_eq!(call.environment["CNI_CONTAINERID"], sandbox.id);
        assert_eq!(call.environment["CNI_NETNS"], sandbox.namespace_path);
        assert_eq!(call.argument("K8S_POD_NAME"), Some(pod.name.as_str()));
        assert_eq!(call.argument("K8S_POD_UID"), Some(pod.uid.as_str()));
        assert_eq!(
            call.argument("K8S_POD_INFRA_CONTAINER_ID"),
            Some(sandbox.id.as_str())
        );
    }
    Ok(())
}
