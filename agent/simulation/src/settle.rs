//! Coming to rest: waiting, the end of outages, and what a rest may cost.

use agent_core::{backoff, operation::PATIENCE, retry::RetryOn};

use crate::{Harness, Incident, TICK, harness::WAITS};

/// I8: so many effects a tick for each attachment, at rest and while an outage lasts.
const MOST_PER_TICK: usize = 5;
/// After so many ticks an outage counts as lasting, and so many more are counted.
const LASTING: u64 = 12;
/// I5: once nothing fails any more, all is done within the cap of the backoff and the grace period,
/// and one tick for either, because the simulated clock wakes late.
const LONGEST: u64 = (backoff::CAP.as_secs() + WAITS.as_secs()) / TICK.as_secs() + 2;
/// The same where a plugin refuses a DEL for good: an ADD that fails again and again makes changes,
/// too.
const LONGEST_REFUSED: u64 = 2 * PATIENCE.as_secs() / TICK.as_secs() + 4 * LONGEST;

/// What a rest that comes after so many ticks breaks. `refused`: a plugin refuses a DEL for good.
pub(crate) fn too_late(ticks: u64, refused: bool) -> Option<String> {
    let longest = if refused { LONGEST_REFUSED } else { LONGEST };
    (ticks > longest).then(|| format!("I5: it took {ticks} ticks until nothing was left to do"))
}

impl Harness {
    /// The clock goes on until the agent has something to do. `false`: it never will.
    pub fn wait(&mut self) -> bool {
        loop {
            if self.has_work() {
                return true;
            }
            let wakes = self.state().is_some_and(|state| state.wake().is_some());
            let waits = wakes || self.node.is_busy() || self.node.unseen.is_some();
            self.happen(Incident::Pass);
            if !waits && !self.has_work() {
                return false;
            }
        }
    }

    /// Every outage ends.
    pub fn end_outages(&mut self) {
        for incident in self.node.outages_ended_by() {
            self.happen(incident);
        }
        self.happen(Incident::AgentBack);
    }

    /// I8: an outage lasts; what too many effects break.
    pub(crate) fn storm_of_an_outage(&mut self) -> Option<String> {
        if !self.node.has_outage() {
            return None;
        }
        let mut effects = 0;
        for tick in 0..2 * LASTING {
            self.reconcile();
            effects += if tick < LASTING { 0 } else { self.trace.len() };
            self.happen(Incident::Pass);
        }
        self.node
            .broken
            .clone()
            .or_else(|| self.too_many(effects, LASTING))
    }

    /// Every outage ends, and every network gets a good configuration.
    pub fn mend(&mut self) {
        self.end_outages();
        for incident in self.node.mended_by() {
            self.happen(incident);
        }
    }

    /// Every outage ends, and the agent works on until nothing changes any more. The invariant that
    /// is broken then.
    pub fn settle(&mut self) -> Option<String> {
        self.end_outages();
        let (mut passed, mut last_change) = (Vec::<(u64, u64, usize)>::new(), 0);
        let begin = self.ticks();
        let refused = self.node.refuses_for_good();
        loop {
            if self.reconcile_changes() {
                last_change = self.ticks() - begin;
            }
            let print = self.fingerprint();
            let before = passed.iter().position(|(passed, ..)| *passed == print);
            passed.push((print, self.ticks(), self.trace.len()));
            if before.is_some() || !self.wait() {
                let cycle = &passed[before.unwrap_or(passed.len() - 1)..];
                let effects = cycle.iter().skip(1).map(|(.., effects)| effects).sum();
                let ticks = self.ticks().saturating_sub(cycle[0].1).max(1);
                return self
                    .broken_invariant()
                    .or_else(|| self.too_many(effects, ticks))
                    .or_else(|| too_late(last_change, refused));
            }
        }
    }

    /// The agent does what there is to do now; whether users see anything of it.
    pub(crate) fn reconcile_changes(&mut self) -> bool {
        let before = self.node.results;
        self.reconcile();
        self.node.results != before
    }

    /// What waits on although it could be known that it need not, now that this has happened.
    pub(crate) fn missed_wakeup(&self, incident: Incident) -> Option<String> {
        let now = self.node.now;
        let waits = |cleared: &dyn Fn(&RetryOn) -> bool| {
            let sandboxes = self
                .state()
                .into_iter()
                .flat_map(|state| state.sandboxes().values());
            let mut attachments = sandboxes.flat_map(|sandbox| sandbox.attachments().values());
            attachments.any(|attachment| {
                let mut retries = attachment.retries();
                retries.any(|(_, retry)| retry.due > now && cleared(&retry.on))
            })
        };
        let missed = match incident {
            Incident::MultusBack => waits(&|on| *on == RetryOn::Multus),
            Incident::NetworkCreated(name)
            | Incident::NetworkChanged(name)
            | Incident::NetworkBroken(name, _)
                if !self.node.api_away =>
            {
                let present = self.node.networks.get(&crate::network(name));
                let present = present.map(|definition| &definition.resource_version);
                waits(&|on| {
                    matches!(on, RetryOn::Network { network, version }
                        if network.name() == name && version.as_ref() != present)
                })
            }
            _ => false,
        };
        missed.then(|| format!("I7: something still waits after {incident:?}"))
    }

    /// I8: what so many effects in so many ticks break, at rest or while an outage lasts.
    pub(crate) fn too_many(&self, effects: usize, ticks: u64) -> Option<String> {
        let sandboxes = self
            .state()
            .into_iter()
            .flat_map(|state| state.sandboxes().values());
        let attachments: usize = sandboxes.map(|sandbox| sandbox.attachments().len()).sum();
        let most = MOST_PER_TICK * attachments.max(1) * usize::try_from(ticks).unwrap();
        (effects > most).then(|| format!("I8: {effects} effects in {ticks} ticks"))
    }
}
