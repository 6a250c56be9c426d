//! Which connection has to go when another one comes. Decides only: no socket, no clock.
//!
//! A newcomer is never refused, so the kubelet's probes and a scrape get an answer whatever others
//! do: it displaces the oldest connection of the peer that has most. Who holds connections without
//! using them loses them first.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

/// The open connections.
#[derive(Debug)]
pub(super) struct Places<Id> {
    total: usize,
    per_peer: usize,
    /// In the order in which they came.
    open: BTreeMap<u64, (IpAddr, Id)>,
    last: u64,
}

impl<Id: Copy + PartialEq> Places<Id> {
    /// At most so many connections, and so many of one address.
    pub(super) fn new(total: usize, per_peer: usize) -> Self {
        Self {
            total,
            per_peer,
            open: BTreeMap::new(),
            last: 0,
        }
    }

    /// The connection that has to end before `peer` may have another one.
    pub(super) fn displaced_by(&self, peer: IpAddr) -> Option<Id> {
        let mut by_peer: HashMap<IpAddr, usize> = HashMap::new();
        for (of, _) in self.open.values() {
            *by_peer.entry(*of).or_default() += 1;
        }
        let count = |of: &IpAddr| by_peer.get(of).copied().unwrap_or_default();
        let mut oldest_first = self.open.values();
        let displaced = if count(&peer) >= self.per_peer {
            oldest_first.find(|(of, _)| *of == peer)
        } else if self.open.len() >= self.total {
            let most = by_peer.values().max().copied().unwrap_or_default();
            oldest_first.find(|(of, _)| count(of) == most)
        } else {
            None
        };
        displaced.map(|(_, id)| *id)
    }

    /// A connection of `peer` has begun.
    pub(super) fn opened(&mut self, peer: IpAddr, id: Id) {
        self.last += 1;
        self.open.insert(self.last, (peer, id));
    }

    /// A connection has ended.
    pub(super) fn closed(&mut self, id: Id) {
        self.open.retain(|_, (_, other)| *other != id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TOTAL: usize = 8;
    const PER_PEER: usize = 3;

    fn peer(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    /// Connections come from these peers one after the other; returns the numbers of those that are
    /// displaced.
    fn come(peers: &[u32]) -> (Places<usize>, Vec<usize>) {
        let mut places = Places::new(TOTAL, PER_PEER);
        let mut displaced = Vec::new();
        for (number, of) in peers.iter().enumerate() {
            if let Some(id) = places.displaced_by(peer(*of)) {
                displaced.push(id);
                places.closed(id);
            }
            places.opened(peer(*of), number);
        }
        (places, displaced)
    }

    #[test]
    fn a_peer_at_its_limit_displaces_its_own_oldest() {
        let (_, displaced) = come(&[9, 1, 1, 1, 1, 1]);
        assert_eq!(displaced, [1, 2]);
    }

    #[test]
    fn a_newcomer_displaces_the_peer_with_most() {
        let (_, displaced) = come(&[9, 1, 1, 2, 2, 2, 3, 3, 7]);
        assert_eq!(displaced, [3]);
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let (_, displaced) = come(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(displaced, [0, 1]);
    }

    #[test]
    fn a_flood_of_one_peer_costs_others_nothing() {
        let peers: Vec<u32> = [7, 8].into_iter().chain(std::iter::repeat_n(1, 2000)).collect();
        let (places, displaced) = come(&peers);
        assert!(!displaced.contains(&0) && !displaced.contains(&1));
        assert_eq!(places.open.len(), 2 + PER_PEER);
    }
}
