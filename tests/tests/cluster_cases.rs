//! Configurations and edits that users have reported, as the files of `tests/cases/` have them.

use std::time::{Duration, Instant};

use rstest::rstest;
use tests::{
    Case, Error, NO_NETWORKS, Namespace, PLUG, Pod, Result, eventually, in_kube_system, in_namespace,
};

/// The mode of names, per namespace.
const MODE: &str = "dynamic-networks.k8s.cni.cncf.io/interface-names";
/// After so many failures the next try is at least eight seconds away: what comes sooner is no
/// retry.
const FAILURES: i32 = 6;
/// A changed network is plugged sooner than that.
const AT_ONCE: Duration = Duration::from_secs(7);
/// Tries with growing pauses are no flood.
const MOST_FAILURES: i32 = 12;

/// A network that a plugin refuses at ADD and at DEL, and the words of that plugin.
#[derive(Clone, Copy)]
struct Refused {
    file: &'static str,
    fixed: &'static str,
    words: &'static str,
}

const RANGE: Refused = Refused {
    file: "02-range-outside-subnet.yaml",
    fixed: "02-range-outside-subnet-fixed.yaml",
    words: "RangeStart",
};
const TYPE: Refused = Refused {
    file: "03-plugin-type-typo.yaml",
    fixed: "03-plugin-type-typo-fixed.yaml",
    words: "macvaln",
};
const CHAIN: Refused = Refused {
    file: "05-chain-second-plugin-refuses.yaml",
    fixed: "05-chain-second-plugin-refuses-fixed.yaml",
    words: "cannot unmarshal string",
};

#[rstest]
#[case::range(RANGE)]
#[case::plugin_type(TYPE)]
#[case::chain(CHAIN)]
#[tokio::test]
async fn a_corrected_network_is_plugged_at_once(#[case] refused: Refused) -> Result<()> {
    in_namespace("case", async |ns| {
        let Case { pod, nad } = is_refused(ns, refused).await?;
        let description = format!("{FAILURES} failures");
        eventually(PLUG, description, async || {
            // The event of a cause that repeats is written once a minute at most.
            let explained = ns.cluster.explain(&format!("{}/{}", ns.name, pod.name)).await?;
            let failures = explained.lines().find_map(|line| {
                let (times, _) = line.trim().strip_prefix("failed ")?.split_once(" times")?;
                times.parse::<i32>().ok()
            });
            failures
                .filter(|count| *count >= FAILURES)
                .map(drop)
                .ok_or(Error::Unexpected(explained))
        })
        .await?;

        let began = Instant::now();
        ns.apply_case(refused.fixed).await?;

        pod.has_exactly(&["net1"]).await?;
        let took = began.elapsed();
        println!("{}: plugged {took:?} after the correction", refused.file);
        assert!(took < AT_ONCE, "{took:?}");
        ns.is_at_rest(&[(&pod, &["net1"])], &[], &[&nad]).await?;
        leaves_nothing(ns, &Case { pod, nad }).await
    })
    .await
}

#[rstest]
#[case::range(RANGE)]
#[case::plugin_type(TYPE)]
#[case::chain(CHAIN)]
#[tokio::test]
async fn a_corrected_network_is_plugged_under_another_name(#[case] refused: Refused) -> Result<()> {
    in_namespace("case", async |ns| {
        let Case { pod, nad } = is_refused(ns, refused).await?;

        ns.apply_case(refused.fixed).await?;
        pod.annotate(&format!("{}@net2", nad.name)).await?;

        ns.is_at_rest(&[(&pod, &["net2"])], &[], &[&nad]).await?;
        leaves_nothing(ns, &Case { pod, nad }).await
    })
    .await
}

#[rstest]
#[case::range(RANGE)]
#[case::plugin_type(TYPE)]
#[case::chain(CHAIN)]
#[tokio::test]
async fn a_removed_element_leaves_nothing_and_is_quiet(#[case] refused: Refused) -> Result<()> {
    in_namespace("case", async |ns| {
        let case = is_refused(ns, refused).await?;

        case.pod.annotate("[]").await?;

        ns.is_at_rest(&[(&case.pod, &[])], &[], &[&case.nad]).await?;
        case.pod.has_records_of(&[]).await?;
        leaves_nothing(ns, &case).await
    })
    .await
}

#[rstest]
#[case::range(RANGE)]
#[case::plugin_type(TYPE)]
#[case::chain(CHAIN)]
#[tokio::test]
async fn a_pod_that_ends_while_it_fails_leaves_nothing(#[case] refused: Refused) -> Result<()> {
    in_namespace("case", async |ns| {
        let case = is_refused(ns, refused).await?;

        leaves_nothing(ns, &case).await?;

        // Of other tests' pods there is something to release now and then.
        eventually(PLUG, "nothing waits for its release", async || {
            let unreleased = ns
                .cluster
                .agent_metric(r#"dynamic_networks_agent_attachments{state="unreleased"}"#)
                .await?;
            (unreleased == 0.0)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(unreleased.to_string()))
        })
        .await
    })
    .await
}

/// The pod's element fails with the plugin's words, and leaves no interface and no lease behind.
async fn is_refused(ns: &Namespace, refused: Refused) -> Result<Case> {
    // Without the webhook, or before it was installed, such a network is there.
    ns.admits_broken_networks().await?;
    let case = ns.case(refused.file).await?;
    case.pod.annotate(&format!("{}@net1", case.nad.name)).await?;
    case.pod.has_event("FailedAddingInterface", refused.words).await?;
    eventually(PLUG, "nothing half-made is left", async || {
        let interfaces = case.pod.interfaces().await?;
        let leases = case.pod.leases(&case.nad).await?;
        (interfaces.iter().all(|i| i.name == "eth0") && leases.is_empty())
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("{interfaces:?}, {leases:?}")))
    })
    .await?;
    Ok(case)
}

/// Nothing is left when the pod is gone, and no event has been repeated without end.
async fn leaves_nothing(ns: &Namespace, Case { pod, nad }: &Case) -> Result<()> {
    let sandbox = pod.sandbox().await?.id.clone();
    pod.delete().await?;
    ns.cluster.node.forgets(&sandbox).await?;
    let leases = ns.cluster.node.leases(&nad.config_name).await?;
    assert!(leases.iter().all(|lease| lease.sandbox != sandbox), "{leases:?}");
    let adding = failures(pod, "FailedAddingInterface").await?;
    let removing = failures(pod, "FailedRemovingInterface").await?;
    assert!(adding <= MOST_FAILURES, "{adding} failures to add");
    assert!(removing <= 2, "{removing} failures to remove");
    Ok(())
}

async fn failures(pod: &Pod, reason: &str) -> Result<i32> {
    let events = pod.events().await?;
    let counts = events
        .iter()
        .filter(|event| event.reason == reason)
        .map(|event| event.count);
    Ok(counts.sum())
}

#[tokio::test]
async fn the_unnamed_element_that_went_is_told_by_its_address() -> Result<()> {
    in_namespace("unnamed", async |ns| {
        ns.label(MODE, "off").await?;
        ns.is_filled(false).await?;
        the_right_one_goes(ns).await
    })
    .await
}

#[tokio::test]
async fn it_is_told_without_the_webhook_too() -> Result<()> {
    in_kube_system(the_right_one_goes).await
}

#[tokio::test]
async fn it_is_told_where_names_are_filled_in() -> Result<()> {
    in_namespace("unnamed", async |ns| {
        ns.is_filled(true).await?;
        the_right_one_goes(ns).await
    })
    .await
}

async fn the_right_one_goes(ns: &Namespace) -> Result<()> {
    let Case { pod, .. } = ns.case("09-two-unnamed-one-network.yaml").await?;
    pod.has_exactly(&["net1", "net2"]).await?;
    let net2 = pod.interface("net2").await?;
    assert_eq!(net2.addresses, ["192.0.2.202/24"]);

    pod.annotate(r#"[{"name":"pool","ips":["192.0.2.202/24"]}]"#)
        .await?;

    pod.has_exactly(&["net2"]).await?;
    assert_eq!(pod.interface("net2").await?, net2);
    let events = pod.events().await?;
    assert!(events.iter().all(|event| !event.warning), "{events:?}");
    Ok(())
}

/// What `lint` and the webhook say of it is what the kernel says.
#[tokio::test]
async fn a_group_address_is_refused_or_told_by_an_event() -> Result<()> {
    in_namespace("mac", async |ns| {
        ns.apply_case("13-multicast-mac.yaml").await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let list = |mac: &str| {
            format!(r#"[{{"name":"iot","interface":"net1","ips":["192.0.2.13/24"],"mac":"{mac}"}}]"#)
        };
        for mac in ["f3:00:5e:00:53:13", "00:00:00:00:00:00"] {
            let refusal = pod.refusal_of(&list(mac)).await?;
            assert!(
                refusal.contains(mac) && refusal.contains("[rule mac-unicast]"),
                "{refusal}"
            );
        }
        ns.admits_broken_networks().await?;

        pod.annotate(&list("f3:00:5e:00:53:13")).await?;
        pod.has_event("FailedAddingInterface", "net1").await?;
        pod.annotate(&list("02:00:5e:00:53:13")).await?;

        pod.has_exactly(&["net1"]).await
    })
    .await
}

#[tokio::test]
async fn an_address_without_prefix_fails_at_the_static_plugin() -> Result<()> {
    in_namespace("prefix", async |ns| {
        ns.apply_case("13-multicast-mac.yaml").await?;
        let pod = ns.running_pod("p", NO_NETWORKS).await?;
        let list = |ip: &str| format!(r#"[{{"name":"iot","interface":"net1","ips":["{ip}"]}}]"#);
        let refusal = pod.refusal_of(&list("192.0.2.13")).await?;
        assert!(refusal.contains("[rule ip-prefix]"), "{refusal}");
        ns.admits_broken_networks().await?;

        pod.annotate(&list("192.0.2.13")).await?;
        pod.has_event("FailedAddingInterface", "192.0.2.13").await?;
        pod.annotate(&list("192.0.2.13/24")).await?;

        pod.has_exactly(&["net1"]).await
    })
    .await
}

/// At pod start multus cannot read a result without addresses at the version that such a network
/// runs at; the webhook says so. A hot-plug runs at a newer version.
#[tokio::test]
async fn a_network_without_version_starts_no_pod() -> Result<()> {
    in_namespace("version", async |ns| {
        ns.apply_case("18-cniversion-inside-the-plugin.yaml").await?;
        let hot = ns.running_pod("hot", NO_NETWORKS).await?;
        for network in ["inside", "none-at-all"] {
            ns.create_pod(network, Some(&*format!("{network}@net1"))).await?;
            let selector = format!("involvedObject.name={network},reason=FailedCreatePodSandBox");
            let path = "jsonpath={.items[*].message}";
            let command = [
                "get",
                "events",
                "--namespace",
                &ns.name,
                "--field-selector",
                &selector,
                "-o",
                path,
            ];
            eventually(
                PLUG,
                format!("multus refuses {network} at pod start"),
                async || {
                    let told = ns.cluster.kubectl(&command).await?;
                    told.contains("no valid IP addresses")
                        .then_some(())
                        .ok_or(Error::Unexpected(told))
                },
            )
            .await?;
        }

        hot.annotate("inside@net1,none-at-all@net2").await?;

        hot.has_exactly(&["net1", "net2"]).await?;
        let shown = hot.network_status().await?;
        for name in ["net1", "net2"] {
            let entry = shown.iter().find(|entry| entry.interface == name);
            assert!(entry.is_some_and(|entry| !entry.mac.is_empty()), "{shown:?}");
        }
        Ok(())
    })
    .await
}
