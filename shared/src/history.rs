//! The pod before an edit: which element of the stored list continues as which element of the new
//! one, and under which interface name.

use std::collections::HashSet;

use crate::{
    names::InterfaceName,
    naming::{fill_on_create, fill_on_update},
    selection::{Selection, SelectionList},
    status::StatusEntry,
};

/// The networks of the stored pod.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The annotation before, parsed; `None` when it was unreadable.
    pub old: Option<&'a SelectionList>,
    /// The network-status entries of the stored pod.
    pub status: &'a [StatusEntry],
}

/// What the stored pod knows about an element.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Previous<'a> {
    /// The old element that it continues: the same network under the same interface name, or
    /// without any in both.
    pub element: Option<&'a Selection>,
    /// network-status lists the attachment.
    pub is_plugged: bool,
}

impl Previous<'_> {
    /// Neither the stored list nor network-status has it.
    pub fn is_new(&self) -> bool {
        self.element.is_none() && !self.is_plugged
    }
}

impl<'a> History<'a> {
    /// Whether multus has set the pod up: it writes network-status then, with an entry for the
    /// cluster network at least. Until then multus reads the list as a whole, so that everything is
    /// as on create.
    pub fn has_started(&self) -> bool {
        !self.status.is_empty()
    }

    /// Names for the unnamed elements of `list`, where multus puts `offset` networks before it: see
    /// [`fill_on_create`] for a pod that has not started, [`fill_on_update`] for one that has.
    pub fn names(&self, list: &SelectionList, offset: u32) -> Vec<Option<InterfaceName>> {
        if self.has_started() {
            fill_on_update(list, self.old, self.status)
        } else {
            fill_on_create(list, offset)
        }
    }

    /// For each element of `list`, whose unnamed elements would get the interfaces `filled`, what
    /// it continues. Where the stored list was unreadable, only network-status says which
    /// attachments existed.
    pub(crate) fn of(
        &self,
        list: &SelectionList,
        filled: &[Option<InterfaceName>],
        offset: u32,
    ) -> Vec<Previous<'a>> {
        let names = with_own(list, filled);
        let found = match self.old {
            Some(old) => self.continued(list, &names, old, offset),
            None => vec![None; list.elements.len()],
        };
        let plugged: HashSet<(&str, &str)> = self
            .status
            .iter()
            .filter(|entry| !entry.default)
            .map(|entry| (entry.name.as_str(), entry.interface.as_str()))
            .collect();
        let elements = list.elements.iter().zip(&names).zip(found);
        elements
            .map(|((element, name), found)| {
                let interface = name.map(InterfaceName::as_str).unwrap_or_default();
                let in_status = plugged.contains(&(element.network.as_str(), interface));
                Previous {
                    element: found,
                    is_plugged: in_status && (found.is_some() || self.old.is_none()),
                }
            })
            .collect()
    }

    fn continued(
        &self,
        list: &SelectionList,
        names: &[Option<&InterfaceName>],
        old: &'a SelectionList,
        offset: u32,
    ) -> Vec<Option<&'a Selection>> {
        let old_filled = History {
            old: None,
            status: self.status,
        }
        .names(old, offset);
        let old_names = with_own(old, &old_filled);
        let mut free: Vec<bool> = vec![true; old.elements.len()];
        let mut found: Vec<Option<&Selection>> = vec![None; list.elements.len()];
        // Elements that ask for the same are matched first: of several unnamed elements of one
        // network, their attributes say which one stayed. Before the pod starts, an unnamed element
        // has no interface yet by which it differs from another one of its network.
        for (same_request, any_name) in [(true, false), (false, false), (false, true)] {
            let elements = list.elements.iter().zip(names).zip(&mut found);
            for ((element, name), found) in elements.filter(|(_, found)| found.is_none()) {
                let unnamed = element.interface.is_none();
                let any_name = any_name && unnamed && !self.has_started();
                let mut candidates = old.elements.iter().zip(&old_names).zip(&mut free);
                let continued = candidates.find(|((old, old_name), free)| {
                    let both_unnamed = unnamed && old.interface.is_none();
                    let same_name = both_unnamed || any_name || *old_name == name;
                    let fits = old.network == element.network && same_name;
                    **free && fits && (!same_request || old.asks_as(element))
                });
                if let Some(((old, _), free)) = continued {
                    *free = false;
                    *found = Some(old);
                }
            }
        }
        found
    }
}

/// The interface of each element: its own, or the one that would be filled in.
fn with_own<'l>(
    list: &'l SelectionList,
    filled: &'l [Option<InterfaceName>],
) -> Vec<Option<&'l InterfaceName>> {
    list.elements
        .iter()
        .zip(filled)
        .map(|(element, filled)| element.interface.as_ref().or(filled.as_ref()))
        .collect()
}
