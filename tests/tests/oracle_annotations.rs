//! Parser parity: our reading of a networks annotation against multus' own
//! (`k8sclient.GetPodNetwork`).
//!
//! Whatever we accept, multus accepts and reads the same; whatever we refuse and multus accepts
//! breaks a rule that is a decision of this project (`Rule::is_deliberate`). Every disagreement
//! that was ever found is in [`FOUND`].
//!
//! `ANNOTATION_CASES=N` sets the number of cases, `ANNOTATION_SEED=S` the first seed: a failure
//! prints the seed that replays it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::{
    selection::{Selection, SelectionList},
    violation::{Rule, Violations},
};
use tests::{Error, generate, oracle};

const NAMESPACE: &str = "pod-ns";
const CASES: u64 = 100_000;
const BATCH: u64 = 20_000;

/// Annotations that once were read differently, or come close to it.
const FOUND: &[&str] = &[
    "[null]",
    "null",
    " null ",
    "a@b@c",
    "ns/@net9",
    "[{\"name\":\"a\",\"interface\":\"x\",\"interfaceRequest\":\"y\"}]",
    "[{\"name\":\"a\",\"interface\":\"\",\"interfaceRequest\":\"y\"}]",
    "[{\"name\":\"a\",\"interface\":null}]",
    "[{\"name\":\"a\",\"name\":\"b\"}]",
    "[{\"name\":\"a\",\"Name\":\"b\"}]",
    "[{\"name\":\"a\",\"ip\u{17f}\":[\"10.0.0.1\"]}]",
    "[{\"name\":\"a\",\"cni-args\":{\"n\":9007199254740993}}]",
    "[{\"name\":\"a\",\"mac\":\"\"}]",
    "[{\"name\":\"a\",\"ips\":[\"::ffff:1.2.3.4/96\"]}]",
];

#[test]
fn we_read_an_annotation_as_multus_does() -> Result<(), Error> {
    let (cases, first) = (
        generate::number("ANNOTATION_CASES", CASES)?,
        generate::number("ANNOTATION_SEED", 0)?,
    );
    let mut tally = Tally::default();
    tally.compare(FOUND.iter().map(|text| (*text).to_owned()).zip(0..))?;
    for batch in 0..cases.div_ceil(BATCH) {
        let start = first + batch * BATCH;
        let seeds = start..(start + BATCH).min(first + cases);
        tally.compare(seeds.map(|seed| (generate::annotation(seed), seed)))?;
        println!("{} of {cases} cases", tally.cases);
    }
    tally.report();
    assert!(
        tally.disagreements.is_empty(),
        "{}",
        tally.disagreements.join("\n")
    );
    if cases >= CASES {
        assert!(
            tally.accepted * 10 >= tally.cases * 3,
            "fewer than 30 % were accepted: the generator tests too little"
        );
        let never: Vec<_> = list_rules()
            .filter(|rule| !tally.hits.contains_key(rule))
            .map(Rule::name)
            .collect();
        assert!(never.is_empty(), "rules that no case broke: {}", never.join(", "));
    }
    Ok(())
}

/// The rules that a list can break by itself: they come first, up to the first that needs the pod's
/// surroundings.
fn list_rules() -> impl Iterator<Item = Rule> {
    Rule::ALL
        .iter()
        .copied()
        .take_while(|rule| *rule != Rule::InterfaceNameMissing)
}

#[derive(Default)]
struct Tally {
    cases: u64,
    accepted: u64,
    multus_accepted: u64,
    hits: BTreeMap<Rule, u64>,
    disagreements: Vec<String>,
}

impl Tally {
    fn compare(&mut self, cases: impl Iterator<Item = (String, u64)>) -> Result<(), Error> {
        let cases: Vec<_> = cases.collect();
        let questions: Vec<_> = cases
            .iter()
            .map(|(text, _)| json!({"namespace": NAMESPACE, "annotation": text}))
            .collect();
        let answers = oracle::ask(&questions)?;
        for ((text, seed), theirs) in cases.iter().zip(answers) {
            let ours = SelectionList::parse(Some(text), NAMESPACE);
            self.count(&ours, &theirs);
            if let Err(difference) = agree(&ours, &theirs) {
                self.disagreements
                    .push(format!("seed {seed}: {text:?}: {difference}"));
            }
        }
        Ok(())
    }

    fn count(&mut self, ours: &Result<SelectionList, Violations>, theirs: &oracle::Answer) {
        self.cases += 1;
        self.multus_accepted += u64::from(theirs.error.is_empty());
        match ours {
            Ok(_) => self.accepted += 1,
            Err(violations) => violations
                .iter()
                .for_each(|v| *self.hits.entry(v.rule).or_default() += 1),
        }
    }

    fn report(&self) {
        let share = |n: u64| n as f64 * 100.0 / self.cases as f64;
        println!(
            "{} cases; accepted by us {:.1} %, by multus {:.1} %",
            self.cases,
            share(self.accepted),
            share(self.multus_accepted)
        );
        for rule in list_rules() {
            println!("{:>8} {rule}", self.hits.get(&rule).unwrap_or(&0));
        }
    }
}

fn agree(ours: &Result<SelectionList, Violations>, theirs: &oracle::Answer) -> Result<(), String> {
    match ours {
        Ok(_) if !theirs.error.is_empty() => Err(format!("we accept it, multus says {}", theirs.error)),
        Ok(list) => {
            let ours = Value::Array(list.elements.iter().map(as_multus).collect());
            let theirs = without_absent(&theirs.value());
            if ours == theirs {
                Ok(())
            } else {
                Err(format!("we read {ours}, multus reads {theirs}"))
            }
        }
        Err(violations) if violations.is_empty() => Err("refused without a violation".to_owned()),
        Err(violations) if theirs.error.is_empty() && !violations.iter().any(|v| v.rule.is_deliberate()) => {
            Err(format!(
                "multus accepts it, we say {}, which is no rule of ours alone",
                violations[0]
            ))
        }
        Err(_) => Ok(()),
    }
}

/// Our element in the shape in which multus' type is written as JSON, absent fields left out.
fn as_multus(element: &Selection) -> Value {
    let interface = element.interface.as_ref().map(ToString::to_string);
    let asked = element.attributes();
    without_absent(&json!({
        "name": element.network.name(),
        "namespace": element.network.namespace(),
        "interface": interface,
        "ips": asked.ips,
        "mac": asked.mac,
        "infiniband-guid": asked.infiniband_guid,
        "deviceID": asked.device_id,
        "cni-args": asked.cni_args.as_ref().map(as_floats),
        "portMappings": asked.port_mappings,
        "bandwidth": asked.bandwidth,
        "default-route": asked.default_route,
    }))
}

/// multus passes the numbers of cni-args through floats.
fn as_floats(arguments: &Map<String, Value>) -> Value {
    Value::Object(
        arguments
            .iter()
            .map(|(key, value)| (key.clone(), normal(value)))
            .collect(),
    )
}

/// A number as a float; everything else as it is.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => as_floats(fields),
        other => other.clone(),
    }
}

/// Without the fields that are null or empty at the top of each element, without the deprecated
/// alias that multus has copied, numbers as floats.
fn without_absent(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_absent).collect(),
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, value)| {
                let empty = value.is_null()
                    || **value == json!("")
                    || (**value == json!([]) && *key != "default-route");
                !empty && *key != "interfaceRequest"
            });
            Value::Object(kept.map(|(key, value)| (key.clone(), normal(value))).collect())
        }
        other => other.clone(),
    }
}
