//! What is known of a pod's network-status, and what stands in the way of the next write.

use std::time::Duration;

use crate::{
    effect::StatusView,
    flap_damping::FlapDamping,
    pod::{Pod, is_newer},
    retry::Retry,
};

/// What is known of network-status.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    /// The view that our last patch left. The watch may still show older versions of the pod.
    pub(crate) written: Option<StatusView>,
    /// What was read after a conflict or a failure.
    pub(crate) fresh: Option<Fresh>,
    pub(crate) in_flight: bool,
    /// Records, or the pod, have changed since the last comparison.
    pub(crate) dirty: bool,
    /// Since when the comparison waits for operations that run.
    pub(crate) waits_since: Option<Duration>,
    /// A patch has failed, and may have been done all the same: the watch is not believed.
    pub(crate) doubted: bool,
    pub(crate) conflicts: u32,
    pub(crate) retry: Option<Retry>,
    /// Other writers took out what we wrote.
    pub(crate) restores: FlapDamping,
    /// The records have changed since the last patch.
    pub(crate) records_changed: bool,
}

/// A view that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fresh {
    pub(crate) view: StatusView,
    /// A list of sandboxes was begun after that.
    pub(crate) listing: bool,
    /// That list has come: the sandbox is still ready.
    pub(crate) confirmed: bool,
}

impl Publication {
    /// The watch showed another state of the pod.
    pub fn pod_changed(&mut self) {
        self.dirty = true;
    }

    /// Records have changed.
    pub fn records_changed(&mut self) {
        self.dirty = true;
        self.records_changed = true;
    }

    /// A list of sandboxes is begun.
    pub fn listing_begun(&mut self) {
        if let Some(fresh) = &mut self.fresh {
            fresh.listing = true;
        }
    }

    /// The list has come.
    pub fn listed(&mut self) {
        if let Some(fresh) = &mut self.fresh {
            fresh.confirmed = fresh.listing;
        }
    }

    /// Whether the pod has the network-status that we wrote last.
    pub fn wrote(&self, pod: &Pod) -> bool {
        self.written
            .as_ref()
            .is_some_and(|view| view.status == pod.status)
    }

    /// The version of the pod that the last patch made.
    pub fn written_version(&self) -> Option<&str> {
        self.written.as_ref().map(|view| view.version.as_str())
    }

    /// The version of the pod that was read after a conflict or a failure.
    pub fn read_version(&self) -> Option<&str> {
        self.fresh.as_ref().map(|fresh| fresh.view.version.as_str())
    }

    /// The failure that stands.
    pub fn retry(&self) -> Option<&Retry> {
        self.retry.as_ref()
    }

    /// Tries again now.
    pub fn make_due(&mut self, now: Duration) {
        if let Some(retry) = &mut self.retry {
            retry.due = retry.due.min(now);
        }
    }

    /// The records ask for no change. That clears no doubt: the next change may find what a patch
    /// left.
    pub(crate) fn has_nothing_to_say(&mut self) {
        self.dirty = false;
        self.records_changed = false;
        self.forget_failures();
    }

    /// Network-status, as in this view, has what the records ask for.
    pub(crate) fn is_in_line(&mut self, view: StatusView) {
        self.has_nothing_to_say();
        self.believe(view);
    }

    /// The pod is certainly as in this view, or newer.
    pub(crate) fn believe(&mut self, view: StatusView) {
        self.forget_failures();
        self.doubted = false;
        self.written = Some(view);
    }

    fn forget_failures(&mut self) {
        self.fresh = None;
        self.retry = None;
        self.conflicts = 0;
    }

    /// What decides the next comparison of a pod of this `version`, but for times: for telling
    /// states apart.
    pub fn fingerprint(&self, version: Option<&str>, now: Duration, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let written = self.written.as_ref();
        let written = written.map(|view| {
            (
                version.is_some_and(|than| is_newer(&view.version, than)),
                &view.status,
            )
        });
        let fresh = self.fresh.as_ref();
        let fresh = fresh.map(|fresh| {
            (
                &fresh.view.uid,
                &fresh.view.status,
                fresh.listing,
                fresh.confirmed,
            )
        });
        (written, fresh).hash(hasher);
        (self.in_flight, self.dirty, self.doubted).hash(hasher);
        (self.conflicts, self.records_changed, self.restores.count_at(now)).hash(hasher);
        self.retry
            .as_ref()
            .map(|retry| retry.failures.min(8))
            .hash(hasher);
    }
}
