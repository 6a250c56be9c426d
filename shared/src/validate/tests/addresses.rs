//! What a list asks for that no interface can have, or that two interfaces share, and keys that
//! multus ignores.

use super::*;

/// One element on `network`, with `fields`.
fn on(network: &str, interface: &str, fields: &str) -> String {
    format!(r#"{{"name":"{network}","interface":"{interface}",{fields}}}"#)
}

fn one(network: &str, fields: &str) -> String {
    format!("[{}]", on(network, "net1", fields))
}

fn several(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

#[rstest]
#[case("f3:00:5e:00:53:13", "it is a group address (its first byte is odd)")]
#[case("FF-FF-FF-FF-FF-FF", "it is a group address (its first byte is odd)")]
#[case("00:00:00:00:00:00", "the address of zeros belongs to no interface")]
fn a_mac_that_no_interface_can_have_is_refused(#[case] mac: &str, #[case] words: &str) {
    let case = Case::default();
    let annotation = one("a", &format!(r#""mac":"{mac}""#));
    for findings in [
        case.create(&annotation),
        case.edit("", &[], &annotation),
        case.edit("a@net1", &[], &annotation),
        case.edit(&one("a", r#""mac":"02:00:5e:00:53:13""#), &[], &annotation),
    ] {
        assert_eq!(rules(&findings), [Rule::MacUnicast]);
        assert_eq!(findings.violations[0].field, Some("mac"));
        assert_eq!(findings.violations[0].value.as_deref(), Some(mac));
        assert!(findings.violations[0].message.contains(words));
    }
}

#[test]
fn a_group_mac_from_before_blocks_no_other_edit() {
    let case = Case::default();
    let group = on("a", "net1", r#""mac":"f3:00:5e:00:53:13""#);
    let other = on("b", "net2", r#""mac":"02:00:5e:00:53:14""#);
    let both = several(&[group.clone(), other]);
    let alone = several(&[group]);
    for plugged in [&[][..], &[("default/a", "net1")]] {
        assert_eq!(case.edit(&alone, plugged, &both), Findings::default());
        assert_eq!(case.edit(&both, plugged, &alone), Findings::default());
        assert_eq!(case.edit(&alone, plugged, "[]"), Findings::default());
    }
    // The list before was unreadable, and the interface is there.
    let findings = case.update(None, &status(&[("default/a", "net1")]), &alone);
    assert_eq!(findings, Findings::default());
}

#[test]
fn infiniband_addresses_have_no_group_bit() {
    let mac = r#""mac":"01:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01""#;
    assert_eq!(Case::default().create(&one("a", mac)), Findings::default());
}

#[rstest]
#[case("192.0.2.13", "192.0.2.13/24")]
#[case("2001:db8::13", "2001:db8::13/64")]
fn static_ipam_needs_a_prefix_length(#[case] ip: &str, #[case] written: &str) {
    let case = Case::default();
    let bare = one("static", &format!(r#""ips":["192.0.2.1/24","{ip}"]"#));
    let full = one("static", &format!(r#""ips":["192.0.2.1/24","{written}"]"#));
    for findings in [
        case.create(&bare),
        case.edit("", &[], &bare),
        case.edit(&full, &[], &bare),
    ] {
        assert_eq!(rules(&findings), [Rule::IpPrefix]);
        assert_eq!(findings.violations[0].value.as_deref(), Some(ip));
        assert!(findings.violations[0].message.contains(&format!("\"{written}\"")));
        assert_eq!(findings.rests_on[0].as_str(), "default/static");
    }
    assert_eq!(case.create(&full), Findings::default());
    assert_eq!(case.edit(&bare, &[], &bare), Findings::default());
    assert_eq!(case.create(&bare.replace("static", "a")), Findings::default());
}

#[test]
fn an_address_without_prefix_blocks_no_other_edit() {
    let case = Case::default();
    let bare = on("static", "net1", r#""ips":["192.0.2.13"]"#);
    let both = several(&[bare.clone(), on("a", "net2", r#""ips":["192.0.2.14"]"#)]);
    for plugged in [&[][..], &[("default/static", "net1")]] {
        assert_eq!(
            case.edit(&several(std::slice::from_ref(&bare)), plugged, &both),
            Findings::default()
        );
    }
}

#[test]
fn another_new_field_does_not_judge_old_ips_again() {
    let before = one("static", r#""ips":["192.0.2.13"]"#);
    let after = one("static", r#""ips":["192.0.2.13"],"mac":"02:00:5e:00:53:aa""#);
    assert_eq!(Case::default().edit(&before, &[], &after), Findings::default());
}

#[test]
fn warns_of_the_same_ip_twice_on_a_network() {
    let case = Case::default();
    let first = on("a", "net1", r#""ips":["192.0.2.13/24","2001:db8::13"]"#);
    let second = on("a", "net2", r#""ips":["192.0.2.14/24","2001:DB8:0::13/64"]"#);
    let both = several(&[first.clone(), second.clone()]);
    let warning = "element 1 (default/a): the ip 2001:DB8:0::13/64 is asked for twice on this network, first by element 0";
    let expected = Findings {
        warnings: warnings(&[warning]),
        ..Findings::default()
    };
    assert_eq!(case.create(&both), expected);
    assert_eq!(
        case.edit(&several(std::slice::from_ref(&first)), &[], &both),
        expected
    );
    // The element that was there before may be the second one.
    assert_eq!(case.edit(&several(&[second]), &[], &both), expected);
    assert_eq!(case.edit(&both, &[], &both), Findings::default());
    let elsewhere = several(&[
        first.replace(r#""a""#, r#""b""#),
        on("a", "net2", r#""ips":["192.0.2.13/24"]"#),
    ]);
    assert_eq!(case.create(&elsewhere), Findings::default());
    let twice = one("a", r#""ips":["192.0.2.13/24","192.0.2.13/25","192.0.2.13"]"#);
    assert_eq!(
        *case.create(&twice).warnings,
        [
            "element 0 (default/a): the ip 192.0.2.13/25 is asked for twice on this network, first by element 0"
        ]
    );
}

#[test]
fn warns_of_the_same_mac_twice_on_a_network() {
    let case = Case::default();
    let first = on("a", "net1", r#""mac":"02:00:5e:00:53:aa""#);
    let second = on("a", "net2", r#""mac":"02-00-5E-00-53-AA""#);
    let both = several(&[first.clone(), second.clone()]);
    let warning = "element 1 (default/a): the mac 02-00-5E-00-53-AA is asked for twice on this network, first by element 0";
    let expected = Findings {
        warnings: warnings(&[warning]),
        ..Findings::default()
    };
    assert_eq!(case.create(&both), expected);
    assert_eq!(
        case.edit(&several(std::slice::from_ref(&first)), &[], &both),
        expected
    );
    assert_eq!(case.edit(&both, &[], &both), Findings::default());
    let elsewhere = several(&[first, second.replace(r#""a""#, r#""b""#)]);
    assert_eq!(case.create(&elsewhere), Findings::default());
}

#[test]
fn nothing_is_said_about_addresses_on_a_forbidden_network() {
    let mac = r#""namespace":"other","mac":"02:00:5e:00:53:aa","ips":["192.0.2.13"]"#;
    let both = several(&[on("a", "net1", mac), on("a", "net2", mac)]);
    let findings = isolated().create(&both);
    assert_eq!(rules(&findings), [Rule::NamespaceIsolation; 2]);
    assert_eq!(findings.warnings, Warnings::default());
}

#[test]
fn warns_of_a_second_default_route_on_running_pods() {
    let case = Case::default();
    let warning =
        "element 0 (default/uplink): it brings a default route, beside the one that the running pod has";
    assert_eq!(*case.edit("", &[], "uplink@net1").warnings, [warning]);
    assert_eq!(case.create("uplink@net1"), Findings::default());
    assert_eq!(
        case.edit("uplink@net1", &[], "uplink@net1,a@net2"),
        Findings::default()
    );
}

#[rstest]
#[case(
    r#""interfce":"net1""#,
    "multus does not know the key \"interfce\" and ignores it; did you mean \"interface\"?"
)]
#[case(
    r#""vlan":5,"Vlan":6,"x":7"#,
    "multus does not know the key \"vlan\" and ignores it (and 2 more keys)"
)]
#[case(
    r#""vlan":5,"ip":[]"#,
    "multus does not know the key \"vlan\" and ignores it (and 1 more key)"
)]
fn an_unknown_key_is_a_warning(#[case] fields: &str, #[case] words: &str) {
    let annotation = format!(r#"[{{"name":"a",{fields}}}]"#);
    let case = Case::default();
    let expected = [format!("element 0 (default/a): {words}")];
    assert_eq!(*case.create(&annotation).warnings, expected);
    assert_eq!(
        *case
            .edit(r#"[{"name":"a"}]"#, &[("default/a", "net1")], &annotation)
            .warnings,
        expected
    );
    assert_eq!(case.edit(&annotation, &[], &annotation), Findings::default());
    assert_eq!(case.create(&annotation).violations, []);
}

#[test]
fn keys_with_a_period_are_no_matter() {
    let annotation = r#"[{"name":"a","example.com/vlan":5,"v1.2":{"name":"b"}}]"#;
    assert_eq!(Case::default().create(annotation), Findings::default());
}
