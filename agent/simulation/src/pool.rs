//! The permits to call multus, shared by the pods of a node.

use std::collections::VecDeque;

use agent_core::effect::EffectId;

/// Who waits for a permit, or holds one: a pod's number, and its effect.
type Holder = (usize, EffectId);

/// A pool of permits.
#[derive(Clone, Debug)]
pub struct Pool {
    capacity: usize,
    held: Vec<Holder>,
    waiting: VecDeque<Holder>,
    granted: Vec<Holder>,
}

impl Pool {
    /// A pool of so many permits.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            held: Vec::new(),
            waiting: VecDeque::new(),
            granted: Vec::new(),
        }
    }

    /// Asks for a permit; it comes out of [`Self::take_granted`].
    pub(crate) fn acquire(&mut self, holder: Holder) {
        self.waiting.push_back(holder);
        self.grant();
    }

    /// Gives a permit back, or stops waiting for it.
    pub(crate) fn release(&mut self, holder: Holder) {
        self.held.retain(|held| *held != holder);
        self.waiting.retain(|waiting| *waiting != holder);
        self.granted.retain(|granted| *granted != holder);
        self.grant();
    }

    /// The pod's worker has ended.
    pub(crate) fn release_all(&mut self, pod: usize) {
        self.held.retain(|(of, _)| *of != pod);
        self.waiting.retain(|(of, _)| *of != pod);
        self.granted.retain(|(of, _)| *of != pod);
        self.grant();
    }

    /// What was granted to the pod since.
    pub(crate) fn take_granted(&mut self, pod: usize) -> Option<EffectId> {
        let place = self.granted.iter().position(|(of, _)| *of == pod)?;
        Some(self.granted.remove(place).1)
    }

    /// Whether something was granted to the pod.
    pub(crate) fn has_granted(&self, pod: usize) -> bool {
        self.granted.iter().any(|(of, _)| *of == pod)
    }

    /// How many permits the pod holds or waits for.
    pub fn count(&self, pod: usize) -> usize {
        let all = self.held.iter().chain(&self.waiting);
        all.filter(|(of, _)| *of == pod).count()
    }

    /// Whether a pod other than this one holds a permit.
    pub(crate) fn is_held_by_others(&self, pod: usize) -> bool {
        self.held.iter().any(|(of, _)| *of != pod)
    }

    fn grant(&mut self) {
        while self.held.len() < self.capacity
            && let Some(holder) = self.waiting.pop_front()
        {
            self.held.push(holder);
            self.granted.push(holder);
        }
    }
}
