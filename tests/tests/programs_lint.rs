//! `dynamic-networks-webhook lint` as a person or a pipeline runs it: files or standard input, and an exit status that tells.

use std::path::{Path, PathBuf};

use tests::{Error, Output, Program, Result};

const NETWORK: &str = r#"
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: { name: blue }
spec: { config: '{"cniVersion":"1.0.0","name":"blue","type":"macvlan","master":"eth1"}' }
"#;

fn pod(networks: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: {{ k8s.v1.cni.cncf.io/networks: '{networks}' }}\nspec: {{}}\n"
    )
}

fn lint() -> Result<Program> {
    Ok(Program::webhook()?.argument("lint"))
}

fn file(directory: &Path, name: &str, content: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, content).map_err(|e| Error::Unexpected(e.to_string()))?;
    Ok(path)
}

fn is(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{}", output.text);
    for word in words {
        assert!(output.text.contains(word), "{word:?} is not in: {}", output.text);
    }
}

#[tokio::test]
async fn standard_input_is_read_when_no_file_is_named() -> Result<()> {
    let good = format!("{NETWORK}---\n{}", pod("blue"));
    is(
        &lint()?.given(&good)?.run().await?,
        0,
        &[
            "NetworkAttachmentDefinition default/blue: ok",
            "filled in: blue@net1",
        ],
    );
    is(
        &lint()?.argument("-").given(&pod("blue@eth0"))?.run().await?,
        1,
        &["-:5:47: Pod default/p: refused", "[rule interface-reserved]"],
    );
    is(&lint()?.given("kind: [")?.run().await?, 2, &["unreadable"]);
    is(&lint()?.run().await?, 0, &[]);
    Ok(())
}

#[tokio::test]
async fn fix_writes_the_names_into_the_file() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    let unnamed = file(directory.path(), "pod.yaml", &pod("blue"))?;

    let fixed = lint()?.argument("--fix").argument(&unnamed).run().await?;
    is(&fixed, 0, &["interface names written into the file"]);
    let stored = std::fs::read_to_string(&unnamed).map_err(|e| Error::Unexpected(e.to_string()))?;
    assert_eq!(stored, pod("blue@net1"));
    is(
        &lint()?.flag("--cluster", "pod.yaml").run().await?,
        2,
        &["cannot be used with"],
    );
    Ok(())
}

#[tokio::test]
async fn files_are_judged_together_and_the_worst_makes_the_exit_status() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    let broken = file(
        directory.path(),
        "network.yaml",
        &NETWORK.replace(r#","type":"macvlan""#, ""),
    )?;
    let json = r#"{"kind":"Pod","metadata":{"name":"j","annotations":{"k8s.v1.cni.cncf.io/networks":"[{\"name\":\"blue\",\"interface\":\"x\"}]"}}}"#;
    let json = file(directory.path(), "pod.json", json)?;
    let good = file(directory.path(), "pod.yaml", &pod("red@net1"))?;

    is(
        &lint()?.argument(&json).argument(&good).run().await?,
        0,
        &["Pod default/j: ok", "Pod default/p: ok"],
    );
    is(
        &lint()?
            .argument(&json)
            .argument(&good)
            .argument(&broken)
            .run()
            .await?,
        1,
        &[
            "default/j: refused",
            "[rule network-config]",
            "default/p: ok",
            "default/blue: cannot run",
        ],
    );
    let absent = directory.path().join("absent.yaml");
    is(
        &lint()?.argument(&absent).run().await?,
        2,
        &["absent.yaml", "No such file"],
    );
    Ok(())
}

#[tokio::test]
async fn a_directory_is_read_and_one_bad_file_hides_no_other() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    file(directory.path(), "a.yaml", "a: [")?;
    file(directory.path(), "b.yml", &pod("blue@eth0"))?;
    file(directory.path(), "values.yaml", "replicas: 3")?;
    file(directory.path(), "notes.txt", "kind: [")?;
    let deep = directory.path().join("deep");
    std::fs::create_dir(&deep).map_err(|e| Error::Unexpected(e.to_string()))?;
    file(&deep, "c.json", r#"{"kind":"Pod","metadata":{"name":"deep"}}"#)?;

    let flat = lint()?.argument(directory.path()).run().await?;
    is(
        &flat,
        2,
        &[
            "a.yaml:1:4: unreadable",
            "b.yml:5:47: Pod default/p: refused",
            "values.yaml: documents without a kind, not judged: 1",
        ],
    );
    assert!(!flat.text.contains("notes.txt") && !flat.text.contains("deep"));
    let deep = lint()?.argument("-R").argument(directory.path()).run().await?;
    is(&deep, 2, &["Pod default/deep: ok, no networks"]);
    Ok(())
}

#[tokio::test]
async fn warnings_count_when_lint_is_strict() -> Result<()> {
    let given = format!("{NETWORK}---\n{}", pod("blu@net1"));
    is(
        &lint()?.given(&given)?.run().await?,
        0,
        &["warning at ", "did you mean default/blue?"],
    );
    let strict = lint()?.argument("--strict").given(&given)?;
    is(&strict.run().await?, 1, &["did you mean default/blue?"]);
    Ok(())
}

#[tokio::test]
async fn programs_get_the_result_in_their_formats() -> Result<()> {
    for (output, words) in [
        ("json", r#""rule": "interface-reserved""#),
        ("sarif", r#""ruleId": "interface-reserved""#),
        (
            "github",
            "::error file=-,line=5,col=48,title=Pod default/p%3A refused::",
        ),
    ] {
        let lint = lint()?.flag("--output", output).given(&pod("blue@eth0"))?;
        is(&lint.run().await?, 1, &[words]);
    }
    Ok(())
}

#[tokio::test]
async fn the_clusters_configuration_file_decides() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|e| Error::Unexpected(e.to_string()))?;
    let strict = file(directory.path(), "config.json", r#"{"interfaceNames":"reject"}"#)?;
    let wrong = file(directory.path(), "wrong.json", r#"{"interfaceNames":"perhaps"}"#)?;

    let strict = lint()?.flag("--config", strict).given(&pod("blue"))?;
    is(&strict.run().await?, 1, &["write default/blue@net1"]);
    let wrong = lint()?.flag("--config", wrong).given(&pod("blue"))?;
    is(&wrong.run().await?, 2, &["wrong.json", "perhaps"]);
    Ok(())
}

#[tokio::test]
async fn the_examples_of_the_readme_are_in_order() -> Result<()> {
    for example in ["original-setup", "interface-add", "interface-remove"] {
        let path = tests::root().join(format!("examples/{example}.yaml"));
        is(&lint()?.argument(path).run().await?, 0, &["ok"]);
    }
    Ok(())
}
