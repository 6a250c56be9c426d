//! A node and its agent between two reconciles, to go on from later.

use std::rc::Rc;

use crate::{Harness, Incident, Node, Pool, agent::Agent, sandbox_id};

/// See the module.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) node: Node,
    pub(crate) agent: Agent,
    pub(crate) pool: Pool,
}

/// Where histories begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// A running pod without networks, of which the agent has taken first sight. Multus attaches a
    /// network of its own.
    Running,
    /// The pod has no sandbox yet.
    BeforeStart,
    /// The pod has no sandbox yet; multus attaches a default network that takes the name `net1`.
    DefaultNetwork,
    /// The pod has no sandbox yet, and will use the node's network.
    HostNetwork,
}

impl Snapshot {
    /// The agent has just started and has not done anything.
    pub fn has_just_started(&self) -> bool {
        matches!(self.agent, Agent::Started)
    }

    /// Something is away, missing or full.
    pub fn has_outage(&self) -> bool {
        self.node.has_outage() || matches!(self.agent, Agent::Away)
    }

    /// Plugins refuse a network's configuration.
    pub fn has_broken_network(&self) -> bool {
        self.node.has_broken_network()
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// What a crash leaves: the node, on which an agent is to start.
    pub(crate) fn of_crash(node: &Node) -> Self {
        let mut node = node.for_snapshot();
        node.abandon_running();
        Self {
            node,
            agent: Agent::Started,
            pool: Pool::new(crate::harness::PERMITS),
        }
    }
}

impl Node {
    /// A copy without what only tests read.
    fn for_snapshot(&self) -> Self {
        let mut node = self.clone();
        node.calls.clear();
        node.events.clear();
        node.counts.clear();
        node.conditions.clear();
        node
    }
}

impl Harness {
    /// A running pod to which multus has attached nothing but the cluster's network, and networks
    /// `a` to `d`. The agent has not seen it yet.
    pub fn new() -> Self {
        let mut harness = Self::on(Node::new(), "{}");
        harness.node.start_sandbox(&sandbox_id("s1"));
        harness
    }

    /// See [`Begin`].
    pub fn begin(begin: Begin) -> Self {
        match begin {
            Begin::Running => {
                let mut harness = Self::begin(Begin::BeforeStart);
                harness.happen(Incident::Edit(Some("a@net1")));
                harness.happen(Incident::SandboxStarts);
                harness.reconcile();
                harness.happen(Incident::Edit(Some("[]")));
                harness.reconcile();
                harness.happen(Incident::Pass);
                harness.reconcile();
                harness
            }
            Begin::BeforeStart => {
                let mut harness = Self::on(Node::new(), "{}");
                harness.node.default_network = Some("def0");
                harness
            }
            Begin::DefaultNetwork => {
                let mut harness = Self::on(Node::new(), r#"{"interfaceOffset":1}"#);
                harness.node.default_network = Some("net1");
                harness
            }
            Begin::HostNetwork => {
                let mut harness = Self::on(Node::new(), "{}");
                harness.node.host_network = true;
                harness
            }
        }
    }

    /// Whether the incident can happen now, and makes a difference.
    pub fn can(&self, incident: Incident) -> bool {
        let away = matches!(self.agent, Agent::Away);
        let right = match incident {
            Incident::AgentAway => !away,
            Incident::AgentBack | Incident::PredecessorPlugs(..) | Incident::RecordDamaged(_) => away,
            _ => true,
        };
        right && self.node.can(incident)
    }

    /// The state of the node and of the waiting agent.
    pub fn snapshot(&self) -> Snapshot {
        assert!(self.has_no_work_in_hand(), "the agent is at work");
        Snapshot {
            node: self.node.for_snapshot(),
            agent: self.agent.clone(),
            pool: self.pool.borrow().clone(),
        }
    }

    /// Goes on from there.
    pub fn resume(&mut self, from: &Snapshot) {
        self.node = from.node.clone();
        self.agent = from.agent.clone();
        self.pool.replace(from.pool.clone());
        self.clear_script();
    }

    /// A copy of the pool's handle, for another pod of the same node.
    pub fn pool(&self) -> Rc<std::cell::RefCell<Pool>> {
        Rc::clone(&self.pool)
    }
}

impl Default for Harness {
    fn default() -> Self {
        Self::new()
    }
}
