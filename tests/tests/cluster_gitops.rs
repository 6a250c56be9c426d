//! Files without interface names, applied again and again: names that the webhook fills in are no
//! difference.

use tests::{Error, Result, Said, in_namespace, macvlan};

const FILE: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: p
  annotations: { k8s.v1.cni.cncf.io/networks: blue }
spec:
  schedulingGates: [{ name: tests.invalid/never }]
  containers:
    - { name: c, image: docker.io/library/busybox, imagePullPolicy: IfNotPresent, command: [sleep, infinity] }
";

#[tokio::test]
async fn filled_names_are_no_difference_to_the_file() -> Result<()> {
    in_namespace("gitops", async |ns| {
        ns.create_nad("blue", macvlan().host_local()).await?;
        let kubectl = async |verb: &[&str]| {
            let arguments = [verb, &["--namespace", &ns.name, "--filename", "-"]].concat();
            ns.cluster.kubectl_given(&arguments, FILE).await
        };
        succeeded(kubectl(&["apply"]).await?)?;
        let difference = kubectl(&["diff"]).await?;
        assert!(difference.ok && difference.out.is_empty(), "{difference:?}");
        let stored = ["get", "pod", "p", "--namespace", &ns.name, "--output"];
        let networks = r"jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/networks}";
        let networks = ns.cluster.kubectl(&[&stored[..], &[networks]].concat()).await?;
        assert_eq!(networks.trim(), "blue@net1");

        // Another field manager is a change, once. Nothing else writes to a pod that is not
        // scheduled.
        let server_side = [
            "apply",
            "--server-side",
            "--field-manager=git",
            "--force-conflicts",
        ];
        let mut written = Vec::new();
        for _ in 0..2 {
            succeeded(kubectl(&server_side).await?)?;
            let version = [&stored[..], &["jsonpath={.metadata.resourceVersion}"]].concat();
            written.push(ns.cluster.kubectl(&version).await?);
        }
        assert_eq!(written[0], written[1]);
        Ok(())
    })
    .await
}

fn succeeded(said: Said) -> Result<()> {
    said.ok.then_some(()).ok_or(Error::Unexpected(said.err))
}
