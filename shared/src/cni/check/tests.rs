use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, json};

use super::*;

fn texts(config: &str) -> Vec<String> {
    let problems = check(config, "nad").problems;
    problems.iter().map(ToString::to_string).collect()
}

fn refusals(config: &str) -> Vec<String> {
    let problems = check(config, "nad").problems.into_iter();
    problems
        .filter(|problem| problem.severity == Severity::CannotRun)
        .map(|problem| problem.to_string())
        .collect()
}

fn warnings(config: &str) -> Vec<String> {
    let problems = check(config, "nad").problems.into_iter();
    problems
        .filter(|problem| problem.severity == Severity::Warning)
        .map(|problem| problem.to_string())
        .collect()
}

/// A network in which `plugin` runs with these `fields` beside what it needs at least.
fn with(plugin: &str, fields: &str) -> String {
    let fields = if fields.is_empty() {
        String::new()
    } else {
        format!(",{fields}")
    };
    let needs = match plugin {
        "vlan" => r#","master":"eth1","ipam":{"type":"dhcp"}"#,
        "ipvlan" | "ptp" | "dummy" => r#","ipam":{"type":"dhcp"}"#,
        "vrf" => r#","vrfname":"blue""#,
        _ => "",
    };
    // A key of the fields instead of one that the plugin needs.
    let needs = if fields.contains("\"master\"") || fields.contains("\"vrfname\"") {
        needs
            .replace(r#","master":"eth1""#, "")
            .replace(r#","vrfname":"blue""#, "")
    } else {
        needs.to_owned()
    };
    format!(
        r#"{{"cniVersion":"1.0.0","name":"n","plugins":[{{"type":"bridge"}},{{"type":"{plugin}"{needs}{fields}}}]}}"#
    )
}

fn host_local(fields: &str) -> String {
    format!(r#"{{"cniVersion":"1.0.0","type":"macvlan","ipam":{{"type":"host-local",{fields}}}}}"#)
}

#[rstest]
#[case::colon_in_the_key(
    r#"{"cniVersion":"0.3.1","name":"x","plugins":[{"type":"bridge","bridge":"br0"},{"type:":"vrf","vrfname":"blue"}]}"#,
    r#"plugins[1]: the type "" in plugin 1 of the config must be the file name of a plugin, without '/'; write the key "type:" as "type" (line 1, column 79)"#
)]
#[case::no_type(
    r#"{"cniVersion":"0.3.1","device":"ens4"}"#,
    r#"the config must have a "type" (one plugin) or "plugins" (a list) (line 1, column 1)"#
)]
#[case::comma_missing(
    r#"{ "cniVersion": "0.3.1", "name": "net01" "type": "host-device", "device": "eth0" }"#,
    "the config is not JSON: ',' or '}' is expected (line 1, column 42)"
)]
#[case::comma_too_many(
    r#"{ "type": "bridge", "interface": "eth1", }"#,
    "the config is not JSON: a key in double quotes is expected; remove the comma before it (line 1, column 42)"
)]
#[case::brackets_crossed(
    r#"{"cniVersion":"0.3.1","type":"host-device","device":"ens224","ipam":{"type":"static","addresses":[{"address":"192.0.2.68/32"],"routes":[{"dst":"0.0.0.0/0"}]}}"#,
    "the config is not JSON: ',' or '}' is expected (line 1, column 125)"
)]
#[case::brace_too_few(
    r#"{ "cniVersion": "0.3.1", "type": "macvlan", "ipam": { "type": "host-local", "subnet": "192.0.2.0/24" }"#,
    "the config is not JSON: ',' or '}' is expected; the text ends here (line 1, column 103)"
)]
#[case::capability_as_string(
    r#"{"cniVersion":"0.3.1","type":"macvlan","capabilities":{"ips":"true"},"ipam":{"type":"static"}}"#,
    r#"capabilities in plugin 0 of the config must be an object of booleans, such as {"ips":true} (line 1, column 55)"#
)]
#[case::comment(
    "{ \"cniVersion\": \"0.3.1\", \"type\": \"bridge\" // the office\n}",
    "the config is not JSON: ',' or '}' is expected; JSON has no comments (line 1, column 43)"
)]
#[case::a_list_of_networks(
    r#"[{ "type": "macvlan", "master": "eth1" }]"#,
    "the config must be a JSON object (line 1, column 1)"
)]
fn mistakes_as_found_are_refused_with_their_place(#[case] config: &str, #[case] text: &str) {
    assert_eq!(texts(config), [text]);
    assert_eq!(refusals(config).len(), 1);
    assert!(check(config, "nad").runnable().is_err());
}

#[rstest]
#[case(r#"{"cniVersion":"0.3.1","type":"macvlan","master":"ens4","mode":"bridge"}"#)]
#[case(
    r#"{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"bridge","isGateway":true,"ipMasq":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"192.0.2.0/24"}],[{"subnet":"2001:db8::/64"}]],"routes":[{"dst":"198.51.100.0/24"}]}}]}"#
)]
#[case(
    r#"{"cniVersion":"0.3.1","name":"v","type":"bridge","bridge":"mgmt-br","promiscMode":true,"vlan":100,"ipam":{},"macspoofchk":false,"preserveDefaultVlan":false}"#
)]
#[case(
    r#"{"cniVersion":"0.3.1","name":"kube-ovn","plugins":[{"type":"kube-ovn","server_socket":"/run/x.sock","provider":"a.b.ovn"},{"type":"portmap","capabilities":{"portMappings":true}}]}"#
)]
#[case(
    r#"{"cniVersion":"0.3.1","cniVersions":["0.4.0","1.0.0","1.1.0"],"name":"n","plugins":[{"type":"macvlan"}]}"#
)]
#[case(r#"{"cniVersion":"0.3.1","type":"macvlan","master":"eth1","ipam":{"type":"dhcp"}}"#)]
#[case(r#"{"type":"bridge","bridge":"br0","ipam":{"type":"dhcp"}}"#)]
#[case(r#"{"plugins":[{"type":"loopback"}]}"#)]
#[case(r#"{"type":"kube-ovn"}"#)]
#[case(r#"{"cniVersion":"0.3.1","type":"calico","mtu":"1500","ipam":{"type":"host-local","subnet":"usePodCidr"}}"#)]
#[case(r#"{"cniVersion":"0.3.1","type":"macvlan","ipam":{"type":"whereabouts","range":7}}"#)]
fn networks_that_run_pass(#[case] config: &str) {
    assert_eq!(texts(config), [""; 0]);
    assert!(check(config, "nad").runnable().is_ok());
}

#[rstest]
#[case("bridge", "bridge", &[r#""br0""#, "null"], &["0", "true"])]
#[case("bridge", "isGateway", &["true", "false", "null"], &[r#""true""#, "1"])]
#[case("bridge", "isDefaultGateway", &["true"], &[r#""yes""#])]
#[case("bridge", "forceAddress", &["true"], &["0"])]
#[case("bridge", "ipMasq", &["true"], &[r#""true""#])]
#[case("bridge", "ipMasqBackend", &[r#""nftables""#], &["true"])]
#[case("bridge", "mtu", &["1500", "1500.0", "1.5e3", "0", "-1", "null"], &[r#""1500""#, "1500.5", "true", "1e30"])]
#[case("bridge", "hairpinMode", &["true"], &[r#""true""#])]
#[case("bridge", "promiscMode", &["true"], &[r#""true""#])]
#[case("bridge", "vlan", &["0", "100", "4094"], &["-1", "4095", r#""100""#])]
#[case("bridge", "vlanTrunk", &["[]", r#"[{"minID":1,"maxID":4094},{"id":7}]"#], &[r#"[{"id":0}]"#, r#"[{"minID":1}]"#,
    r#"[{"minID":9,"maxID":8}]"#, r#"[{"id":"7"}]"#, "7", r#"{"id":7}"#])]
#[case("bridge", "preserveDefaultVlan", &["false"], &[r#""false""#])]
#[case("bridge", "macspoofchk", &["true"], &[r#""true""#])]
#[case("bridge", "enabledad", &["true"], &["1"])]
#[case("bridge", "disableContainerInterface", &["true"], &["1"])]
#[case("bridge", "portIsolation", &["true"], &["1"])]
#[case("bridge", "dns", &[r#"{"nameservers":["192.0.2.1"],"search":null}"#], &[r#"{"nameservers":"192.0.2.1"}"#])]
#[case("macvlan", "master", &[r#""eth1""#, r#""""#], &["1"])]
#[case("macvlan", "mode", &[r#""bridge""#, r#""private""#, r#""vepa""#, r#""passthru""#, r#""""#], &[r#""Bridge""#, r#""l2""#, "1"])]
#[case("macvlan", "mtu", &["0", "9000"], &["-1", r#""9000""#])]
#[case("macvlan", "mac", &[r#""02:00:5e:00:53:01""#], &["2"])]
#[case("macvlan", "linkInContainer", &["true"], &[r#""true""#])]
#[case("macvlan", "bcqueuelen", &["0", "4294967295"], &["-1", "4294967296", r#""1""#])]
#[case("ipvlan", "master", &[r#""eth1""#], &["[]"])]
#[case("ipvlan", "mode", &[r#""l2""#, r#""l3""#, r#""l3s""#, r#""""#], &[r#""L2""#, r#""bridge""#])]
#[case("ipvlan", "mtu", &["1500"], &[r#""1500""#])]
#[case("ipvlan", "linkInContainer", &["true"], &["1"])]
#[case("host-device", "device", &[r#""eth1""#], &["1"])]
#[case("host-device", "hwaddr", &[r#""02:00:5e:00:53:01""#], &["1"])]
#[case("host-device", "kernelpath", &[r#""/sys/devices/x""#], &["1"])]
#[case("host-device", "pciBusID", &[r#""0000:3d:00.1""#], &["1"])]
#[case("vlan", "master", &[r#""eth1""#], &["1", "null", r#""""#])]
#[case("vlan", "vlanId", &["0", "4094"], &["4095", "-1", r#""5""#])]
#[case("vlan", "mtu", &["1500"], &["-1", r#""1500""#])]
#[case("vlan", "linkInContainer", &["true"], &[r#""true""#])]
#[case("ptp", "ipMasq", &["true"], &[r#""true""#])]
#[case("ptp", "mtu", &["1500"], &[r#""1500""#])]
#[case("dummy", "mtu", &[r#""unknown to it""#], &[])]
#[case("tap", "multiQueue", &["true"], &["1"])]
#[case("tap", "owner", &["0", "1000"], &["-1", r#""root""#])]
#[case("tap", "group", &["1000"], &[r#""root""#])]
#[case("tap", "selinuxContext", &[r#""a:b""#], &["1"])]
#[case("tap", "bridge", &[r#""br0""#], &["1"])]
#[case("loopback", "anything", &["1", r#""x""#], &[])]
#[case("bandwidth", "ingressRate", &["0"], &["-1", r#""1M""#, "1000"])]
#[case("bandwidth", r#"egressRate":8,"egressBurst"#, &["1", "34359738359"], &["34359738360", "0"])]
#[case("firewall", "backend", &[r#""iptables""#, r#""firewalld""#, r#""other""#], &["1"])]
#[case("firewall", "ingressPolicy", &[r#""open""#, r#""same-bridge""#, r#""isolated""#, r#""""#], &[r#""closed""#])]
#[case("firewall", "firewalldZone", &[r#""trusted""#], &["1"])]
#[case("portmap", "backend", &[r#""iptables""#, r#""nftables""#, "null"], &[r#""ebpf""#])]
#[case("portmap", "snat", &["true", "null"], &[r#""true""#])]
#[case("portmap", "conditionsV4", &[r#"["!","-d","192.0.2.0/24"]"#], &[r#""! -d 192.0.2.0/24""#, "[1]"])]
#[case("portmap", "masqAll", &["true"], &["1"])]
#[case("portmap", "markMasqBit", &["0", "31"], &["32", "-1"])]
#[case("portmap", r#"markMasqBit":1,"externalSetMarkChain"#, &["null"], &[r#""KUBE-MARK-MASQ""#])]
#[case("sbr", "table", &["100", "null"], &[r#""100""#])]
#[case("tuning", "sysctl", &[r#"{"net.core.somaxconn":"500","net/ipv4/conf/IFNAME/arp_filter":"1"}"#, r#"{"net.x":null}"#, "null"],
    &[r#"{"net.core.somaxconn":500}"#, r#"{"kernel.shmmax":"1"}"#, r#"["net.core.somaxconn=500"]"#])]
#[case("tuning", "mtu", &["9000"], &[r#""9000""#])]
#[case("tuning", "promisc", &["true"], &[r#""true""#])]
#[case("tuning", "allmulti", &["false"], &["0"])]
#[case("tuning", "txQLen", &["1000"], &[r#""1000""#])]
#[case("tuning", "dataDir", &[r#""/run/x""#], &["1"])]
#[case("vrf", "vrfname", &[r#""blue""#], &["1", r#""""#])]
#[case("vrf", "table", &["10", "4294967295"], &["-1", r#""10""#])]
fn a_key_takes_what_its_plugin_takes(
    #[case] plugin: &str,
    #[case] key: &str,
    #[case] right: &[&str],
    #[case] wrong: &[&str],
) {
    for value in right {
        let config = with(plugin, &format!(r#""{key}":{value}"#));
        assert_eq!(texts(&config), [""; 0], "{config}");
    }
    for value in wrong {
        let config = with(plugin, &format!(r#""{key}":{value}"#));
        assert!(!refusals(&config).is_empty(), "{config}");
    }
}

#[test]
fn keys_are_judged_in_any_case() {
    assert_eq!(
        refusals(&with("macvlan", r#""MTU":"1500""#)),
        [
            r#"plugins[1].MTU, value "1500": must be an integer of at least 0, without quotes (line 1, column 87)"#
        ]
    );
}

#[test]
fn a_key_in_two_spellings_is_not_judged() {
    assert_eq!(texts(&with("macvlan", r#""mode":"x","Mode":"bridge""#)), [""; 0]);
    // Of duplicates in one spelling, libcni keeps the last one.
    assert_eq!(texts(&with("macvlan", r#""mode":"x","mode":"bridge""#)), [""; 0]);
    assert_eq!(
        refusals(&with("macvlan", r#""mode":"bridge","mode":"x""#)).len(),
        1
    );
}

#[rstest]
#[case(r#""subnet":"192.0.2.0/24""#)]
#[case(r#""subnet":"192.0.2.0/24","rangeStart":"192.0.2.0","rangeEnd":"192.0.2.255""#)]
#[case(r#""subnet":"192.0.2.0/30","gateway":"192.0.2.1""#)]
#[case(r#""subnet":"2001:db8::/126","rangeStart":"","gateway":null"#)]
#[case(r#""subnet":"::/0""#)]
#[case(r#""subnet":"192.0.2.0/24","rangeStart":"::ffff:192.0.2.7""#)]
#[case(r#""ranges":[[{"subnet":"192.0.2.0/24","rangeEnd":"192.0.2.99"},{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.100"}]]"#)]
#[case(r#""ranges":[[{"subnet":"192.0.2.0/24"}],[{"subnet":"2001:db8::/64"}]],"dataDir":"/run/x","resolvConf":"/etc/resolv.conf""#)]
#[case(r#""rangeStart":"10.0.0.9","ranges":[[{"Subnet":"192.0.2.0/24"}]]"#)]
#[case(
    r#""subnet":"192.0.2.0/24","routes":[{"dst":"0.0.0.0/0","gw":"192.0.2.1","mtu":1400,"priority":100}]"#
)]
fn ranges_that_host_local_takes_pass(#[case] fields: &str) {
    assert_eq!(texts(&host_local(fields)), [""; 0]);
}

#[rstest]
#[case(r#""dataDir":"/run/x""#, "ipam: host-local has no addresses to give")]
#[case(
    r#""subnet":"192.0.2.0""#,
    r#"ipam.subnet, value "192.0.2.0": must be an address with a prefix length"#
)]
#[case(
    r#""subnet":null"#,
    "ipam.subnet, value null: must be an address with a prefix"
)]
#[case(
    r#""subnet":"192.0.2.7/24""#,
    r#"ipam.subnet, value "192.0.2.7/24": an address of the subnet instead of the subnet itself; write "192.0.2.0/24""#
)]
#[case(r#""subnet":"2001:db8::1/64""#, r#"write "2001:db8::/64""#)]
#[case(
    r#""subnet":"192.0.2.0/31""#,
    "too small for host-local, which takes prefix lengths up to /30"
)]
#[case(r#""subnet":"192.0.2.0/32""#, "up to /30")]
#[case(r#""subnet":"2001:db8::/127""#, "up to /126")]
#[case(r#""subnet":"::ffff:192.0.2.0/120""#, "in IPv4 notation")]
#[case(
    r#""subnet":"198.51.100.0/25","rangeStart":"198.51.100.200","rangeEnd":"198.51.100.100""#,
    r#"ipam.rangeStart, value "198.51.100.200": outside its subnet 198.51.100.0/25; write an address in it"#
)]
#[case(r#""subnet":"192.0.2.0/24","rangeEnd":"192.0.3.1""#, "ipam.rangeEnd")]
#[case(r#""subnet":"192.0.2.0/24","rangeEnd":"2001:db8::1""#, "outside its subnet")]
#[case(
    r#""subnet":"192.0.2.0/24","rangeStart":"192.0.2.9","rangeEnd":"192.0.2.8""#,
    "before the first address of the range"
)]
#[case(
    r#""subnet":"192.0.2.0/24","rangeStart":"192.0.2.9/24""#,
    "without a prefix length"
)]
#[case(r#""subnet":"192.0.2.0/24","rangeStart":9"#, "ipam.rangeStart, value 9")]
#[case(
    r#""ranges":[{"subnet":"192.0.2.0/24"}]"#,
    "ipam.ranges[0], value {\"subnet\":\"192.0.2.0/24\"}: must be"
)]
#[case(
    r#""ranges":[[]]"#,
    "ipam.ranges[0], value []: a set of ranges must not be empty"
)]
#[case(
    r#""ranges":[[{"rangeStart":"192.0.2.9"}]]"#,
    r#"ipam.ranges[0][0], value {"rangeStart":"192.0.2.9"}: must have a "subnet""#
)]
#[case(
    r#""ranges":[[{"subnet":"192.0.2.0/24"},{"subnet":"2001:db8::/64"}]]"#,
    "ipam.ranges[0][1]: IPv4 and IPv6 in one set"
)]
#[case(
    r#""ranges":[[{"subnet":"192.0.2.0/24"},{"subnet":"192.0.2.128/25"}]]"#,
    "ipam.ranges[0][1], value {\"subnet\":\"192.0.2.128/25\"}: overlaps another range"
)]
#[case(
    r#""subnet":"192.0.2.0/24","ranges":[[{"subnet":"192.0.2.0/24"}]]"#,
    "overlaps another range"
)]
#[case(
    r#""subnet":"192.0.2.0/24","routes":[{"dst":"0.0.0.0"}]"#,
    "ipam.routes[0].dst"
)]
#[case(
    r#""subnet":"192.0.2.0/24","routes":[{"dst":"0.0.0.0/0","gw":"192.0.2.1/24"}]"#,
    "ipam.routes[0].gw"
)]
#[case(
    r#""subnet":"192.0.2.0/24","routes":{"dst":"0.0.0.0/0"}"#,
    "must be a list of objects"
)]
#[case(r#""subnet":"192.0.2.0/24","dataDir":1"#, "ipam.dataDir, value 1")]
fn ranges_that_host_local_refuses_are_refused(#[case] fields: &str, #[case] text: &str) {
    let refusals = refusals(&host_local(fields));
    assert!(
        refusals.iter().any(|refusal| refusal.contains(text)),
        "{refusals:?}"
    );
}

#[test]
fn a_gateway_outside_its_subnet_is_a_warning() {
    let config = host_local(r#""subnet":"192.0.2.0/24","gateway":"198.51.100.1""#);
    assert_eq!(
        warnings(&config),
        [r#"ipam.gateway, value "198.51.100.1": outside its subnet 192.0.2.0/24 (line 1, column 102)"#]
    );
    assert!(check(&config, "nad").runnable().is_ok());
}

#[rstest]
#[case(r#""addresses":[{"address":"192.0.2.10/24","gateway":"192.0.2.1"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{}"#, None)]
#[case(r#""addresses":[]"#, None)]
#[case(r#""addresses":null"#, None)]
#[case(
    r#""addresses":[{"address":"192.0.2.10"}]"#,
    Some(r#"ipam.addresses[0].address, value "192.0.2.10": must have a prefix length, such as "192.0.2.10/24" (line 1, column 88)"#)
)]
#[case(
    r#""addresses":[{"address":"2001:db8::1"}]"#,
    Some(r#"ipam.addresses[0].address, value "2001:db8::1": must have a prefix length, such as "2001:db8::1/64" (line 1, column 88)"#)
)]
#[case(
    r#""addresses":[{"gateway":"192.0.2.1"}]"#,
    Some(r#"ipam.addresses[0]: must have an "address" with a prefix length, such as "192.0.2.10/24" (line 1, column 77)"#)
)]
#[case(
    r#""addresses":["192.0.2.10/24"]"#,
    Some(r#"ipam.addresses[0], value "192.0.2.10/24": must be an object (line 1, column 77)"#)
)]
fn static_addresses_need_their_prefix(#[case] fields: &str, #[case] refusal: Option<&str>) {
    let config = format!(r#"{{"cniVersion":"1.0.0","type":"macvlan","ipam":{{"type":"static",{fields}}}}}"#);
    assert_eq!(refusals(&config), refusal.into_iter().collect::<Vec<_>>());
}

#[test]
fn pods_may_replace_a_static_address_by_capability() {
    let config = r#"{"cniVersion":"1.0.0","type":"macvlan","capabilities":{"ips":true},
        "ipam":{"type":"static","addresses":[{"address":"192.0.2.10"}]}}"#;
    assert_eq!((refusals(config).len(), warnings(config).len()), (0, 1));
}

#[rstest]
#[case(r#"{"provide":[{"option":"12","value":"host"}],"request":[{"skipDefault":true,"option":"3"}],"priority":5}"#, 0)]
#[case(r#"{"provide":[{"option":12}]}"#, 1)]
#[case(r#"{"request":[{"skipDefault":"true"}]}"#, 1)]
#[case(r#"{"daemonSocketPath":1,"priority":"5"}"#, 2)]
fn dhcp_options_are_judged_by_type(#[case] ipam: &str, #[case] count: usize) {
    let ipam = ipam.replacen('{', r#"{"type":"dhcp","#, 1);
    let config = format!(r#"{{"cniVersion":"1.0.0","type":"macvlan","ipam":{ipam}}}"#);
    assert_eq!(refusals(&config).len(), count, "{:?}", refusals(&config));
}

#[rstest]
#[case("vlan", r#""master":"eth1""#, "vlan does not run without addresses")]
#[case("ptp", r#""ipam":{}"#, "ptp does not run without addresses")]
#[case("dummy", r#""ipam":null"#, "dummy does not run without addresses")]
#[case("ipvlan", r#""ipam":{"type":""}"#, "ipvlan does not run without addresses")]
#[case("tuning", r#""mtu":1"#, "tuning works on the interface of a plugin before it")]
#[case("vrf", r#""vrfname":"x""#, "vrf works on the interface")]
#[case("bridge", r#""hairpinMode":true,"promiscMode":true"#, "exclude each other")]
#[case(
    "bridge",
    r#""disableContainerInterface":true,"ipam":{"type":"dhcp"}"#,
    "exclude each other"
)]
fn a_plugin_that_lacks_what_it_needs_is_refused(
    #[case] plugin: &str,
    #[case] fields: &str,
    #[case] text: &str,
) {
    let config = format!(r#"{{"cniVersion":"1.0.0","type":"{plugin}",{fields}}}"#);
    let refusals = refusals(&config);
    assert!(
        matches!(refusals.as_slice(), [refusal] if refusal.contains(text)),
        "{refusals:?}"
    );
}

#[test]
fn ipvlan_takes_the_addresses_of_an_earlier_plugin() {
    assert_eq!(
        texts(&with("ipvlan", "").replace(r#","ipam":{"type":"dhcp"}"#, "")),
        [""; 0]
    );
}

#[rstest]
#[case("bridge", "0.5.0", 1, 0)]
#[case("bridge", "1.0", 1, 0)]
#[case("kube-ovn", "0.5.0", 0, 1)]
#[case("bridge", "1.2.0", 0, 1)]
#[case("bridge", "0.1.0", 0, 1)]
#[case("bridge", "0.2.0", 0, 1)]
#[case("kube-ovn", "0.2.0", 0, 0)]
#[case("bridge", "0.3.0", 0, 0)]
#[case("bridge", "1.1.0", 0, 0)]
fn versions_without_a_specification_are_named(
    #[case] plugin: &str,
    #[case] version: &str,
    #[case] refused: usize,
    #[case] warned: usize,
) {
    let config = format!(r#"{{"cniVersion":"{version}","type":"{plugin}"}}"#);
    assert_eq!(
        (refusals(&config).len(), warnings(&config).len()),
        (refused, warned),
        "{:?}",
        texts(&config)
    );
    assert!(
        texts(&config)
            .iter()
            .all(|text| text.starts_with("cniVersion, value ") || text.contains("a pod does not start"))
    );
}

#[rstest]
#[case(
    "0.3.1",
    Some(
        "plugins[1]: firewall does not know CNI version 0.3.1; write \"cniVersion\": \"0.4.0\" or a newer one"
    )
)]
#[case("0.4.0", None)]
fn a_plugin_refuses_versions_before_its_first(#[case] version: &str, #[case] text: Option<&str>) {
    let config = with("firewall", "").replace("1.0.0", version);
    let refusals = refusals(&config);
    assert_eq!(refusals.len(), usize::from(text.is_some()), "{refusals:?}");
    assert!(
        refusals
            .iter()
            .all(|refusal| text.is_some_and(|text| refusal.starts_with(text)))
    );
}

#[test]
fn warns_of_a_version_inside_a_list_plugin() {
    let config = r#"{ "name": "case18-inside", "plugins": [
        { "cniVersion": "0.4.0", "type": "macvlan", "master": "eth1", "mode": "bridge" },
        { "type": "tuning" } ] }"#;
    assert_eq!(
        warnings(config),
        [
            "plugins[0].cniVersion, value \"0.4.0\": libcni does not read the version of a plugin in a list and runs the list \
          at 0.1.0; write it beside \"plugins\" (line 2, column 25)",
            "no plugin has an \"ipam\", and at CNI version 0.1.0 (no \"cniVersion\") a result without addresses cannot be \
          read, so that a pod does not start; write \"cniVersion\": \"1.0.0\" beside \"plugins\" (line 1, column 1)"
        ]
    );
    assert_eq!(refusals(config), [""; 0]);
}

#[test]
fn capabilities_beside_the_plugins_are_a_warning() {
    let config = r#"{ "cniVersion": "0.3.1", "name": "london", "capabilities": { "ips": true, "portMappings": true },
        "plugins": [ { "type": "macvlan", "ipam": { "type": "static" } }, { "type": "portmap" } ] }"#;
    assert_eq!(
        warnings(config),
        [
            "capabilities, value { \"ips\": true, \"portMappings\": true }: beside \"plugins\" it has no effect, libcni reads \
          \"capabilities\" inside each plugin; move it into the entry of \"plugins\" that does this work (line 1, column 60)"
        ]
    );
    assert_eq!(refusals(config), [""; 0]);
}

#[test]
fn a_refusal_names_path_value_and_allowed_values() {
    let config = "{\n  \"cniVersion\": \"1.0.0\",\n  \"type\": \"macvlan\",\n  \"mtu\": \"9000\"\n}";
    let error = check(config, "nad").runnable().unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"mtu, value "9000": must be an integer of at least 0, without quotes (line 4, column 10)"#
    );
}

#[test]
fn parse_takes_what_only_a_plugin_refuses() {
    assert!(NetworkConfig::parse(&with("macvlan", r#""mtu":"9000""#), "nad").is_ok());
}

#[test]
fn problems_and_their_texts_are_bounded() {
    let long = "x".repeat(10_000);
    let sysctl: Map<_, _> = (0..1000)
        .map(|index| (format!("{long}{index}"), json!(index)))
        .collect();
    let config =
        json!({"cniVersion": "1.0.0", "plugins": [{"type": long}, {"type": "tuning", "sysctl": sysctl}]});
    let texts = texts(&config.to_string());
    assert_eq!(texts.len(), 20);
    assert!(texts.iter().all(|text| text.len() < 512), "{texts:?}");
}

#[test]
fn a_deeply_nested_config_cannot_run() {
    assert_eq!(
        refusals(&"[".repeat(10_000)),
        ["the config is not JSON: nested too deep (line 1, column 1)"]
    );
}

proptest! {
    /// Where the agent's parser refuses, so does the check; nothing that comes in makes it panic.
    #[test]
    fn what_cannot_be_parsed_cannot_run(
        config in r#"(\{|\[|\}|\]|,|:|"type"|"plugins"|"bridge"|"ipam"|"ranges"|"subnet"|"host-local"|"10.0.0.0/8"|null|1|é| ){0,24}"#
    ) {
        let report = check(&config, "nad");
        prop_assert!(report.problems.len() <= 20);
        if NetworkConfig::parse(&config, "nad").is_err() {
            prop_assert!(report.runnable().is_err());
        }
    }

    /// A range is refused exactly when a bound lies outside its subnet or before the other one.
    #[test]
    fn bounds_are_judged_as_numbers(start in 0u8..=255, end in 0u8..=255, prefix in 24u8..=30) {
        let size = 1u16 << (32 - prefix);
        let fields = format!(
            r#""subnet":"192.0.2.0/{prefix}","rangeStart":"192.0.2.{start}","rangeEnd":"192.0.2.{end}""#
        );
        let fits = u16::from(start) < size && u16::from(end) < size && start <= end;
        prop_assert_eq!(refusals(&host_local(&fields)).is_empty(), fits);
    }
}
