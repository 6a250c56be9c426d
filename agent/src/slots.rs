//! How many calls to multus run at once: few altogether, since pod starts go through the same daemon, and at most half of them for one
//! kind of plugin, so that one whose calls hang leaves room for all the others.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls at once.
const CALLS: usize = 8;
/// Calls at once for one kind of plugin.
const OF_A_KIND: usize = CALLS / 2;

/// The room for calls.
pub struct Slots {
    all: Arc<Semaphore>,
    kinds: RefCell<BTreeMap<String, Arc<Semaphore>>>,
}

/// Room for one call; dropped, it is another one's.
pub struct Slot {
    _of_all: Option<OwnedSemaphorePermit>,
    _of_kind: Option<OwnedSemaphorePermit>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(CALLS)),
            kinds: RefCell::default(),
        }
    }
}

impl Slots {
    /// Waits for room for a call with this CNI configuration: first come, first served within its kind, and between kinds.
    pub async fn take(&self, config: &str) -> Slot {
        let kind = self.kind(&kind_of(config));
        // Whoever waits for its kind must not take the room of others meanwhile. Neither semaphore is ever closed.
        let of_kind = kind.acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Slot {
            _of_all: of_all,
            _of_kind: of_kind,
        }
    }

    fn kind(&self, kind: &str) -> Arc<Semaphore> {
        let mut kinds = self.kinds.borrow_mut();
        kinds.retain(|_, of| Arc::strong_count(of) > 1);
        let of = kinds
            .entry(kind.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(OF_A_KIND)));
        Arc::clone(of)
    }
}

/// The programs that a configuration runs, IPAM's included: what hangs is one of them, whichever network it is called for.
fn kind_of(config: &str) -> String {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let plugins = match config.get("plugins") {
        Some(Value::Array(plugins)) => plugins.as_slice(),
        _ => std::slice::from_ref(&config),
    };
    let program = |value: Option<&Value>| {
        let name = value.and_then(|value| value.get("type")).and_then(Value::as_str);
        name.unwrap_or_default().to_owned()
    };
    let programs = plugins
        .iter()
        .flat_map(|plugin| [program(Some(plugin)), program(plugin.get("ipam"))]);
    programs.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use rstest::rstest;

    use super::*;

    fn taken(slots: &Slots, config: &str) -> Option<Slot> {
        let take = pin!(slots.take(config));
        match take.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    #[rstest]
    #[case(r#"{"type":"macvlan","ipam":{"type":"static"}}"#, "macvlan/static")]
    #[case(
        r#"{"name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"tuning"}]}"#,
        "bridge/host-local/tuning/"
    )]
    #[case("no JSON", "/")]
    fn tells_configurations_by_the_programs_that_they_run(#[case] config: &str, #[case] kind: &str) {
        assert_eq!(kind_of(config), kind);
    }

    #[test]
    fn one_kind_leaves_room_for_the_others() {
        let slots = Slots::default();
        let hanging = r#"{"name":"a","type":"hangs"}"#;
        let mut held: Vec<_> = (0..OF_A_KIND).filter_map(|_| taken(&slots, hanging)).collect();
        assert_eq!(held.len(), OF_A_KIND);
        assert!(taken(&slots, r#"{"name":"b","type":"hangs"}"#).is_none());
        held.extend(taken(&slots, r#"{"type":"macvlan"}"#));
        assert_eq!(held.len(), OF_A_KIND + 1);
    }

    #[test]
    fn no_more_run_altogether_than_there_is_room_for() {
        let slots = Slots::default();
        let config = |kind: usize| format!(r#"{{"type":"t{kind}"}}"#);
        let held: Vec<_> = (0..CALLS)
            .filter_map(|kind| taken(&slots, &config(kind)))
            .collect();
        assert_eq!(held.len(), CALLS);
        assert!(taken(&slots, &config(CALLS)).is_none());
        drop(held);
        assert!(taken(&slots, &config(CALLS)).is_some());
    }

    #[test]
    fn forgets_kinds_that_nobody_asks_for_any_more() {
        let slots = Slots::default();
        for kind in 0..100 {
            assert!(taken(&slots, &format!(r#"{{"type":"t{kind}"}}"#)).is_some());
        }
        assert_eq!(slots.kinds.borrow().len(), 1);
    }
}
