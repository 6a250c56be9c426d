//! What pipelines ask for: formats, strictness, and edits of stored pods.

use super::*;

fn written(output: Output, text: &str) -> String {
    let reports = judge(&sources(&[("a b,c/f.yaml", text)]), &[], &settings(None));
    let mut out = Vec::new();
    output::write(output, &reports, worst(&reports, false), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn as_json(output: Output, text: &str) -> Value {
    serde_json::from_str(&written(output, text)).unwrap()
}

#[test]
fn json_has_everything() {
    let found = as_json(Output::Json, &format!("{}---\n{}", a_pod("a"), a_pod("a@eth0")));

    assert_eq!(found["outcome"], "refused");
    let [filled, refused] = [&found["reports"][0], &found["reports"][1]];
    assert_eq!(filled["object"], "Pod default/p");
    assert_eq!(
        (&filled["line"], &filled["column"]),
        (&Value::from(6), &Value::from(34))
    );
    assert_eq!(filled["filled"], "a@net1");
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(refused["findings"][0]["rule"], "interface-reserved");
    assert_eq!(refused["findings"][0]["level"], "error");
    assert_eq!(refused["findings"][0]["line"], 14);
}

#[test]
fn sarif_names_rule_and_place() {
    let found = as_json(
        Output::Sarif,
        &format!("{}---\n{}---\na: [", a_pod("a@eth0"), a_pod("[1]")),
    );

    let run = &found["runs"][0];
    let ids: Vec<&Value> = run["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["ruleId"])
        .collect();
    assert_eq!(ids, ["lint", "interface-reserved", "lint"]);
    let result = &run["results"][1];
    assert_eq!(result["level"], "error");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "a%20b%2Cc/f.yaml");
    assert_eq!(place["region"]["startLine"], 6);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for id in ids {
        assert!(rules.iter().any(|rule| &rule["id"] == id), "{id}");
    }
}

#[test]
fn github_gets_one_command_for_each_finding() {
    let bad = a_pod("'[{\"name\":\"a\",\"interface\":\"100%\"}]'");
    let out = written(Output::Github, &format!("{}---\n{bad}", a_pod("a@net1")));

    assert!(
        out.starts_with(
            "::error file=a b%2Cc/f.yaml,line=14,col=36,title=Pod default/p%3A refused::element 0 "
        ),
        "{out}"
    );
    assert!(out.contains("100%25"), "{out}");
    assert_eq!(out.lines().count(), 1, "{out}");
}

#[test]
fn a_note_is_a_note_in_every_format() {
    let network = NETWORK.replace("spec:", "other:");
    let network = network.split("other:").next().unwrap();

    let out = written(Output::Github, network);
    assert!(out.starts_with("::notice file="), "{out}");
    let found = as_json(Output::Sarif, network);
    assert_eq!(found["runs"][0]["results"][0]["level"], "note");
    let reports = judge(&sources(&[("f", network)]), &[], &settings(None));
    assert_eq!(worst(&reports, true), Outcome::Admitted);
}

#[test]
fn strict_refuses_what_is_warned_of() {
    let text = format!("{NETWORK}---\n{}", a_pod("b@net1"));
    let reports = judge(&sources(&[("f", &text)]), &[], &settings(None));

    assert_eq!(worst(&reports, false), Outcome::Admitted);
    assert_eq!(worst(&reports, true), Outcome::Refused);
    assert_eq!(worst(&[], true), Outcome::Admitted);
}

#[test]
fn a_stored_pod_is_updated() {
    let status = r#"k8s.v1.cni.cncf.io/network-status: '[{"name":"x","interface":"eth0","default":true},{"name":"default/a","interface":"net1","ips":["192.0.2.1"]}]'"#;
    let stored = format!(
        "{}\n---\nkind: Deployment\nmetadata: {{ name: p }}\n",
        a_pod("a@net1")
            .replace("annotations:\n", &format!("annotations:\n    {status}\n"))
            .replace(
                "spec: {}",
                "spec: { nodeName: worker }\nstatus: { phase: Running }"
            )
    );
    let after = |text: &str| {
        let reports = judge(
            &sources(&[("f", text)]),
            &sources(&[("old", &stored)]),
            &settings(None),
        );
        printed(&reports)
    };
    let with_route = a_pod(
        r#"'[{"name":"a","interface":"net1"},{"name":"b","interface":"net2","default-route":["192.0.2.1"]}]'"#,
    );
    let (outcome, out) = after(&with_route);
    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(out.contains("[rule default-route-update]"), "{out}");
    assert_eq!(lint_text(&with_route).0, Outcome::Admitted);

    let (_, out) = after(&a_pod("a@net1"));
    assert!(out.contains("ok, no networks, or the same as before\n"), "{out}");
    // Another pod is created.
    let (outcome, out) = after(&with_route.replace("name: p", "name: q"));
    assert_eq!(outcome, Outcome::Admitted, "{out}");
}

#[test]
fn objects_without_a_namespace_are_of_the_given_one() {
    let given = Settings {
        namespace: "prod".to_owned(),
        ..settings(None)
    };
    let (_, out) = lint_files(&[("f", &format!("{NETWORK}---\n{}", a_pod("a")))], &given);

    assert!(
        out.contains("NetworkAttachmentDefinition prod/a: ok\n") && out.contains("Pod prod/p: ok"),
        "{out}"
    );
    assert!(!out.contains("warning"), "{out}");
}

#[test]
fn an_annotation_that_is_not_json_has_its_place() {
    let block = "|\n      [ { \"name\": \"a\",\n          # none\n      } ]";
    let (outcome, out) = lint_text(&a_pod(block));

    assert_eq!(outcome, Outcome::Refused, "{out}");
    assert!(
        out.contains("  error at 8:11: value ") && !out.contains(" at line "),
        "{out}"
    );
}
