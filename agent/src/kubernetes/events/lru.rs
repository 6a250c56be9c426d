//! A map with a bounded number of entries: a new one displaces the one that was not used for the
//! longest time.

use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Lru<K, V> {
    most: usize,
    entries: BTreeMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
    uses: u64,
}

impl<K: Ord + Clone, V> Lru<K, V> {
    /// At most so many entries.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            entries: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// The value of `key`, made by `new` when there is none.
    pub(super) fn entry(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key)
            && self.entries.len() >= self.most
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.uses += 1;
        let (used, value) = self.entries.entry(key.clone()).or_insert_with(|| (0, new()));
        self.by_use.remove(used);
        self.by_use.insert(self.uses, key.clone());
        *used = self.uses;
        value
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some((used, _)) = self.entries.remove(key) {
            self.by_use.remove(&used);
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_use.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displaces_what_was_not_used_for_longest() {
        let mut lru = Lru::new(2);
        for key in ["a", "b", "a", "c"] {
            lru.entry(&key, || key);
        }
        assert_eq!(lru.entries.keys().copied().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(lru.by_use.len(), 2);
    }

    #[test]
    fn keeps_the_value_of_an_entry() {
        let mut lru = Lru::new(2);
        *lru.entry(&"a", || 1) += 1;
        assert_eq!(*lru.entry(&"a", || 1), 2);
        lru.remove(&"a");
        assert_eq!(*lru.entry(&"a", || 1), 1);
        lru.clear();
        assert!(lru.entries.is_empty() && lru.by_use.is_empty());
    }
}
