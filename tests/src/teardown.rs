//! Pods with a hot-plugged device, chain of plugins and bridge, for the end of the sandbox. The
//! device gets its own name back only by a DEL while the pod's network namespace exists.

use crate::{
    error::{Error, Result},
    namespace::{NO_NETWORKS, Namespace},
    network::{Nad, bridge, host_device, macvlan},
    pod::Pod,
    wait::{PLUG, eventually},
};

/// A pod with these interfaces.
pub struct Plugged {
    /// The pod.
    pub pod: Pod,
    device: String,
    nic: Nad,
    chain: Nad,
    wires: Nad,
}

impl Plugged {
    /// The interfaces, `cold` of them from the pod's start.
    pub const INTERFACES: [&str; 4] = ["cold", "hot0", "hot1", "hot2"];

    /// Starts one. `number` is part of the names of its networks and its device.
    ///
    /// # Errors
    /// Whatever a step returns.
    pub async fn start(ns: &Namespace, name: &str, number: u8) -> Result<Self> {
        let named = |kind: &str| format!("{kind}{number}");
        let device = ns.device_number(number).await?;
        let device_plugin = host_device(&device).host_local();
        let nic = ns.create_nad(&named("nic"), device_plugin).await?;
        let chain = macvlan().host_local().recorded();
        let chain = ns.create_nad(&named("chain"), chain).await?;
        let wires = bridge().host_local();
        let wires = ns.create_nad(&named("wires"), wires).await?;
        let cold = format!("{}@cold", chain.name);
        let pod = ns.running_pod(name, cold.as_str()).await?;
        let hot = [&nic, &chain, &wires].into_iter().zip(&Self::INTERFACES[1..]);
        let hot = hot.map(|(nad, interface)| format!("{}@{interface}", nad.name));
        let list: Vec<_> = [cold].into_iter().chain(hot).collect();
        pod.annotate(&list.join(",")).await?;
        pod.has_exactly(&Self::INTERFACES).await?;
        Ok(Self {
            pod,
            device,
            nic,
            chain,
            wires,
        })
    }

    /// Waits until multus has torn down everything and the device is back on the node.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is left.
    pub async fn wait_torn_down(&self, ns: &Namespace) -> Result<()> {
        let (node, sandbox) = (&ns.cluster.node, &self.pod.sandbox().await?.id);
        node.wait_torn_down(sandbox).await?;
        self.wait_freed(ns, |_| true).await?;
        node.wait_device(&self.device).await?;
        // A release after the end has no namespace.
        for interface in ["cold", "hot1"] {
            let calls = self.pod.recorded(interface).await?;
            let within = calls.iter().any(|recorded| {
                let netns = recorded.environment.get("CNI_NETNS");
                recorded.call.command == "DEL" && netns.is_some_and(|path| !path.is_empty())
            });
            if !within {
                let pod = &self.pod.name;
                return Err(Error::Unexpected(format!(
                    "{pod}: no DEL of {interface} in the namespace"
                )));
            }
        }
        Ok(())
    }

    /// Waits until no lease, no entry of libcni's cache and no record of the agent is left of what
    /// was hot-plugged.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what is left.
    pub async fn wait_released(&self, ns: &Namespace) -> Result<()> {
        self.wait_freed(ns, |interface| interface.starts_with("hot"))
            .await?;
        let (node, sandbox) = (&ns.cluster.node, &self.pod.sandbox().await?.id);
        eventually(PLUG, format!("the agent forgets {}", self.pod.name), async || {
            let left = node.state_of(sandbox).await?;
            left.is_empty()
                .then_some(())
                .ok_or_else(|| Error::Unexpected(left.join(", ")))
        })
        .await
    }

    /// Waits until no lease and no entry of libcni's cache is left for some interfaces.
    async fn wait_freed(&self, ns: &Namespace, chosen: impl Fn(&str) -> bool) -> Result<()> {
        let (node, sandbox) = (&ns.cluster.node, &self.pod.sandbox().await?.id);
        let pod = &self.pod.name;
        eventually(
            PLUG,
            format!("leases and cache entries of {pod} are gone"),
            async || {
                let mut left = node.cached_results(sandbox).await?;
                left.retain(|name| chosen(name.rsplit('-').next().unwrap_or_default()));
                for nad in [&self.nic, &self.chain, &self.wires] {
                    let leases = node.leases(&nad.config_name).await?.into_iter();
                    let leases = leases.filter(|l| l.sandbox == *sandbox && chosen(&l.interface));
                    left.extend(leases.map(|lease| lease.address));
                }
                left.is_empty()
                    .then_some(())
                    .ok_or_else(|| Error::Unexpected(left.join(", ")))
            },
        )
        .await
    }

    /// Gives the device to another pod, deletes that one and waits for the device.
    ///
    /// # Errors
    /// Whatever a step returns.
    pub async fn check_reuse(&self, ns: &Namespace) -> Result<()> {
        let next = format!("next-{}", self.pod.name);
        let next = ns.running_pod(&next, NO_NETWORKS).await?;
        next.annotate(&format!("{}@hot0", self.nic.name)).await?;
        next.has_exactly(&["hot0"]).await?;
        next.delete().await?;
        ns.cluster.node.wait_device(&self.device).await?;
        ns.has_no_leases(&self.nic).await
    }
}
