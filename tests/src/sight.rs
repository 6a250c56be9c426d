//! Many pods of one namespace, looked at together: what the kernel, the node's files and the API
//! have of each, by one command and two requests a look. For tests with so many pods that a look at
//! each would cost more than what they test.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Event as ApiEvent;
use kube::{Api, ResourceExt, api::ListParams};
use shared::annotations::NETWORK_STATUS;
use tokio::sync::watch;

use crate::{
    checker::{LiveSandbox, Scene},
    error::{Doing, Error, Result},
    events::{Event, is_ours},
    kernel::{Interface, interfaces},
    namespace::Namespace,
    network::Nad,
    node::{LEASES, Lease, MULTUS_CACHE, RECORDS, Sandbox, lease, parse},
    pod::{Pod, StatusEntry, seen_in_kernel},
    wait::repeatedly,
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// What there is of one sandbox.
#[derive(Clone, Debug, Default)]
struct SandboxSight {
    /// Its interfaces; none when its network namespace is gone.
    kernel: Vec<Interface>,
    /// The agent's records, each with its state.
    records: BTreeMap<String, String>,
    /// Names of the agent's files about it.
    files: Vec<String>,
    /// Names of libcni's cache entries.
    cached: Vec<String>,
}

/// What one look saw.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// By the id of the sandbox.
    sandboxes: BTreeMap<String, SandboxSight>,
    /// The leases of the namespace's networks, by the name of the configuration.
    leases: BTreeMap<String, Vec<Lease>>,
    /// The node's own links.
    pub links: BTreeSet<String>,
    /// Network-status without the default network, by the pod's uid.
    statuses: BTreeMap<String, Vec<StatusEntry>>,
    /// The agent's events, by the pod's uid.
    events: BTreeMap<String, Vec<Event>>,
}

/// Looks at the pods that it was shown.
pub struct Observer<'a> {
    ns: &'a Namespace,
    shown: RefCell<BTreeMap<String, Sandbox>>,
    last: watch::Sender<Rc<Sight>>,
}

impl<'a> Observer<'a> {
    /// Of a namespace; sees nothing before [`Self::during`].
    pub fn new(ns: &'a Namespace) -> Self {
        Self {
            ns,
            shown: RefCell::default(),
            last: watch::Sender::new(Rc::default()),
        }
    }

    /// Looks again and again until `test` is done.
    ///
    /// # Errors
    /// Whatever `test` returns; a look that fails is made again.
    pub async fn during<T>(&self, test: impl Future<Output = T>) -> T {
        let looks = repeatedly(INTERVAL, async || match self.look().await {
            Ok(sight) => drop(self.last.send_replace(Rc::new(sight))),
            Err(error) => println!("a look failed: {error}"),
        });
        tokio::select! {
            outcome = test => outcome,
            never = looks => match never {},
        }
    }

    /// Begins to look at a pod's sandbox.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it has none.
    pub async fn show(&self, pod: &Pod) -> Result<()> {
        let sandbox = pod.sandbox().await?.clone();
        self.shown.borrow_mut().insert(sandbox.id.clone(), sandbox);
        Ok(())
    }

    /// Forgets a pod's sandbox: looks become cheaper.
    ///
    /// # Errors
    /// [`Error::Unexpected`] when it has none.
    pub async fn hide(&self, pod: &Pod) -> Result<()> {
        let sandbox = &pod.sandbox().await?.id;
        self.shown.borrow_mut().remove(sandbox);
        Ok(())
    }

    /// Waits until a look that began after this call meets `condition`.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what the last one saw instead.
    pub async fn until(
        &self,
        deadline: Duration,
        description: impl Into<String>,
        condition: impl Fn(&Sight) -> Result<()>,
    ) -> Result<()> {
        let mut looks = self.last.subscribe();
        let mut last_seen = "nothing".to_owned();
        let met = async {
            // The look that is under way began before.
            let _ = looks.changed().await;
            while looks.changed().await.is_ok() {
                match condition(&looks.borrow_and_update()) {
                    Ok(()) => break,
                    Err(error) => last_seen = error.to_string(),
                }
            }
        };
        let waited = tokio::time::timeout(deadline, met).await;
        waited.map_err(|_| Error::Deadline {
            description: description.into(),
            waited: deadline,
            last_seen,
        })
    }

    async fn look(&self) -> Result<Sight> {
        let shown: Vec<Sandbox> = self.shown.borrow().values().cloned().collect();
        let (mut sight, statuses, events) =
            futures::try_join!(self.node(&shown), self.statuses(), self.events())?;
        sight.statuses = statuses;
        sight.events = events;
        Ok(sight)
    }

    async fn node(&self, shown: &[Sandbox]) -> Result<Sight> {
        let settings = [RECORDS, MULTUS_CACHE, LEASES, &self.ns.name].map(str::to_owned);
        let sandboxes = shown
            .iter()
            .flat_map(|s| [s.id.clone(), s.namespace_path.clone()]);
        let words: Vec<String> = ["sh", "-c", LOOK, "sh"]
            .map(str::to_owned)
            .into_iter()
            .chain(settings)
            .chain(sandboxes)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        read(&self.ns.cluster.node.run(&words).await?)
    }

    async fn statuses(&self) -> Result<BTreeMap<String, Vec<StatusEntry>>> {
        let pods = self.ns.pods().list_metadata(&ListParams::default()).await;
        let mut statuses = BTreeMap::new();
        for pod in pods.doing("list pods")?.items {
            let text = pod.annotations().get(NETWORK_STATUS);
            let mut entries: Vec<StatusEntry> = parse(text.map_or("[]", String::as_str))?;
            entries.retain(|entry| !entry.default);
            statuses.insert(pod.uid().unwrap_or_default(), entries);
        }
        Ok(statuses)
    }

    async fn events(&self) -> Result<BTreeMap<String, Vec<Event>>> {
        let api: Api<ApiEvent> = Api::namespaced(self.ns.cluster.client.clone(), &self.ns.name);
        let mut events: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        for event in api.list(&ListParams::default()).await.doing("list events")? {
            if is_ours(&event) {
                let uid = event.involved_object.uid.clone().unwrap_or_default();
                events.entry(uid).or_default().push(event.into());
            }
        }
        Ok(events)
    }
}

impl Sight {
    /// What a check compares of a running pod with the interfaces that it wants, and its networks.
    pub fn scene(&self, pod: &Pod, sandbox: &str, wanted: &[String], nads: &[&Nad]) -> Scene {
        let seen = self.sandboxes.get(sandbox).cloned().unwrap_or_default();
        let status = self.statuses.get(&pod.uid).into_iter().flatten().cloned();
        let records = seen.records.into_iter();
        let live = LiveSandbox {
            pod: pod.name.clone(),
            id: sandbox.to_owned(),
            wanted: wanted.to_vec(),
            foreign: Vec::new(),
            kernel: seen.kernel.into_iter().filter_map(seen_in_kernel).collect(),
            status: status.map(|e| (e.interface, (e.mac, e.ips))).collect(),
            records: records
                .filter(|(_, state)| state != "tombstone")
                .map(|(interface, _)| interface)
                .collect(),
            cached: seen.cached,
        };
        Scene {
            live: vec![live],
            leases: self.leases_of(sandbox, nads),
            subnets: nads.iter().map(|nad| format!("{}.", nad.subnet)).collect(),
            ..Scene::default()
        }
    }

    /// The same of a sandbox that has ended.
    pub fn end(&self, sandbox: &str, nads: &[&Nad]) -> Scene {
        let mut seen = self.sandboxes.get(sandbox).cloned().unwrap_or_default();
        // That one is between multus and the kubelet.
        seen.cached.retain(|entry| !entry.ends_with("-eth0"));
        Scene {
            ended: vec![(sandbox.to_owned(), seen.cached, seen.files)],
            leases: self.leases_of(sandbox, nads),
            ..Scene::default()
        }
    }

    /// The agent's events about a pod.
    pub fn events_of(&self, pod: &Pod) -> &[Event] {
        self.events.get(&pod.uid).map_or(&[], Vec::as_slice)
    }

    fn leases_of(&self, sandbox: &str, nads: &[&Nad]) -> Vec<Lease> {
        let leases = nads.iter().filter_map(|nad| self.leases.get(&nad.config_name));
        leases
            .flatten()
            .filter(|lease| lease.sandbox == sandbox)
            .cloned()
            .collect()
    }
}

/// `RECORDS CACHE LEASES NAMESPACE (ID NETNS)...`: a line for each thing that there is.
const LOOK: &str = r#"
    records=$1 cache=$2 leases=$3 namespace=$4
    shift 4
    while [ $# -gt 0 ]; do
        echo "sandbox $1"
        [ ! -e "$2" ] || echo "kernel $(nsenter --net="$2" ip -j -d address show 2>/dev/null | tr -d '
')"
        for file in "$records/$1"/*; do
            [ ! -f "$file" ] || echo "file ${file##*/} $(tr -d '
' <"$file" 2>/dev/null)"
        done
        for entry in "$cache"/results/*-"$1"-*; do [ ! -e "$entry" ] || echo "cached ${entry##*/}"; done
        shift 2
    done
    for directory in "$leases/$namespace"-*; do
        for file in "$directory"/*; do
            [ ! -f "$file" ] || echo "lease ${directory##*/} ${file##*/} $(tr '
' '  ' <"$file" 2>/dev/null)"
        done
    done
    for link in /sys/class/net/*; do echo "link ${link##*/}"; done
"#;

fn read(printed: &str) -> Result<Sight> {
    let mut sight = Sight::default();
    let mut id = String::new();
    for line in printed.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (name, content) = rest.split_once(' ').unwrap_or((rest, ""));
        match kind {
            "sandbox" => rest.clone_into(&mut id),
            "lease" => {
                let leases = sight.leases.entry(name.to_owned()).or_default();
                leases.extend(lease(content));
            }
            "link" => drop(sight.links.insert(rest.to_owned())),
            _ => {
                let seen = sight.sandboxes.entry(id.clone()).or_default();
                match kind {
                    // Empty when the namespace went meanwhile.
                    "kernel" if rest.is_empty() => {}
                    "kernel" => seen.kernel = interfaces(rest)?,
                    "cached" => seen.cached.push(rest.to_owned()),
                    _ => seen.add_file(name, content),
                }
            }
        }
    }
    Ok(sight)
}

impl SandboxSight {
    /// A file of the agent; one that is being written is none yet.
    fn add_file(&mut self, name: &str, content: &str) {
        self.files.push(name.to_owned());
        let record: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
        if let Some(state) = record["phase"]["state"].as_str() {
            self.records.insert(name.to_owned(), state.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_look_prints() {
        let printed = r#"sandbox 5a
kernel [{"ifindex":1,"ifname":"lo"},{"ifindex":3,"ifname":"net1","address":"02:00:00:00:00:01"}]
file net1 {"phase":{"state":"plugged"}}
file sandbox-identity {}
cached n-5a-net1
sandbox 6b
kernel 
lease n 10.1.2.3 5a  net1
lease n last_reserved_ip.0 10.1.2.3
link eth1"#;
        let sight = read(printed).unwrap();
        let seen = &sight.sandboxes["5a"];
        assert_eq!(seen.kernel[0].name, "net1");
        assert_eq!(seen.records["net1"], "plugged");
        assert_eq!(seen.files, ["net1", "sandbox-identity"]);
        assert_eq!(seen.cached, ["n-5a-net1"]);
        assert_eq!(sight.leases["n"][0].sandbox, "5a");
        assert_eq!(sight.leases["n"].len(), 1);
        assert!(sight.links.contains("eth1"));
        assert!(sight.sandboxes["6b"].kernel.is_empty());
    }
}
