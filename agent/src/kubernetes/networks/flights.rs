//! One read of a network at a time, shared by all that want it.
//!
//! Guarantees: a request never gets an answer that was asked for before the request came. A read
//! without a waiting caller is cancelled, and its permit is returned.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use futures::{
    FutureExt as _,
    future::{LocalBoxFuture, Shared, WeakShared},
};
use shared::names::NetworkName;

use super::cache::Found;
use agent_core::network::NetworkError;

/// What a read ends with.
pub type Outcome = Result<Rc<Found>, NetworkError>;
/// A read that several wait for.
pub type Flight = Shared<LocalBoxFuture<'static, Outcome>>;

/// The reads that are under way.
#[derive(Default)]
pub struct Flights {
    flights: Rc<RefCell<BTreeMap<NetworkName, Entry>>>,
    /// Counts what is sent.
    clock: Rc<Cell<u64>>,
}

struct Entry {
    flight: WeakShared<LocalBoxFuture<'static, Outcome>>,
    sent: Sent,
}

/// When a read was sent, on the clock of all reads.
#[derive(Clone)]
pub struct Sent {
    at: Rc<Cell<Option<u64>>>,
    clock: Rc<Cell<u64>>,
}

/// Removes a read from the list when it ends, or when no caller waits for it.
struct Ending {
    flights: Rc<RefCell<BTreeMap<NetworkName, Entry>>>,
    network: NetworkName,
    sent: Sent,
}

/// When a request came, on the same clock.
#[derive(Clone, Copy)]
pub struct Arrival(u64);

impl Sent {
    /// It is sent now.
    pub fn now(&self) {
        self.clock.set(self.clock.get() + 1);
        self.at.set(Some(self.clock.get()));
    }
}

impl Flights {
    /// A request comes now.
    pub fn arrival(&self) -> Arrival {
        Arrival(self.clock.get())
    }

    /// The read of `network` that is under way, and whether a request that came then may take its
    /// answer.
    pub fn current(&self, network: &NetworkName, arrival: Arrival) -> Option<(Flight, bool)> {
        let flights = self.flights.borrow();
        let entry = flights.get(network)?;
        let fits = entry.sent.at.get().is_none_or(|sent| sent > arrival.0);
        Some((entry.flight.upgrade()?, fits))
    }

    /// Begins a read. It marks when it is sent.
    pub fn begin<F>(&self, network: &NetworkName, read: impl FnOnce(Sent) -> F) -> Flight
    where
        F: Future<Output = Outcome> + 'static,
    {
        let sent = Sent {
            at: Rc::default(),
            clock: Rc::clone(&self.clock),
        };
        let ending = Ending {
            flights: Rc::clone(&self.flights),
            network: network.clone(),
            sent: sent.clone(),
        };
        let read = read(sent.clone());
        let read = async move {
            let _ending = ending;
            read.await
        };
        let flight = read.boxed_local().shared();
        if let Some(weak) = flight.downgrade() {
            let entry = Entry { flight: weak, sent };
            self.flights.borrow_mut().insert(network.clone(), entry);
        }
        flight
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut flights = self.flights.borrow_mut();
        let is_this = |entry: &Entry| Rc::ptr_eq(&entry.sent.at, &self.sent.at);
        if flights.get(&self.network).is_some_and(is_this) {
            flights.remove(&self.network);
        }
    }
}
