//! host-local's ranges, as its own `Canonicalize` judges them at ADD and at DEL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    problem::{Findings, Step},
    schema::{text, value},
};
use crate::{
    go_net::{parse_cidr, parse_ip},
    spanned_json::{Node, Tree},
};

/// An address as a number, with its family's bits.
#[derive(Clone, Copy, PartialEq)]
struct Number {
    bits: u32,
    value: u128,
}

impl Number {
    /// An IPv4 address in IPv6 notation is an IPv4 address, as in Go.
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self {
                bits: 32,
                value: u128::from(address.to_bits()),
            },
            IpAddr::V6(address) => Self {
                bits: 128,
                value: address.to_bits(),
            },
        }
    }

    fn address(self) -> IpAddr {
        match u32::try_from(self.value) {
            Ok(value) if self.bits == 32 => Ipv4Addr::from_bits(value).into(),
            _ => Ipv6Addr::from_bits(self.value).into(),
        }
    }
}

/// A subnet that host-local can allocate from.
#[derive(Clone, Copy)]
struct Subnet {
    network: Number,
    prefix: u8,
    last: u128,
}

impl Subnet {
    fn has(self, address: Number) -> bool {
        address.bits == self.network.bits && (self.network.value..=self.last).contains(&address.value)
    }
}

/// A range after the plugin's defaults are filled in.
struct Range<'n, 's> {
    node: &'n Node<'s>,
    /// The set, counted from the `ranges`; `None`: the range beside them.
    place: Option<(usize, usize)>,
    bits: u32,
    start: u128,
    end: u128,
}

/// Judges the ranges of `ipam`. `more_at_runtime`: there may be ranges that are not in it.
pub(super) fn judge<'n>(findings: &mut Findings<'n>, ipam: &'n Node<'_>, more_at_runtime: bool) {
    let mut ranges = Vec::new();
    if value(ipam, "subnet").is_some() {
        ranges.extend(judge_range(findings, ipam, None));
    }
    let sets = value(ipam, "ranges");
    let sets = match sets.map(|sets| &sets.tree) {
        Some(Tree::List(sets)) => sets.as_slice(),
        // Judged by its type.
        Some(_) => return,
        None => &[],
    };
    if sets.is_empty() && value(ipam, "subnet").is_none() && !more_at_runtime {
        let message = "host-local has no addresses to give; write a \"subnet\" or \"ranges\"";
        return findings.cannot_run(ipam.start, None, message);
    }
    for (set_index, set) in sets.iter().enumerate() {
        if findings.is_full() {
            return;
        }
        judge_set(findings, set, set_index, &mut ranges);
    }
    judge_overlaps(findings, ranges);
}

fn judge_set<'n, 's>(
    findings: &mut Findings<'n>,
    set: &'n Node<'s>,
    set_index: usize,
    ranges: &mut Vec<Range<'n, 's>>,
) {
    let items = match &set.tree {
        Tree::List(items) => items.as_slice(),
        Tree::Null => &[],
        _ => return,
    };
    if items.is_empty() {
        let message = "a set of ranges must not be empty; write [{\"subnet\":\"192.0.2.0/24\"}]";
        return at(findings, Some((set_index, None)), |findings| {
            findings.refuse(set, message)
        });
    }
    let mut family = None;
    for (index, item) in items.iter().enumerate() {
        if findings.is_full() {
            return;
        }
        if !matches!(item.tree, Tree::Object(_) | Tree::Null) {
            continue;
        }
        let Some(range) = judge_range(findings, item, Some((set_index, index))) else {
            continue;
        };
        if *family.get_or_insert(range.bits) == range.bits {
            ranges.push(range);
        } else {
            let message = "IPv4 and IPv6 in one set; write a set of its own, [[IPv4],[IPv6]]";
            at(findings, Some((set_index, Some(index))), |findings| {
                findings.cannot_run(item.start, None, message);
            });
        }
    }
}

/// Judges what `place` (of a range in `ranges`, or of the range beside them) points to.
fn at<'n>(
    findings: &mut Findings<'n>,
    place: Option<(usize, Option<usize>)>,
    judge: impl FnOnce(&mut Findings<'n>),
) {
    let Some((set, item)) = place else {
        return judge(findings);
    };
    findings.within(Step::Key("ranges"), |findings| {
        findings.within(Step::Index(set), |findings| match item {
            Some(item) => findings.within(Step::Index(item), judge),
            None => judge(findings),
        });
    });
}

fn judge_range<'n, 's>(
    findings: &mut Findings<'n>,
    node: &'n Node<'s>,
    place: Option<(usize, usize)>,
) -> Option<Range<'n, 's>> {
    let mut range = None;
    at(findings, place.map(|(set, item)| (set, Some(item))), |findings| {
        range = subnet(findings, node).and_then(|subnet| bounds(findings, node, subnet));
    });
    let (bits, start, end) = range?;
    Some(Range {
        node,
        place,
        bits,
        start,
        end,
    })
}

/// The subnet of a range; `None`: there is none to judge the rest by.
fn subnet<'n>(findings: &mut Findings<'n>, range: &'n Node<'_>) -> Option<Subnet> {
    let is_absent = |member: &crate::spanned_json::Member<'_>| !member.key.eq_ignore_ascii_case("subnet");
    if super::schema::members(range).iter().all(is_absent) {
        findings.cannot_run(
            range.start,
            Some(range),
            "must have a \"subnet\", such as \"192.0.2.0/24\"",
        );
        return None;
    }
    let node = value(range, "subnet")?;
    let (address, prefix) = parse_cidr(text(range, "subnet")?)?;
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let network = Number::of(address);
    let host_bits = u32::from(bits - prefix);
    let hosts = 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
    let message = if network.bits != u32::from(bits) {
        "must be an IPv4 subnet in IPv4 notation".to_owned()
    } else if host_bits < 2 {
        format!(
            "too small for host-local, which takes prefix lengths up to /{}",
            bits - 2
        )
    } else if network.value & hosts != 0 {
        let masked = Number {
            value: network.value & !hosts,
            ..network
        };
        format!(
            "an address of the subnet instead of the subnet itself; write \"{}/{prefix}\"",
            masked.address()
        )
    } else {
        return Some(Subnet {
            network,
            prefix,
            last: network.value | hosts,
        });
    };
    findings.within(Step::Key("subnet"), |findings| findings.refuse(node, message));
    None
}

/// The first and the last address of a range.
fn bounds<'n>(findings: &mut Findings<'n>, range: &'n Node<'_>, subnet: Subnet) -> Option<(u32, u128, u128)> {
    let address = |key| Some((value(range, key)?, Number::of(parse_ip(text(range, key)?)?)));
    let bits = subnet.network.bits;
    let name = format!("{}/{}", subnet.network.address(), subnet.prefix);
    if let Some((node, gateway)) = address("gateway")
        && !subnet.has(gateway)
    {
        findings.within(Step::Key("gateway"), |findings| {
            findings.warn(node, format!("outside its subnet {name}"));
        });
    }
    let (start, end) = (address("rangeStart"), address("rangeEnd"));
    for (key, bound) in [("rangeStart", start), ("rangeEnd", end)] {
        if let Some((node, bound)) = bound
            && !subnet.has(bound)
        {
            let message = format!("outside its subnet {name}; write an address in it");
            findings.within(Step::Key(key), |findings| findings.refuse(node, message));
            return None;
        }
    }
    let first = start.map_or(subnet.network.value + 1, |(_, start)| start.value);
    if let Some((node, end)) = end
        && end.value < first
    {
        let message =
            "before the first address of the range; exchange rangeStart and rangeEnd, or correct one";
        findings.within(Step::Key("rangeEnd"), |findings| findings.refuse(node, message));
        return None;
    }
    // Without the broadcast address.
    let default_end = subnet.last - u128::from(bits == 32);
    Some((bits, first, end.map_or(default_end, |(_, end)| end.value)))
}

/// Ranges that overlap, in one set or in two.
fn judge_overlaps<'n>(findings: &mut Findings<'n>, mut ranges: Vec<Range<'n, '_>>) {
    // The plugin does not see that a range is empty whose first address is the broadcast address.
    ranges.retain(|range| range.start <= range.end);
    ranges.sort_by_key(|range| (range.bits, range.start, range.end));
    let mut reached: Option<(u32, u128)> = None;
    for range in ranges {
        if reached.is_some_and(|(bits, end)| bits == range.bits && range.start <= end) {
            let place = range.place.map(|(set, item)| (set, Some(item)));
            at(findings, place, |findings| {
                findings.refuse(
                    range.node,
                    "overlaps another range; an address may be in one range only",
                );
            });
        }
        let end = match reached {
            Some((bits, end)) if bits == range.bits => end.max(range.end),
            _ => range.end,
        };
        reached = Some((range.bits, end));
    }
}
