//! The scopes: which things happen to each other.

use crate::{Begin, EffectKind, Fault, Incident, Variant};

/// Which things happen to each other.
pub struct Scope {
    /// What it is called where it is counted.
    pub name: &'static str,
    /// Where histories begin.
    pub begin: Begin,
    /// What happens.
    pub incidents: &'static [Incident],
    /// Which faults effects meet.
    pub faults: fn(EffectKind, Fault) -> bool,
    /// What happens in the middle of the agent's work.
    pub meanwhile: &'static [Incident],
    /// How long the histories are.
    pub length: usize,
}

const NONE: Incident = Incident::Edit(Some("[]"));
const A: Incident = Incident::Edit(Some("a@net1"));
const B: Incident = Incident::Edit(Some("b@net1"));
const BOTH: Incident = Incident::Edit(Some("a@net1,b@net2"));
const SECOND: Incident = Incident::Edit(Some("b@net2"));
const UNREADABLE: Incident = Incident::Edit(Some("[null]"));

/// What happens to every pod.
pub const LIFE: Scope = Scope {
    name: "edits, failing calls and sandboxes that end",
    begin: Begin::Running,
    incidents: &[
        NONE,
        A,
        B,
        Incident::Pass,
        Incident::SandboxEnds,
        Incident::SandboxStarts,
    ],
    faults: |effect, fault| match effect {
        EffectKind::Add => matches!(fault, Fault::HalfDone | Fault::LostRunning),
        EffectKind::Del => fault == Fault::Refused,
        _ => false,
    },
    meanwhile: &[],
    length: 5,
};

/// One interface that comes, goes and changes its network, and calls that go wrong in every way.
pub const ONE_INTERFACE: Scope = Scope {
    name: "one interface and failing calls",
    begin: Begin::Running,
    incidents: &[NONE, A, B, Incident::Pass],
    faults: |effect, fault| {
        let slow = matches!(fault, Fault::Slow | Fault::Late | Fault::LateLost);
        matches!(effect, EffectKind::Add | EffectKind::Del) && !slow
    },
    meanwhile: &[],
    length: 5,
};

/// Siblings.
pub const TWO_INTERFACES: Scope = Scope {
    name: "two interfaces and failing calls",
    begin: Begin::Running,
    incidents: &[NONE, BOTH, SECOND, Incident::Pass],
    faults: |effect, fault| match effect {
        EffectKind::Add => matches!(fault, Fault::HalfDone | Fault::LostRunning),
        EffectKind::Del => matches!(fault, Fault::Refused | Fault::LostRunning),
        _ => false,
    },
    meanwhile: &[],
    length: 5,
};

/// Sandboxes and pods that come and go.
pub const SANDBOXES: Scope = Scope {
    name: "sandboxes and pods that end",
    begin: Begin::BeforeStart,
    incidents: &[
        NONE,
        A,
        BOTH,
        Incident::Pass,
        Incident::SandboxFalls,
        Incident::SandboxEnds,
        Incident::SandboxStarts,
        Incident::TornDownAgain,
        Incident::PodTerminates,
        Incident::PodDeleted,
        Incident::PodRecreated,
        Incident::MultusAway,
        Incident::MultusBack,
    ],
    faults: |effect, fault| match effect {
        EffectKind::Add => fault == Fault::LostRunning,
        EffectKind::Del => fault == Fault::Refused,
        _ => false,
    },
    meanwhile: &[],
    length: 4,
};

/// What is written down.
pub const WRITING: Scope = Scope {
    name: "a disk and a status that cannot be written",
    begin: Begin::Running,
    incidents: &[
        NONE,
        A,
        B,
        Incident::Pass,
        Incident::DiskFull,
        Incident::DiskFree,
        Incident::OtherWrites,
    ],
    faults: |effect, fault| {
        use EffectKind::{List, Patch, Remove, Write};
        matches!(effect, Write | Remove | List | Patch) && fault != Fault::Slow
    },
    meanwhile: &[],
    length: 4,
};

/// Dependencies that go away, and networks that change.
pub const DEPENDENCIES: Scope = Scope {
    name: "dependencies that go and networks that change",
    begin: Begin::Running,
    incidents: &[
        NONE,
        A,
        B,
        UNREADABLE,
        Incident::Pass,
        Incident::NetworkDeleted("a"),
        Incident::NetworkCreated("a"),
        Incident::NetworkChanged("a"),
        Incident::MultusAway,
        Incident::MultusBack,
        Incident::ApiAway,
        Incident::ApiBack,
        Incident::RuntimeAway,
        Incident::RuntimeBack,
        Incident::ForeignPlugs("net1"),
    ],
    faults: |_, _| false,
    meanwhile: &[],
    length: 4,
};

/// What happens while the agent is at work.
pub const IN_BETWEEN: Scope = Scope {
    name: "what happens in the middle of the work",
    begin: Begin::Running,
    incidents: &[NONE, A, B, Incident::Pass, Incident::SandboxStarts],
    faults: |_, _| false,
    meanwhile: &[
        NONE,
        B,
        Incident::Pass,
        Incident::SandboxEnds,
        Incident::PodTerminates,
        Incident::PodDeleted,
    ],
    length: 3,
};

/// Edits that the watch shows late, while questions and patches take their time.
pub const LATE_WATCH: Scope = Scope {
    name: "a late watch",
    begin: Begin::Running,
    incidents: &[NONE, A, B],
    faults: |effect, fault| {
        matches!(
            (effect, fault),
            (
                EffectKind::Read | EffectKind::Patch | EffectKind::Condition,
                Fault::Slow
            ) | (EffectKind::Patch, Fault::LostDone)
        )
    },
    meanwhile: &[NONE, B],
    length: 3,
};

/// Dependencies that do not answer a question.
pub const QUESTIONS: Scope = Scope {
    name: "questions without an answer",
    begin: Begin::BeforeStart,
    incidents: &[
        NONE,
        A,
        B,
        Incident::Pass,
        Incident::SandboxStarts,
        Incident::SandboxEnds,
        Incident::PodDeleted,
    ],
    faults: |effect, fault| effect == EffectKind::Read && fault == Fault::Refused,
    meanwhile: &[],
    length: 4,
};

/// Networks that plugins refuse, for good or until they are corrected.
pub const REFUSED: Scope = Scope {
    name: "networks that plugins refuse",
    begin: Begin::Running,
    incidents: &[
        NONE,
        A,
        B,
        Incident::Pass,
        Incident::NetworkBroken("a", Variant::BadRange),
        Incident::NetworkBroken("a", Variant::BadChain),
        Incident::NetworkBroken("a", Variant::BadDel),
        Incident::NetworkBroken("a", Variant::Misspelt),
        Incident::NetworkBroken("a", Variant::Changed),
        Incident::SandboxEnds,
        Incident::SandboxStarts,
    ],
    faults: |effect, fault| effect == EffectKind::Del && fault == Fault::Refused,
    meanwhile: &[],
    length: 4,
};

/// Plugins whose binaries come and go.
pub const MISSING_PLUGINS: Scope = Scope {
    name: "plugins that are missing",
    begin: Begin::Running,
    incidents: &[
        NONE,
        A,
        Incident::Edit(Some("c@net1")),
        Incident::Pass,
        Incident::PluginGone("macvlan"),
        Incident::PluginBack("macvlan"),
        Incident::PluginGone("host-local"),
        Incident::PluginBack("host-local"),
        Incident::PluginGone("tuning"),
        Incident::PluginBack("tuning"),
        Incident::NetworkBroken("a", Variant::BadVersion),
        Incident::SandboxEnds,
    ],
    faults: |effect, fault| effect == EffectKind::Add && fault == Fault::HalfDone,
    meanwhile: &[],
    length: 4,
};

/// Calls and answers that take their time.
pub const SLOW: Scope = Scope {
    name: "slow and late effects",
    begin: Begin::Running,
    incidents: &[
        NONE,
        A,
        BOTH,
        Incident::Pass,
        Incident::SandboxEnds,
        Incident::MultusAway,
    ],
    faults: |_, fault| matches!(fault, Fault::Slow | Fault::Late | Fault::LateLost),
    meanwhile: &[],
    length: 4,
};

/// Sandboxes that the agent has not seen when the annotation changes.
pub const FIRST_SIGHT: Scope = Scope {
    name: "first sight",
    begin: Begin::DefaultNetwork,
    incidents: &[
        NONE,
        Incident::Edit(Some("a@net5")),
        Incident::Edit(Some("b@net5")),
        Incident::Edit(Some("a,b@net6")),
        Incident::Edit(Some("a,a")),
        Incident::Edit(Some("d@net1")),
        Incident::SandboxStarts,
        Incident::SandboxEnds,
        Incident::AgentAway,
        Incident::AgentBack,
        Incident::PredecessorPlugs("a", "net5"),
        Incident::RecordDamaged("net5"),
    ],
    faults: |effect, fault| effect == EffectKind::Read && fault == Fault::Refused,
    meanwhile: &[],
    length: 4,
};

/// A pod that uses the node's network.
pub const HOST_NETWORK: Scope = Scope {
    name: "host network",
    begin: Begin::HostNetwork,
    incidents: &[
        NONE,
        A,
        Incident::SandboxStarts,
        Incident::SandboxEnds,
        Incident::PodDeleted,
        Incident::RuntimeAway,
        Incident::RuntimeBack,
    ],
    faults: |effect, fault| effect == EffectKind::Read && fault == Fault::Refused,
    meanwhile: &[],
    length: 5,
};

/// All of the above together.
pub const EVERYTHING: Scope = Scope {
    name: "everything together",
    begin: Begin::Running,
    incidents: &[
        NONE,
        A,
        B,
        BOTH,
        SECOND,
        UNREADABLE,
        Incident::Pass,
        Incident::SandboxFalls,
        Incident::SandboxEnds,
        Incident::SandboxStarts,
        Incident::TornDownAgain,
        Incident::PodTerminates,
        Incident::PodDeleted,
        Incident::PodRecreated,
        Incident::NetworkDeleted("a"),
        Incident::NetworkCreated("a"),
        Incident::NetworkChanged("a"),
        Incident::NetworkBroken("a", Variant::BadRange),
        Incident::NetworkBroken("a", Variant::BadDel),
        Incident::PluginGone("host-local"),
        Incident::PluginBack("host-local"),
        Incident::MultusAway,
        Incident::MultusBack,
        Incident::ApiAway,
        Incident::ApiBack,
        Incident::RuntimeAway,
        Incident::RuntimeBack,
        Incident::DiskFull,
        Incident::DiskFree,
        Incident::AgentAway,
        Incident::AgentBack,
        Incident::ForeignPlugs("net1"),
        Incident::OtherWrites,
    ],
    faults: |_, _| true,
    meanwhile: IN_BETWEEN.meanwhile,
    length: 2,
};
