//! Status parity: our network-status entries against the network-attachment-definition-client's
//! `CreateNetworkStatuses`, for generated CNI results of every version. Only a result without
//! interfaces differs on purpose: the client has no entry for it either way.
//!
//! `RESULT_CASES=N` sets the number of cases, `RESULT_SEED=S` the first seed: a failure prints the
//! seed that replays it.

use serde_json::{Value, json};
use shared::{cni::CniResult, names::NetworkName, status};
use tests::{Error, generate, oracle};

const CASES: u64 = 20_000;

#[test]
fn status_entries_are_those_of_the_go_client() -> Result<(), Error> {
    let (cases, first) = (
        generate::number("RESULT_CASES", CASES)?,
        generate::number("RESULT_SEED", 0)?,
    );
    let results: Vec<_> = (first..first + cases).map(generate::result).collect();
    let network = NetworkName::parse("ns/net").expect("a name");
    let questions: Vec<_> = results
        .iter()
        .map(|result| json!({"network": network.to_string(), "result": result}))
        .collect();
    let answers = oracle::ask(&questions)?;
    let (mut several, mut disagreements) = (0, Vec::new());
    for ((seed, result), theirs) in (first..).zip(&results).zip(answers) {
        let ours = CniResult::parse(result).map(|result| status::entries(&network, &result));
        match ours {
            Err(_) if !theirs.error.is_empty() => {}
            Ok(ours) if theirs.error.is_empty() && same(&ours, &theirs.value()) => {
                several += u64::from(ours.len() > 1)
            }
            ours => disagreements.push(format!(
                "seed {seed}: {result}: we say {ours:?}, the client {theirs:?}"
            )),
        }
    }
    println!(
        "{cases} results; {several} with several entries; {} disagreements",
        disagreements.len()
    );
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    assert!(
        cases < CASES || several * 10 > cases,
        "too few results with several entries"
    );
    Ok(())
}

#[test]
fn an_entry_has_its_keys_in_the_clients_order() {
    let result = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "mtu": 1500, "sandbox": "/x"}],
        "ips": [{"address": "10.0.0.1/24", "interface": 0}], "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.254"}]});
    let network = NetworkName::parse("ns/net").expect("a name");
    let entries = status::entries(&network, &CniResult::parse(&result).expect("a result"));
    assert_eq!(
        serde_json::to_string(&entries).expect("JSON"),
        r#"[{"name":"ns/net","interface":"net1","ips":["10.0.0.1"],"mac":"02:00:00:00:00:01","mtu":1500,"dns":{},"gateway":["10.0.0.254"]}]"#
    );
}

/// The client's list is null when empty.
fn same(ours: &[status::StatusEntry], theirs: &Value) -> bool {
    let theirs = if theirs.is_null() { &json!([]) } else { theirs };
    serde_json::to_value(ours).is_ok_and(|ours| ours == *theirs)
}
