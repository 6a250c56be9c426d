//! First sight of a sandbox: no annotation makes the agent adopt or unplug an interface of multus'
//! `defaultNetworks`, and a foreign interface is judged again when the annotation changes.

use serde_json::json;
use shared::annotations::INTERFACE_NAMES_LABEL;
use tests::{
    AgentOptions, Error, Interface, Nad, Namespace, PLUG, Pod, Result, alone_in_namespace, eventually,
    macvlan,
};

/// The annotation that a pod starts with, and those that its tenant writes afterwards to get hold
/// of `net1`, multus' default network `audit`. All are written just after the start of the pod and
/// after a restart of the agent.
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
    // Two attachments of the same network: only the second one is the tenant's.
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
                attempt(&pod, list, &format!("s{sign}"), &audited).await?;
            }
            Ok::<_, Error>((pod, audited))
        });
        let started = futures::future::try_join_all(started).await?;
        // The agent sees these for the first time after its restart.
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
                attempt(pod, list, &format!("t{sign}"), audited).await?;
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
            pod.has_records_of(&[]).await?;
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

/// Writes an annotation and waits until the agent has carried it out, which an additional interface
/// shows. The webhook may refuse it instead.
async fn attempt(pod: &Pod, list: &str, sign: &str, audited: &Interface) -> Result<()> {
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

/// The delegate file does not tell an unnamed element from a default network: the annotation does.
#[tokio::test]
async fn judges_again_what_was_foreign_when_the_annotation_changes() -> Result<()> {
    alone_in_namespace("again", async |ns| {
        let setup = Setup::new(ns).await?;
        let names = ["named", "unnamed", "other"];
        let pods = futures::future::try_join_all(names.map(|name| ns.running_pod(name, "blue"))).await?;
        for pod in &pods {
            pod.annotate("[]").await?;
        }
        let mut agent = ns.agent(&setup.own, AgentOptions::default()).await?;
        let judged = pods.iter().map(async |pod| {
            // Foreign: the agent has seen no annotation that names its network.
            let before = pod.interface("net1").await?;
            pod.annotate("red@hot").await?;
            pod.has_exactly(&["net1", "hot"]).await?;
            pod.has_records_of(&["hot"]).await?;

            match pod.name.as_str() {
                // Another network on the same interface: a conflict, not an adoption.
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
        ns.has_no_leases(&setup.blue).await?;
        let rest: Vec<(&Pod, &[&str])> = pods.iter().map(|pod| (pod, &["hot"][..])).collect();
        ns.is_at_rest(&rest, &[], &[&setup.blue, &setup.red]).await?;
        agent.stop().await
    })
    .await
}

/// `ifnameRequest` in the delegate file proves that an entry is the annotation's. Inside the
/// offset, it proves the offset wrong.
#[tokio::test]
async fn adopts_named_elements_and_reports_a_wrong_offset() -> Result<()> {
    alone_in_namespace("offset", async |ns| {
        let setup = Setup::new(ns).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        pod.annotate("red@hot").await?;
        let options = AgentOptions::default().with("interfaceOffset", 1);
        let mut agent = ns.agent_that_starts(&setup.own, options).await?;
        pod.has_exactly(&["hot"]).await?;
        ns.has_no_leases(&setup.blue).await?;
        eventually(PLUG, "an event of the agent's pod says so", async || {
            let events = setup.own.events().await?;
            let said = events.iter().any(|event| says_offset(&event.message));
            said.then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{events:?}")))
        })
        .await?;
        let (code, page) = agent.page("/readyz").await?;
        assert!(code == 200 && says_offset(&page), "{code} {page}");
        ns.is_at_rest(&[(&pod, &["hot"])], &[], &[&setup.blue]).await?;
        agent.stop().await
    })
    .await
}

fn says_offset(text: &str) -> bool {
    text.contains("interfaceOffset")
}

/// A missing directory is unknown, not empty.
#[tokio::test]
async fn touches_nothing_first_seen_without_the_delegate_file() -> Result<()> {
    alone_in_namespace("unknown", async |ns| {
        let setup = Setup::new(ns).await?;
        let pod = ns.running_pod("p", "blue@cold").await?;
        let before = pod.interfaces().await?;
        pod.annotate("red@cold,blue@hot").await?;
        let options = AgentOptions::default().with("multusCniDir", "/run/tests/no-such-directory");
        let mut agent = ns.agent_that_starts(&setup.own, options).await?;
        agent.is_not_ready("/run/tests/no-such-directory").await?;
        // With this event the agent has tried to carry out the annotation.
        pod.has_event("FailedAddingInterface", "").await?;
        assert_eq!(pod.interfaces().await?, before);
        assert_eq!(pod.recorded("cold").await?.len(), 1, "multus' ADD alone");
        agent.stop().await?;

        let mut agent = ns.agent(&setup.own, AgentOptions::default()).await?;
        ns.is_at_rest(&[(&pod, &["cold", "hot"])], &[], &[&setup.blue, &setup.red])
            .await?;
        agent.stop().await
    })
    .await
}

/// A namespace without an agent, in which the webhook fills in no names.
struct Setup {
    own: Pod,
    blue: Nad,
    red: Nad,
}

impl Setup {
    async fn new(ns: &Namespace) -> Result<Self> {
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
