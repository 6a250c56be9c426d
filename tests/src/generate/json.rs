//! The JSON format, written by hand: spelling, escapes, order, duplicates and white space are what
//! is under test.

use std::fmt::Write;

use fastrand::Rng;

use super::{interface, label, once_in, pick};

/// A whole list.
pub fn list(rng: &mut Rng) -> String {
    const WHOLE: &[&str] = &[
        "[]",
        "[ ]",
        "{}",
        "[null]",
        "null",
        "\"\"",
        "\"a\"",
        "[[]]",
        "[1]",
        "[true]",
        "[\"a\"]",
        "[{}]",
        "[{},]",
        "[{}]x",
        "",
        "{\"name\":\"a\"}",
        "[{\"name\":\"a\"}",
        "[{\"name\":\"a\"}]]",
        "\u{feff}[{\"name\":\"a\"}]",
    ];
    match rng.u32(0..800) {
        0..16 => return pick(rng, WHOLE).to_owned(),
        16 => return deep(rng),
        17 => {
            return format!(
                "[{{\"name\":\"a\",\"x\":\"{}\"}}]",
                "y".repeat(rng.usize(65_000..66_000))
            );
        }
        _ => {}
    }
    let count = if once_in(rng, 400) {
        rng.usize(60..70)
    } else {
        rng.usize(1..4)
    };
    let gap = pick(rng, &["", "", "", " ", "\n  ", "\t", "\r\n"]);
    let items: Vec<String> = (0..count).map(|position| element(rng, position, gap)).collect();
    format!("{gap}[{gap}{}{gap}]{gap}", items.join(&format!("{gap},{gap}")))
}

/// Brackets to the edge of the depth limit and far beyond.
fn deep(rng: &mut Rng) -> String {
    let depth = pick(rng, &[10, 12, 13, 14, 15, 16, 17, 100, 127, 128, 9_999, 20_000]);
    format!(
        "[{{\"name\":\"a\",\"cni-args\":{{\"k\":{}1{}}}}}]",
        "[".repeat(depth),
        "]".repeat(depth)
    )
}

fn element(rng: &mut Rng, position: usize, gap: &str) -> String {
    if once_in(rng, 400) {
        return pick(rng, &["null", "1", "[]", "\"a\"", "true"]).to_owned();
    }
    let mut pairs = vec![("name", string(rng, label_or_subdomain))];
    if rng.bool() {
        pairs.push(("namespace", string(rng, |rng| label(rng).to_owned())));
    }
    if rng.bool() {
        let key = if once_in(rng, 10) {
            "interfaceRequest"
        } else {
            "interface"
        };
        pairs.push((key, string(rng, |rng| interface(rng, position))));
    }
    for (key, make) in FIELDS {
        if once_in(rng, 9) {
            let value = if once_in(rng, 40) {
                odd_value(rng).to_owned()
            } else {
                make(rng)
            };
            pairs.push((key, value));
        }
    }
    if once_in(rng, 100) {
        pairs.remove(0);
    }
    if !pairs.is_empty() && once_in(rng, 60) {
        let twice = pairs[rng.usize(0..pairs.len())].clone();
        pairs.push(twice);
    }
    if rng.bool() {
        rng.shuffle(&mut pairs);
    }
    let spelled: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("\"{}\":{gap}{value}", spelling(rng, key)))
        .collect();
    format!("{{{gap}{}{gap}}}", spelled.join(&format!("{gap},{gap}")))
}

type Make = fn(&mut Rng) -> String;

const FIELDS: &[(&str, Make)] = &[
    ("ips", ips),
    ("mac", |rng| string(rng, hardware_address)),
    ("infiniband-guid", |rng| string(rng, hardware_address)),
    ("cni-args", |rng| {
        pick(
            rng,
            &[
                "{}",
                "{\"a\":1}",
                "{\"a\":{\"b\":[1,2,\"x\"]},\"c\":null}",
                "{\"big\":12345678901}",
            ],
        )
        .to_owned()
    }),
    ("portMappings", port_mappings),
    ("bandwidth", bandwidth),
    ("default-route", |rng| {
        pick(
            rng,
            &[
                "[\"10.0.0.1\"]",
                "[]",
                "[\"fd00::1\",\"10.1.1.1\"]",
                "[\"\"]",
                "[\"x\"]",
                "[\"10.0.0.1/8\"]",
            ],
        )
        .to_owned()
    }),
    ("ipam-claim-reference", |rng| {
        string(rng, |rng| label(rng).to_owned())
    }),
    ("deviceID", |rng| {
        string(rng, |rng| pick(rng, &["0000:01:00.0", "x", ""]).to_owned())
    }),
    ("x-unknown", |rng| {
        pick(
            rng,
            &["1", "\"s\"", "{\"a\":[1]}", "null", "1e400", "9007199254740993"],
        )
        .to_owned()
    }),
];

/// A value of some type that may not be the field's.
fn odd_value(rng: &mut Rng) -> &'static str {
    pick(
        rng,
        &[
            "null",
            "1",
            "-0",
            "1.5",
            "1e3",
            "true",
            "\"\"",
            "\"a\"",
            "[]",
            "[null]",
            "[1]",
            "{}",
            "{\"a\":1}",
            "9007199254740993",
            "18446744073709551616",
            "1e400",
            "\"\\ud800\"",
            "\"\\u0000\"",
            "01",
            "nul",
            "\"\u{1}\"",
        ],
    )
}

fn label_or_subdomain(rng: &mut Rng) -> String {
    match rng.u8(0..40) {
        0 => "a.b.c".to_owned(),
        1 => "a".repeat(rng.usize(250..256)),
        2 => "a..b".to_owned(),
        _ => label(rng).to_owned(),
    }
}

/// A JSON string; now and then with escapes that mean the same.
fn string(rng: &mut Rng, make: impl Fn(&mut Rng) -> String) -> String {
    let value = make(rng);
    let escaped = once_in(rng, 12);
    let mut text = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if u32::from(c) < 0x20 || (escaped && rng.bool() && u32::from(c) < 0x1_0000) => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A key as it should be, seldom in another case, with Unicode's look-alikes or escaped.
fn spelling(rng: &mut Rng, key: &str) -> String {
    match rng.u16(0..400) {
        0 => key.to_uppercase(),
        1 => key.replace('s', "\u{17f}"),
        2 => key.replace('k', "\u{212a}"),
        3 => key.replace('a', "\\u0061"),
        4 => key.replace('a', "\\u0041"),
        5 => format!("{key} "),
        _ => key.to_owned(),
    }
}

fn ips(rng: &mut Rng) -> String {
    const GOOD: &[&str] = &[
        "10.0.0.1",
        "10.0.0.1/24",
        "fd00::1",
        "fd00::1/64",
        "::ffff:1.2.3.4",
        "0.0.0.0/0",
        "::",
        "1::1.2.3.4/128",
    ];
    const BAD: &[&str] = &[
        "",
        "010.0.0.1",
        "10.0.0.256",
        "10.0.0.1/33",
        "10.0.0.1/+8",
        "10.0.0.1/08",
        "fe80::1%eth0",
        "10.0.0.1/",
        "1.2.3",
        "::1::",
        "10.0.0.1 ",
        "10.0.0.1;A=B",
        "fd00::1/129",
        "12345::",
        "1.2.3.4/24/8",
        "٠.0.0.1",
        "::ffff:1.2.3.4/96",
        "::ffff:1.2.3.4/104",
    ];
    let count = rng.usize(0..3);
    let items: Vec<String> = (0..count)
        .map(|_| {
            if once_in(rng, 12) {
                string(rng, |rng| pick(rng, BAD).to_owned())
            } else {
                string(rng, |rng| pick(rng, GOOD).to_owned())
            }
        })
        .collect();
    format!("[{}]", items.join(","))
}

fn hardware_address(rng: &mut Rng) -> String {
    const GOOD: &[&str] = &[
        "02:00:00:00:00:01",
        "02-00-00-00-00-01",
        "0200.0000.0001",
        "02:00:5e:10:00:00:00:01",
        "AA:bb:CC:dd:EE:ff",
    ];
    const BAD: &[&str] = &[
        "02:00:00:00:00",
        "02:00:00:00:00:0g",
        "2:0:0:0:0:1",
        "02:00-00:00:00:01",
        "0200.0000",
        "020000000001",
        "02:00:00:00:00:01 ",
        "00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01",
        "0000.0000.fe80.0000.0000.0000.0200.5e10.0000.0001",
        "02:00:00:00:00:001",
    ];
    if once_in(rng, 8) {
        pick(rng, BAD)
    } else {
        pick(rng, GOOD)
    }
    .to_owned()
}

fn port_mappings(rng: &mut Rng) -> String {
    pick(
        rng,
        &[
            "[]",
            "[{\"hostPort\":8080,\"containerPort\":80}]",
            "[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"udp\",\"hostIP\":\"10.0.0.1\"}]",
            "[null]",
            "[{}]",
            "[{\"hostPort\":\"80\"}]",
            "[{\"hostPort\":80.5}]",
            "[{\"HostPort\":80}]",
            "[{\"hostPort\":-1,\"containerPort\":70000}]",
            "{}",
            "[{\"hostPort\":8080,\"containerPort\":80,\"extra\":true}]",
            "[{\"hostPort\":8e1,\"containerPort\":80}]",
        ],
    )
    .to_owned()
}

fn bandwidth(rng: &mut Rng) -> String {
    pick(
        rng,
        &[
            "{}",
            "{\"ingressRate\":1000,\"ingressBurst\":1000,\"egressRate\":1000,\"egressBurst\":1000}",
            "{\"ingressRate\":1000,\"ingressBurst\":1}",
            "{\"ingressRate\":\"1\"}",
            "{\"ingressRate\":-5}",
            "{\"ingressRate\":9007199254740993}",
            "{\"INGRESSRATE\":5}",
            "[]",
            "null",
        ],
    )
    .to_owned()
}
