//! Which networks cannot have a device on a running pod, whatever the agent finds.

use std::collections::BTreeMap;

use super::{Network, Networks, Operation, PodContext, Previous};
use crate::{cni::DeviceNeed, selection::Selection};

/// A resource, and how many of its devices a pod was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    pub resource: String,
    pub given: u64,
}

/// For each element, the resource of which the pod was given fewer devices than the list asks for
/// up to it. Elements that were there before come first, because they may have their devices.
pub(super) fn exhausted(
    context: &PodContext<'_>,
    previous: &[Previous<'_>],
    networks: &dyn Networks,
) -> Vec<Option<Exhausted>> {
    let elements = &context.list.elements;
    let running = matches!(context.operation, Operation::Update { running: true, .. });
    if !running || context.devices.is_empty() {
        return vec![None; elements.len()];
    }
    let needs: Vec<Option<(String, u64)>> = elements
        .iter()
        .map(|element| given(context, element, networks))
        .collect();
    let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
    for ((resource, _), _) in needs
        .iter()
        .zip(previous)
        .filter_map(|(need, previous)| Some((need.as_ref()?, previous)))
        .filter(|(_, previous)| !previous.is_new())
    {
        *asked.entry(resource).or_default() += 1;
    }
    let mut exhausted = Vec::with_capacity(elements.len());
    for (need, previous) in needs.iter().zip(previous) {
        let need = need.as_ref().filter(|_| previous.is_new());
        exhausted.push(need.and_then(|(resource, given)| {
            let asked = asked.entry(resource).or_default();
            *asked += 1;
            (*asked > *given).then(|| Exhausted {
                resource: resource.clone(),
                given: *given,
            })
        }));
    }
    exhausted
}

/// The resource of the device that an element requires, and how many the pod was given.
fn given(context: &PodContext<'_>, element: &Selection, networks: &dyn Networks) -> Option<(String, u64)> {
    match networks.network(&element.network) {
        Network::Present {
            device: DeviceNeed::Required,
            ..
        } => {
            let resource = networks.resource(&element.network)?;
            let given = *context.devices.get(&resource)?;
            Some((resource, given))
        }
        _ => None,
    }
}
