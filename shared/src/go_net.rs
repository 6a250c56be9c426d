//! Addresses exactly as Go's `net` package takes them, because multus and the plugins parse them
//! with it.

use std::net::IpAddr;

/// `net.ParseIP`: no zone, no leading zeros in IPv4.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// `net.ParseCIDR`: the address as written and its prefix length.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address = parse_ip(address)?;
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let prefix = prefix.parse().ok()?;
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

/// As `net.IP.String` writes it: an IPv4-mapped IPv6 address is written as IPv4.
pub(crate) fn go_string(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// `net.ParseMAC`: 6, 8 or 20 bytes in pairs with `:` or `-`, or in fours with `.`; the bytes.
pub(crate) fn parse_mac(text: &str) -> Option<Vec<u8>> {
    let (separator, digits) = match (text.as_bytes().get(2)?, text.as_bytes().get(4)?) {
        (b':', _) => (':', 2),
        (b'-', _) => ('-', 2),
        (_, b'.') => ('.', 4),
        _ => return None,
    };
    let mut bytes = Vec::new();
    for group in text.split(separator) {
        if group.len() != digits || !group.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let value = u16::from_str_radix(group, 16).ok()?.to_be_bytes();
        bytes.extend_from_slice(value.get(2 - digits / 2..)?);
    }
    matches!(bytes.len(), 6 | 8 | 20).then_some(bytes)
}

/// Whether an Ethernet interface can have it: the kernel's `is_valid_ether_addr`. Longer addresses
/// (InfiniBand) have no group bit.
pub(crate) fn is_unicast(mac: &[u8]) -> bool {
    match mac {
        [first, rest @ ..] if mac.len() == 6 => {
            first & 1 == 0 && (*first != 0 || rest.iter().any(|b| *b != 0))
        }
        _ => true,
    }
}

/// The address of an entry of `ips`, with or without a prefix length; two spellings of one compare
/// equal.
pub(crate) fn of_entry(text: &str) -> Option<IpAddr> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    parse_ip(address).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.1", true)]
    #[case("fd00::1", true)]
    #[case("::ffff:10.0.0.1", true)]
    #[case("10.0.0.01", false)]
    #[case("10.0.0", false)]
    #[case("fe80::1%eth0", false)]
    #[case(" 10.0.0.1", false)]
    #[case("", false)]
    fn takes_the_addresses_that_go_takes(#[case] text: &str, #[case] taken: bool) {
        assert_eq!(parse_ip(text).is_some(), taken);
    }

    #[rstest]
    #[case("10.0.0.1/24", Some(24))]
    #[case("10.0.0.1/024", Some(24))]
    #[case("fd00::1/128", Some(128))]
    #[case("10.0.0.1/33", None)]
    #[case("fd00::1/129", None)]
    #[case("10.0.0.1/", None)]
    #[case("10.0.0.1/+8", None)]
    #[case("10.0.0.1/8/8", None)]
    #[case("/8", None)]
    #[case("fe80::1%eth0/64", None)]
    fn takes_the_prefixes_that_go_takes(#[case] text: &str, #[case] prefix: Option<u8>) {
        assert_eq!(parse_cidr(text).map(|(_, prefix)| prefix), prefix);
    }

    #[rstest]
    #[case("c2:11:22:33:44:66", Some(6))]
    #[case("C2-11-22-33-44-66", Some(6))]
    #[case("c211.2233.4466", Some(6))]
    #[case("00:00:00:00:fe:80:00:01", Some(8))]
    #[case("0000.0000.fe80.0001", Some(8))]
    #[case("00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01", Some(20))]
    #[case("c2:11:22:33:44", None)]
    #[case("c2:11:22:33:44:66:77", None)]
    #[case("c2:11:22-33:44:66", None)]
    #[case("c2:11:22:33:44:6", None)]
    #[case("c2:11:22:33:44:66:", None)]
    #[case("c2:11:22:33:44:g6", None)]
    #[case("+2:11:22:33:44:66", None)]
    #[case("c211.2233.446", None)]
    #[case("c21122334466", None)]
    #[case("é:11:22:33:44:66", None)]
    #[case("", None)]
    fn takes_the_hardware_addresses_that_go_takes(#[case] text: &str, #[case] length: Option<usize>) {
        assert_eq!(parse_mac(text).map(|bytes| bytes.len()), length);
    }

    #[rstest]
    #[case("02:00:5e:00:53:13", true)]
    #[case("00:00:00:00:00:01", true)]
    #[case("f3:00:5e:00:53:13", false)]
    #[case("ff:ff:ff:ff:ff:ff", false)]
    #[case("01-00-5e-00-00-01", false)]
    #[case("00:00:00:00:00:00", false)]
    #[case("01:00:00:00:fe:80:00:01", true)]
    fn an_interface_can_have_unicast_addresses(#[case] text: &str, #[case] can: bool) {
        assert_eq!(is_unicast(&parse_mac(text).unwrap()), can);
    }

    #[test]
    fn entries_of_ips_compare_by_address() {
        assert_eq!(of_entry("FD00:0::1/64"), of_entry("fd00::1"));
        assert_eq!(of_entry("::ffff:10.0.0.1"), of_entry("10.0.0.1/8"));
        assert_eq!(of_entry("here"), None);
    }

    #[test]
    fn writes_mapped_addresses_as_go_does() {
        assert_eq!(go_string(parse_ip("::ffff:10.0.0.1").unwrap()), "10.0.0.1");
        assert_eq!(go_string(parse_ip("FD00::0:1").unwrap()), "fd00::1");
    }
}
