//! The checker on a real node: silent where all is well, and not about any of what is planted
//! there.

use std::collections::BTreeSet;

use serde_json::json;
use shared::annotations::NETWORK_STATUS;
use tests::{Breach, Error, Nad, Namespace, Node, Pod, Result, Scene, breaches, in_namespace, macvlan};

/// What is looked at: `p` with `cold` and `net1`, from which `net2` was removed, and the sandbox of
/// a pod that is gone.
struct Watched<'a> {
    node: &'a Node,
    pod: Pod,
    sandbox: String,
    ended: String,
    blue: Nad,
}

#[tokio::test]
async fn finds_each_of_what_is_planted_on_the_node() -> Result<()> {
    in_namespace("checker", async |ns| {
        let watched = Watched::begin(ns).await?;
        watched.finds_leases().await?;
        watched.finds_a_stray_link().await?;
        watched.finds_a_wrong_status(ns).await?;
        watched.finds_a_missing_del().await?;
        watched.finds_a_missing_record().await?;
        watched.finds_stale_files().await?;
        watched.is_at_rest(ns).await?;
        watched.finds_a_link_that_was_lost().await
    })
    .await
}

impl<'a> Watched<'a> {
    async fn begin(ns: &'a Namespace) -> Result<Self> {
        let blue = ns.create_nad("blue", macvlan().host_local().recorded()).await?;
        let (pod, gone) = futures::try_join!(
            ns.running_pod("p", "blue@cold"),
            ns.running_pod("gone", "blue@cold")
        )?;
        let ended = gone.sandbox().await?.id.clone();
        gone.annotate("blue@cold,blue@net1").await?;
        gone.has_exactly(&["cold", "net1"]).await?;
        gone.delete().await?;
        pod.annotate("blue@cold,blue@net1,blue@net2").await?;
        pod.has_exactly(&["cold", "net1", "net2"]).await?;
        pod.annotate("blue@cold,blue@net1").await?;
        let watched = Self {
            node: &ns.cluster.node,
            sandbox: pod.sandbox().await?.id.clone(),
            pod,
            ended,
            blue,
        };
        watched.is_at_rest(ns).await?;
        Ok(watched)
    }

    async fn is_at_rest(&self, ns: &Namespace) -> Result<()> {
        let ended = [self.ended.clone()];
        ns.is_at_rest(&[(&self.pod, &["cold", "net1"])], &ended, &[&self.blue])
            .await
    }

    async fn finds<const N: usize>(&self, expected: [Breach; N]) -> Result<()> {
        let (pods, ended) = ([(&self.pod, &["cold", "net1"][..])], [self.ended.clone()]);
        let scene = Scene::gather(self.node, &pods, &ended, &[&self.blue]).await?;
        assert_eq!(breaches(&scene), BTreeSet::from(expected));
        Ok(())
    }

    async fn finds_leases(&self) -> Result<()> {
        for sandbox in [&self.sandbox, &self.ended] {
            let address = self.blue.address(99);
            let path = format!("/var/lib/cni/networks/{}/{address}", self.blue.config_name);
            self.node.write(&path, &format!("{sandbox}\r\nnet9")).await?;
            self.finds([Breach::LeakedLease(sandbox.clone(), address)])
                .await?;
            self.node.run(&["rm", &path]).await?;
        }
        Ok(())
    }

    async fn finds_a_stray_link(&self) -> Result<()> {
        self.links(&["add", "stray", "type", "bridge"]).await?;
        self.finds([
            Breach::NotWanted("p".into(), "stray".into()),
            Breach::RecordDiffers("p".into(), "stray".into()),
            Breach::StatusDiffers("p".into(), "stray".into()),
        ])
        .await?;
        self.links(&["del", "stray"]).await
    }

    /// An entry of multus' own writing: the agent would put one of its own right.
    async fn finds_a_wrong_status(&self, ns: &Namespace) -> Result<()> {
        let object = self.pod.object().await?;
        let annotations = object.metadata.annotations.unwrap_or_default();
        let right = annotations.get(NETWORK_STATUS).cloned().unwrap_or_default();
        let cold = self.pod.interface("cold").await?;
        let wrong = right.replace(&cold.mac, "02:00:00:00:00:66");
        assert_ne!(wrong, right);
        self.pod.set(NETWORK_STATUS, json!(wrong)).await?;
        self.finds([Breach::StatusDiffers("p".into(), "cold".into())])
            .await?;
        self.pod.set(NETWORK_STATUS, json!(right)).await?;
        self.is_at_rest(ns).await
    }

    async fn finds_a_missing_del(&self) -> Result<()> {
        let calls = format!("/var/lib/cni/recorder/calls/{}", self.sandbox);
        let hide = "mkdir \"$1/hidden\" && mv \"$1\"/*-DEL-* \"$1/hidden\"";
        self.node.run(&["sh", "-c", hide, "sh", &calls]).await?;
        self.finds([Breach::MissingDel(self.sandbox.clone(), "net2".into())])
            .await?;
        let show = "mv \"$1\"/hidden/* \"$1\" && rmdir \"$1/hidden\"";
        self.node.run(&["sh", "-c", show, "sh", &calls]).await.map(drop)
    }

    async fn finds_a_missing_record(&self) -> Result<()> {
        let record = format!("/var/lib/dynamic-networks/{}/net1", self.sandbox);
        let hidden = format!("/run/hidden-{}", self.sandbox);
        self.node.run(&["mv", &record, &hidden]).await?;
        self.finds([Breach::RecordDiffers("p".into(), "net1".into())])
            .await?;
        self.node.run(&["mv", &hidden, &record]).await.map(drop)
    }

    async fn finds_stale_files(&self) -> Result<()> {
        for (sandbox, named) in [(&self.sandbox, "p"), (&self.ended, self.ended.as_str())] {
            let entry = format!("{}-{sandbox}-net9", self.blue.config_name);
            let path = format!("/var/lib/cni/multus/results/{entry}");
            self.node.write(&path, "{}").await?;
            self.finds([Breach::LeakedCacheEntry(named.to_owned(), entry)])
                .await?;
            self.node.run(&["rm", &path]).await?;
        }
        let directory = format!("/var/lib/dynamic-networks/{}", self.ended);
        self.node.run(&["mkdir", &directory]).await?;
        self.node.write(&format!("{directory}/net1"), "{}").await?;
        self.finds([Breach::LeakedRecord(self.ended.clone(), "net1".into())])
            .await?;
        self.node.run(&["rm", "-r", &directory]).await.map(drop)
    }

    async fn finds_a_link_that_was_lost(&self) -> Result<()> {
        self.links(&["del", "net1"]).await?;
        let about = |breach: fn(String, String) -> Breach| breach("p".into(), "net1".into());
        let cached = format!("{}-{}-net1", self.blue.config_name, self.sandbox);
        let leases = self.node.leases(&self.blue.config_name).await?;
        let lease = leases
            .into_iter()
            .find(|lease| lease.sandbox == self.sandbox && lease.interface == "net1")
            .ok_or_else(|| Error::Unexpected("net1 has no lease".to_owned()))?;
        self.finds([
            about(Breach::NotPlugged),
            about(Breach::RecordDiffers),
            about(Breach::StatusDiffers),
            Breach::LeakedLease(self.sandbox.clone(), lease.address),
            Breach::LeakedCacheEntry("p".into(), cached),
            Breach::MissingDel(self.sandbox.clone(), "net1".into()),
        ])
        .await
    }

    async fn links(&self, command: &[&str]) -> Result<()> {
        let namespace = format!("--net={}", self.pod.sandbox().await?.namespace_path);
        let link = ["nsenter", &namespace, "ip", "link"];
        self.node.run(&[&link, command].concat()).await.map(drop)
    }
}
