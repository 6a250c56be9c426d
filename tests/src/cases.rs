//! The files of `tests/cases/`: networks and a pod as a user has them, made in a test's namespace.

use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{
    ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    error::{Doing, Error, Result},
    install::documents,
    nads::nads,
    namespace::{Namespace, RUN, object},
    network::Nad,
    pod::Pod,
    repository,
};

/// What a file made.
pub struct Case {
    /// Its pod, which need not run yet.
    pub pod: Pod,
    /// Its network.
    pub nad: Nad,
}

impl Namespace {
    /// Makes the network and the pod of a file here, and waits until the pod runs.
    ///
    /// # Errors
    /// [`Error::Setup`] when the file has no such two, [`Error::Api`], [`Error::Deadline`].
    pub async fn case(&self, file: &str) -> Result<Case> {
        let (mut pods, mut networks) = (Vec::new(), Vec::new());
        for object in case_objects(file)? {
            match kind(&object) {
                "NetworkAttachmentDefinition" => networks.push(self.apply_nad(object).await?),
                "Pod" => pods.push(self.create_case_pod(object).await?),
                // What `lint` reads.
                _ => {}
            }
        }
        let (Some(pod), Some(nad)) = (pods.pop(), networks.pop()) else {
            return Err(Error::Setup(format!("{file} has no network and pod")));
        };
        pod.is_ready().await?;
        Ok(Case { pod, nad })
    }

    /// Applies the networks of a file, over those of the same names.
    ///
    /// # Errors
    /// [`Error::Api`].
    pub async fn apply_case(&self, file: &str) -> Result<()> {
        for object in case_objects(file)? {
            if kind(&object) == "NetworkAttachmentDefinition" {
                self.apply_nad(object).await?;
            }
        }
        Ok(())
    }

    async fn apply_nad(&self, mut object: DynamicObject) -> Result<Nad> {
        object.labels_mut().insert(RUN.to_owned(), self.run.clone());
        object.metadata.namespace = Some(self.name.clone());
        let name = object.name_any();
        let config = object.data.pointer("/spec/config").and_then(Value::as_str);
        let config: Value = crate::node::parse(config.unwrap_or_default())?;
        let subnet = config
            .pointer("/ipam/subnet")
            .or_else(|| config.pointer("/plugins/0/ipam/subnet"))
            .and_then(Value::as_str)
            .and_then(|subnet| subnet.rsplit_once('.'));
        let nad = Nad {
            namespace: self.name.clone(),
            config_name: config["name"].as_str().unwrap_or(&name).to_owned(),
            subnet: subnet.map_or_else(String::new, |(network, _)| network.to_owned()),
            name,
        };
        let params = PatchParams::apply("tests").force();
        nads(&self.cluster, &self.name)
            .patch(&nad.name, &params, &Patch::Apply(&object))
            .await
            .doing(format!("apply NAD {}", nad.name))?;
        Ok(nad)
    }

    async fn create_case_pod(&self, object: DynamicObject) -> Result<Pod> {
        let mut pod: ApiPod = self::object(json!(object))?;
        pod.labels_mut().insert(RUN.to_owned(), self.run.clone());
        let made = self.pods().create(&PostParams::default(), &pod).await;
        Ok(Pod::new(
            self,
            &made.doing(format!("create pod {}", pod.name_any()))?,
        ))
    }
}

fn case_objects(file: &str) -> Result<Vec<DynamicObject>> {
    documents(&repository::read(format!("tests/cases/{file}"))?)
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}
