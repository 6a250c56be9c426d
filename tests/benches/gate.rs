//! What the gate costs where it stands, between an API server and a user: the time that it adds to
//! an edit, and whether every one of many edits at once is answered by it.
//!
//! Pods that are never scheduled are edited, so that no agent has a part in it. For the comparison,
//! both registrations get an object selector that leaves the others out. Each of them passes two
//! webhooks that allow everything instead, but for one; those are deployed as ours are. The same
//! PATCH then goes through ours, through each of those pairs, and through none, in turn.
//!
//! `cargo bench -p tests --bench gate` on a cluster with the manifests installed prints the rows of
//! the table of `make bench`. Figures are for people: nothing is asserted but that the gate was
//! asked.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tests::{
    AllowAll, Error, LONG, Labels, Namespace, Result, alone_in_namespace, eventually,
    figures::{milliseconds, quantile, ratio, row},
    macvlan,
};

/// Edits of each pod before the clock starts, and then.
const WARM_UP: usize = 50;
const EDITS: usize = 500;
/// What both calls add, against what two webhooks add that allow everything.
const GOAL: f64 = 1.3;
/// Editors at once, each with a pod of its own, and the edits of each.
const EDITORS: usize = 8;
const EDITS_UNDER_LOAD: usize = 250;
/// Pods with this label are left out.
const WITHOUT: &str = "without-the-gate";
/// Pods with one of these, too, pass two others.
const OTHERS: Labels = Labels {
    plain: "plain",
    patching: "patching",
    as_ours: "as-ours",
};
const REGISTRATIONS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    alone_in_namespace("bench", async |ns| {
        for network in ["blue", "green"] {
            ns.create_nad(network, macvlan()).await?;
        }
        leave_out(
            ns,
            json!({"matchExpressions": [{"key": WITHOUT, "operator": "DoesNotExist"}]}),
        )
        .await?;
        let compared = compare(ns).await;
        leave_out(ns, json!({})).await?;
        compared?;
        load(ns).await
    })
    .await
}

/// Edits of a pod that nobody runs.
struct Edited {
    pods: Api<Pod>,
    name: String,
    edits: usize,
    /// What follows a network's name in the list.
    interface: &'static str,
}

impl Edited {
    async fn new(ns: &Namespace, labels: Value) -> Result<Self> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"generateName": "edited-", "labels": labels},
            "spec": {
                "schedulingGates": [{"name": "example.com/never"}],
                "containers": [{"name": "app", "image": "docker.io/library/busybox"}],
            },
        }))
        .map_err(|error| Error::Unexpected(error.to_string()))?;
        let pods: Api<Pod> = Api::namespaced(ns.cluster.client.clone(), &ns.name);
        let made = pods
            .create(&PostParams::default(), &pod)
            .await
            .map_err(|error| unexpected(&error))?;
        Ok(Self {
            pods,
            name: made.name_any(),
            edits: 0,
            interface: "",
        })
    }

    /// From now on, edits name the interface: only validation is asked about them.
    fn naming(mut self) -> Self {
        self.interface = "@net1";
        self
    }

    /// Changes the annotation; tells how long it took, and whether the gate filled the name in.
    async fn edit(&mut self) -> Result<(Duration, bool)> {
        self.edits += 1;
        let network = ["blue", "green"][self.edits % 2];
        let networks = format!("{network}{}", self.interface);
        let patch =
            Patch::Merge(json!({"metadata": {"annotations": {shared::annotations::NETWORKS: networks}}}));
        let begun = Instant::now();
        let edited = self.pods.patch(&self.name, &PatchParams::default(), &patch).await;
        let took = begun.elapsed();
        let edited = edited.map_err(|error| unexpected(&error))?;
        let stored = edited.annotations().get(shared::annotations::NETWORKS);
        Ok((
            took,
            stored.is_some_and(|stored| stored.starts_with(&format!("{network}@net"))),
        ))
    }
}

fn unexpected(error: &kube::Error) -> Error {
    Error::Unexpected(error.to_string())
}

/// Sets the object selector of both registrations.
async fn leave_out(ns: &Namespace, selector: Value) -> Result<()> {
    let patch = json!([{"op": "add", "path": "/webhooks/0/objectSelector", "value": selector}]).to_string();
    for registration in REGISTRATIONS {
        let arguments = [
            "patch",
            registration,
            "dynamic-networks-webhook",
            "--type=json",
            "--patch",
            &patch,
        ];
        ns.cluster.kubectl(&arguments).await?;
    }
    Ok(())
}

/// The same edit with the gate, with two others, and with none, in turn.
async fn compare(ns: &Namespace) -> Result<()> {
    let others = AllowAll::start(ns, OTHERS).await?;
    let compared = compare_with_others(ns).await;
    others.leave().await?;
    compared
}

async fn compare_with_others(ns: &Namespace) -> Result<()> {
    let mut with = Edited::new(ns, json!({})).await?;
    let mut naming = Edited::new(ns, json!({})).await?.naming();
    let mut without = Edited::new(ns, json!({WITHOUT: ""})).await?;
    let mut plain = Edited::new(ns, json!({WITHOUT: "", OTHERS.plain: ""})).await?;
    let mut patching = Edited::new(ns, json!({WITHOUT: "", OTHERS.patching: ""})).await?;
    let mut as_ours = Edited::new(ns, json!({WITHOUT: "", OTHERS.as_ours: ""})).await?;
    eventually(LONG, "one pod is left out, the other is not", async || {
        match (with.edit().await?.1, without.edit().await?.1) {
            (true, false) => Ok(()),
            filled => Err(Error::Unexpected(format!("{filled:?}"))),
        }
    })
    .await?;
    eprintln!(
        "{EDITS} edits with the gate, as many with two that allow everything, and without any, in turn"
    );
    let reviews = ns.cluster.reviews().await?;
    let mut times = [const { Vec::new() }; 6];
    for round in 0..WARM_UP + EDITS {
        let pods = [
            &mut with,
            &mut naming,
            &mut plain,
            &mut patching,
            &mut as_ours,
            &mut without,
        ];
        for (pod, times) in pods.into_iter().zip(&mut times) {
            let (took, _) = pod.edit().await?;
            times.extend((round >= WARM_UP).then_some(took));
        }
    }
    let asked = ns.cluster.reviews().await? - reviews;
    if asked != 3 * (WARM_UP + EDITS) as u64 {
        return Err(Error::Unexpected(format!(
            "{asked} reviews: two are expected for each edit without a name, and one for each with a name"
        )));
    }
    for hundredths in [50, 99] {
        let [ours, naming, plain, patching, as_ours, without] =
            times.each_ref().map(|times| quantile(times, hundredths));
        let [added, naming, floor, patching, as_ours] =
            [ours, naming, plain, patching, as_ours].map(|time| time.saturating_sub(without));
        let to_floor = ratio(added, floor);
        let held = format!(
            "two that allow all add {}, ratio {to_floor:.2}; with a patch {}; and under our match conditions {}; {} without any",
            milliseconds(floor),
            milliseconds(patching),
            milliseconds(as_ours),
            milliseconds(without)
        );
        let (goal, met) = match hundredths {
            50 => (format!("ratio <= {GOAL}"), Some(to_floor <= GOAL)),
            _ => (String::new(), None),
        };
        let what = format!("added to an annotated PATCH by both calls, p{hundredths}");
        row(&what, &milliseconds(added), &held, &goal, met);
        let what = format!("added where the list names its interfaces (one call), p{hundredths}");
        let held = format!("ratio {:.2}", ratio(naming, floor));
        row(&what, &milliseconds(naming), &held, "", None);
    }
    Ok(())
}

/// Many at once. A call to the gate that failed shows: the edit is stored without a name, or not at
/// all.
async fn load(ns: &Namespace) -> Result<()> {
    eprintln!("{EDITORS} editors at once, {EDITS_UNDER_LOAD} edits each");
    let mut pods = Vec::new();
    for _ in 0..EDITORS {
        pods.push(Edited::new(ns, json!({})).await?);
    }
    let reviews = ns.cluster.reviews().await?;
    let begun = Instant::now();
    let edits = futures::future::join_all(pods.into_iter().map(async |mut pod| {
        let mut outcomes = Vec::new();
        for _ in 0..EDITS_UNDER_LOAD {
            outcomes.push(pod.edit().await);
        }
        outcomes
    }))
    .await;
    let took = begun.elapsed();
    let edits: Vec<_> = edits.into_iter().flatten().collect();
    let times: Vec<Duration> = edits.iter().flatten().map(|(took, _)| *took).collect();
    let good = edits.iter().flatten().filter(|(_, filled)| *filled).count();
    let failed = edits.len() - good;
    let asked = ns.cluster.reviews().await? - reviews;
    let what = format!("annotated PATCHes, {EDITORS} at once");
    let rate = format!("{:.0}/s", edits.len() as f64 / took.as_secs_f64());
    row(
        &what,
        &rate,
        &format!("{asked} reviews of {} edits", edits.len()),
        "",
        None,
    );
    for hundredths in [50, 99] {
        row(
            &format!("{what}, p{hundredths}"),
            &milliseconds(quantile(&times, hundredths)),
            "",
            "",
            None,
        );
    }
    let missed = (2 * edits.len() as u64).saturating_sub(asked);
    let figure = format!("{failed} edits, {missed} reviews");
    row(
        &format!("{what}, failed or unasked"),
        &figure,
        "",
        "none",
        Some(failed == 0 && missed == 0),
    );
    Ok(())
}
