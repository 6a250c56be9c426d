//! What the agent takes over at its first sight of a sandbox, and what it never does: an interface that multus attached by its own
//! configuration stays, whatever a tenant writes and whenever; and what was foreign is judged again when the annotation changes.

use serde_json::json;
use shared::annotations::INTERFACE_NAMES_LABEL;
use tests::{
    AgentOptions, Error, Interface, Nad, Namespace, PLUG, Pod, Result, alone_in_namespace, eventually,
    macvlan,
};

/// What the pod starts with, what its tenant writes about the network that is everywhere, and the interfaces that it then has beside that
/// network's. Each list is tried just after the pod's start and again after a restart of the agent.
struct Attack {
    name: &'static str,
    start: Option<&'static str>,
    lists: &'static [&'static str],
}

const ATTACKS: [Attack; 5] = [
    Attack {
        name: "named",
        start: None,
        lists: &["audit@net1", "[]"],
    },
    Attack {
        name: "unnamed",
        start: None,
        lists: &["audit", "[]"],
    },
    Attack {
        name: "beside",
        start: Some("blue@cold"),
        lists: &["blue@cold,audit@net1", "blue@cold", "blue@net1"],
    },
    // Of two attachments of the same network, the second one is the tenant's.
    Attack {
        name: "twice",
        start: Some("audit@own"),
        lists: &["audit@net1,audit@own", "audit@net1", "[]"],
    },
    Attack {
        name: "full",
        start: None,
        lists: &[r#"[{"name": "audit", "interface": "net1"}]"#, "[]"],
    },
];

#[tokio::test]
async fn no_tenant_unplugs_an_interface_of_the_default_networks() -> Result<()> {
    alone_in_namespace("audit", async |ns| {
        let own = ns.instead_of_the_agent().await?;
        ns.label(INTERFACE_NAMES_LABEL, "off").await?;
        let audit = ns.create_nad("audit", macvlan().host_local().recorded()).await?;
        ns.create_nad("blue", macvlan().host_local()).await?;
        ns.create_nad("sign", macvlan().host_local()).await?;
        ns.cluster
            .configure_multus(|config| {
                config["defaultNetworks"] = json!(["audit"]);
                config["multusNamespace"] = json!(ns.name);
            })
            .await?;
        let options = || AgentOptions::default().with("interfaceOffset", 1);
        let mut agent = ns.agent(&own, options()).await?;

        let started = ATTACKS.iter().map(async |attack| {
            let pod = ns.running_pod(attack.name, attack.start).await?;
            let audited = pod.interface("net1").await?;
            for (sign, list) in attack.lists.iter().enumerate() {
                tries(&pod, list, &format!("s{sign}"), &audited).await?;
            }
            Ok::<_, Error>((pod, audited))
        });
        let started = futures::future::try_join_all(started).await?;
        // It never heard of these before it ended.
        let fresh = ATTACKS.iter().map(async |attack| {
            let pod = ns
                .running_pod(&format!("late-{}", attack.name), attack.start)
                .await?;
            let audited = pod.interface("net1").await?;
            Ok::<_, Error>((pod, audited))
        });
        agent.stop().await?;
        let fresh = futures::future::try_join_all(fresh).await?;
        let mut agent = ns.agent(&own, options()).await?;

        let all = started.iter().chain(&fresh).zip(ATTACKS.iter().cycle());
        let again = all.map(async |((pod, audited), attack)| {
            for (sign, list) in attack.lists.iter().enumerate() {
                tries(pod, list, &format!("t{sign}"), audited).await?;
            }
            pod.annotate("[]").await?;
            pod.has_exactly(&["net1"]).await?;
            assert_eq!(pod.interface("net1").await?, *audited, "{}", pod.name);
            assert_eq!(
                pod.recorded("net1").await?.len(),
                1,
                "{}: multus' ADD alone",
                pod.name
            );
            assert!(pod.records().await?.is_empty(), "{}", pod.name);
            Ok::<_, Error>(())
        });
        futures::future::try_join_all(again).await?;
        assert_eq!(
            ns.cluster.node.leases(&audit.config_name).await?.len(),
            2 * ATTACKS.len()
        );
        agent.stop().await
    })
    .await
}

/// Writes a list. That it has been looked at shows by another interface, which is in it for a while. The webhook may refuse the list, too.
async fn tries(pod: &Pod, list: &str, sign: &str, audited: &Interface) -> Result<()> {
    let with_a_sign = match list {
        "[]" => format!("sign@{sign}"),
        json if json.starts_with('[') => json.replace(
            "}]",
            &format!(r#"}}, {{"name": "sign", "interface": "{sign}"}}]"#),
        ),
        text => format!("{text},sign@{sign}"),
    };
    for (written, signed) in [(with_a_sign.as_str(), true), (list, false)] {
        match pod.annotate(written).await {
            Err(error) if error.refusal().is_some_and(|words| words.contains("net1")) => return Ok(()),
            outcome => outcome?,
        }
        let description = format!("{} is looked at with {written}", pod.name);
        eventually(PLUG, description, async || {
            let signs = pod.interfaces().await?.iter().any(|i| i.name == sign);
            (signs == signed)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{sign}: {signs}")))
        })
        .await?;
        assert_eq!(pod.interface("net1").await?, *audited, "{}: {written}", pod.name);
    }
    Ok(())
}

/// Multus does not say of an element without a name that it was one. Only an annotation that names its network does.
#[tokio::test]
async fn judges_again_what_was_foreign_when_the_annotation_changes() -> Result<()> {
    alone_in_namespace("again", async |ns| {
        let stage = Stage::set(ns).await?;
        let names = ["named", "unnamed", "other"];
        let pods = futures::future::try_join_all(names.map(|name| ns.running_pod(name, "blue"))).await?;
        for pod in &pods {
            pod.annotate("[]").await?;
        }
        let mut agent = ns.agent(&stage.own, AgentOptions::default()).await?;
        let judged = pods.iter().map(async |pod| {
            // Foreign: no annotation that the agent has seen names it.
            let before = pod.interface("net1").await?;
            pod.annotate("red@hot").await?;
            pod.has_exactly(&["net1", "hot"]).await?;
            assert_eq!(pod.records().await?, ["hot"], "{}", pod.name);

            match pod.name.as_str() {
                // Another network on an interface that is there: refused, and nothing is taken over.
                "other" => {
                    pod.annotate("red@hot,red@net1,red@net2").await?;
                    pod.has_exactly(&["net1", "net2", "hot"]).await?;
                    pod.annotate("red@hot,blue@net1").await?;
                }
                "unnamed" => pod.annotate("red@hot,blue").await?,
                _ => pod.annotate("red@hot,blue@net1").await?,
            }
            is_recorded(pod, "net1").await?;
            pod.has_exactly(&["net1", "hot"]).await?;
            assert_eq!(pod.interface("net1").await?, before, "{}", pod.name);
            assert_eq!(
                pod.recorded("net1").await?.len(),
                1,
                "{}: multus' ADD alone",
                pod.name
            );

            pod.annotate("red@hot").await?;
            pod.has_exactly(&["hot"]).await
        });
        futures::future::try_join_all(judged).await?;
        ns.has_no_leases(&stage.blue).await?;
        let rest: Vec<(&Pod, &[&str])> = pods.iter().map(|pod| (pod, &["hot"][..])).collect();
        ns.is_at_rest(&rest, &[], &[&stage.blue, &stage.red]).await?;
        agent.stop().await
    })
    .await
}

/// An element that named its interface is the annotation's wherever it is in multus' list: then the offset that was configured is wrong.
#[tokio::test]
async fn takes_a_named_element_over_and_says_the_offset_is_wrong() -> Result<()> {
    alone_in_namespace("offset", async |ns| {
        let stage = Stage::set(ns).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("[]").await?;
        let options = AgentOptions::default().with("interfaceOffset", 1);
        let mut agent = ns.agent_that_starts(&stage.own, options).await?;
        pod.has_exactly(&[]).await?;
        ns.has_no_leases(&stage.blue).await?;
        eventually(PLUG, "readiness says that the offset is wrong", async || {
            let (code, said) = agent.page("/readyz").await?;
            says_offset(&said)
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{code} {said}")))
        })
        .await?;
        eventually(PLUG, "an event of the agent's pod says so", async || {
            let events = stage.own.events().await?;
            let said = events.iter().any(|event| says_offset(&event.message));
            said.then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{events:?}")))
        })
        .await?;
        ns.is_at_rest(&[(&pod, &[])], &[], &[&stage.blue]).await?;
        agent.stop().await
    })
    .await
}

fn says_offset(text: &str) -> bool {
    text.contains("interfaceOffset")
}

/// Without multus' files, what a sandbox started with is not known: that is not the same as nothing.
#[tokio::test]
async fn touches_nothing_first_seen_without_the_delegate_file() -> Result<()> {
    alone_in_namespace("unknown", async |ns| {
        let stage = Stage::set(ns).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        let before = pod.interfaces().await?;
        pod.annotate("red@cold,blue@hot").await?;
        let options = AgentOptions::default().with("multusCniDir", "/run/tests/no-such-directory");
        let mut agent = ns.agent_that_starts(&stage.own, options).await?;
        agent.is_not_ready("/run/tests/no-such-directory").await?;
        // The pod has been looked at when its failure is told.
        pod.has_event("FailedAddingInterface", "").await?;
        assert_eq!(pod.interfaces().await?, before);
        assert_eq!(pod.recorded("cold").await?.len(), 1, "multus' ADD alone");
        agent.stop().await?;

        let mut agent = ns.agent(&stage.own, AgentOptions::default()).await?;
        ns.is_at_rest(&[(&pod, &["cold", "hot"])], &[], &[&stage.blue, &stage.red])
            .await?;
        agent.stop().await
    })
    .await
}

/// No agent, names are left alone, and two networks.
struct Stage {
    own: Pod,
    blue: Nad,
    red: Nad,
}

impl Stage {
    async fn set(ns: &Namespace) -> Result<Self> {
        ns.label(INTERFACE_NAMES_LABEL, "off").await?;
        Ok(Self {
            own: ns.instead_of_the_agent().await?,
            blue: ns.create_nad("blue", macvlan().host_local().recorded()).await?,
            red: ns.create_nad("red", macvlan().host_local().recorded()).await?,
        })
    }
}

async fn is_recorded(pod: &Pod, interface: &str) -> Result<()> {
    eventually(
        PLUG,
        format!("{interface} of {} is taken over", pod.name),
        async || {
            let records = pod.records().await?;
            let taken = records.iter().any(|name| name == interface);
            taken
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{records:?}")))
        },
    )
    .await
}
