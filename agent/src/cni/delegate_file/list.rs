//! The text of a delegate file, and where each entry lies in it. Changes are cut into the text, so
//! what others wrote keeps every byte.

use std::ops::Range;

use serde_json::{Map, Value, value::RawValue};
use shared::names::{InterfaceName, NetworkName};

use crate::cni::cache::{ATTACHED_BY, interface_name};

/// A whole file.
#[derive(Debug)]
pub(super) struct List<'a> {
    text: &'a str,
    entries: Vec<Listed>,
}

#[derive(Debug)]
struct Listed {
    place: Range<usize>,
    ours: bool,
    name: String,
    interface: String,
}

impl<'a> List<'a> {
    /// Reads a file. One without a first entry is not multus': multus crashes on it, and ours must
    /// not become the default network.
    pub(super) fn parse(content: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
        let raw: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if raw.is_empty() {
            return Err("it lists no default network".to_owned());
        }
        let mut entries = Vec::with_capacity(raw.len());
        let mut end = 0;
        for (position, entry) in (0..).zip(raw) {
            let entry = entry.get();
            if !entry.starts_with('{') {
                return Err(format!("entry {position} is not an object"));
            }
            // Between two entries are a comma and whitespace only, and before the first a bracket.
            let gap = text.get(end..).and_then(|rest| rest.find('{'));
            let start = end + gap.ok_or("its entries are not in order")?;
            end = start + entry.len();
            entries.push(Listed::new(position, entry, start..end));
        }
        Ok(Self { text, entries })
    }

    /// The `Name` of an entry that is not ours and has `interface`.
    pub(super) fn holder(&self, interface: &InterfaceName) -> Option<&str> {
        let held = |entry: &&Listed| !entry.ours && entry.has(interface);
        Some(&self.entries.iter().find(held)?.name)
    }

    /// The file with `entry` at its end, or in the place of our entry of that interface. `None`:
    /// that is what it is.
    pub(super) fn with(&self, interface: &InterfaceName, entry: &str) -> Option<String> {
        let mut places = self.ours(interface).map(|listed| listed.place.clone());
        let text = match places.next() {
            None => {
                let end = self.entries.last()?.place.end;
                let (before, after) = self.text.split_at_checked(end)?;
                format!("{before},{entry}{after}")
            }
            Some(first) => {
                let rest: Vec<_> = places.collect();
                let mut text = self.cut(rest);
                text.replace_range(first, entry);
                text
            }
        };
        Some(text).filter(|text| text != self.text)
    }

    /// The file without our entry of `interface` on `network`. `None`: there is none.
    pub(super) fn without(&self, interface: &InterfaceName, network: &NetworkName) -> Option<String> {
        let places: Vec<_> = self
            .ours(interface)
            .filter(|listed| listed.name == network.as_str())
            .map(|listed| listed.place.clone())
            .collect();
        (!places.is_empty()).then(|| self.cut(places))
    }

    /// The file without any entry of ours: what others wrote.
    #[cfg(test)]
    pub(super) fn others(&self) -> String {
        let ours = self.entries.iter().filter(|listed| listed.ours);
        self.cut(ours.map(|listed| listed.place.clone()).collect())
    }

    fn ours(&self, interface: &InterfaceName) -> impl Iterator<Item = &Listed> {
        let of_interface = |listed: &&Listed| listed.ours && listed.has(interface);
        self.entries.iter().filter(of_interface)
    }

    /// The text without `places`, in order, each with the comma before it: none is the first.
    fn cut(&self, places: Vec<Range<usize>>) -> String {
        let mut text = self.text.to_owned();
        for place in places.into_iter().rev() {
            let before = self.entries.iter().map(|listed| listed.place.end);
            let start = before.take_while(|end| *end <= place.start).last();
            text.replace_range(start.unwrap_or(place.start)..place.end, "");
        }
        text
    }
}

impl Listed {
    fn new(position: u32, entry: &str, place: Range<usize>) -> Self {
        // An entry that is nested too deep, or has a field of another type, is not ours.
        let fields: Map<String, Value> = serde_json::from_str(entry).unwrap_or_default();
        let text = |key| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        Self {
            place,
            ours: position > 0 && text(ATTACHED_BY.0) == ATTACHED_BY.1,
            name: text("Name").to_owned(),
            interface: interface_name(position, text("ifnameRequest")),
        }
    }

    fn has(&self, interface: &InterfaceName) -> bool {
        self.interface == interface.as_str()
    }
}
