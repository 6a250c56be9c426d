//! Pod templates of workloads, when a workload is applied: what would be refused of their pods later is
//! said at once, as warnings. Never refuses: another controller may complete the template.

use serde::Deserialize;
use shared::{annotations, validate::Warnings, violation::Violation};

use super::{
    Admission, Answer, Decision, Verdict, check,
    review::{self, About, Change, Named, Pod, Request, Unreadable, objects},
};

/// What is read of a workload.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Workload {
    #[serde(default, deserialize_with = "objects::optional")]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "objects::optional")]
    spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    generate_name: Option<String>,
    #[serde(default, deserialize_with = "objects::optional")]
    annotations: Option<Annotations>,
}

#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "k8s.v1.cni.cncf.io/networks")]
    networks: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "objects::optional")]
    template: Option<Pod>,
    #[serde(default, deserialize_with = "objects::optional")]
    job_template: Option<JobTemplate>,
}

#[derive(Debug, Default, Deserialize)]
struct JobTemplate {
    #[serde(default, deserialize_with = "objects::optional")]
    spec: Option<JobSpec>,
}

#[derive(Debug, Default, Deserialize)]
struct JobSpec {
    #[serde(default, deserialize_with = "objects::optional")]
    template: Option<Pod>,
}

impl Named for Workload {
    fn generate_name(&self) -> Option<&str> {
        self.metadata.as_ref()?.generate_name.as_deref()
    }
}

impl Workload {
    /// Its pod template and where that is.
    fn template(&self) -> Option<(&'static str, &Pod)> {
        let spec = self.spec.as_ref()?;
        let direct = spec.template.as_ref().map(|pod| ("spec.template", pod));
        direct.or_else(|| {
            let job = spec.job_template.as_ref()?.spec.as_ref()?;
            Some(("spec.jobTemplate.spec.template", job.template.as_ref()?))
        })
    }

    /// The networks annotation of the workload itself, which has no effect.
    fn misplaced(&self) -> Option<&str> {
        let annotations = self.metadata.as_ref()?.annotations.as_ref()?;
        annotations.networks.as_deref().filter(|text| !text.is_empty())
    }
}

impl Admission {
    pub(super) async fn workload(&self, body: &[u8]) -> Result<(About, Decision), Unreadable> {
        let request: Request<'_, Workload> = review::read(body)?;
        let decision = self.judge_workload(&request).await;
        Ok((request.about(), decision))
    }

    async fn judge_workload(&self, request: &Request<'_, Workload>) -> Decision {
        let mut answer = Answer::allowed(&request.uid);
        let (Some(workload), Some(namespace)) = (&request.object, request.namespace.as_deref()) else {
            return Decision::of(Verdict::Allowed, answer);
        };
        let old = request.old_object.as_ref();
        let mut warnings = Warnings::default();
        if workload.misplaced() != old.and_then(Workload::misplaced)
            && workload.misplaced().is_some()
            && let Some((place, _)) = workload.template()
        {
            warnings.push(&format!(
                "metadata.annotations[{key}] of the workload has no effect; write it into {place}.metadata.annotations",
                key = annotations::NETWORKS
            ));
        }
        let mut rules = Vec::new();
        if let Some((place, change)) = changed_template(workload, old, namespace) {
            let findings = self.judge(&change).await;
            rules = check::broken_rules(&findings);
            let unlisted = findings.violations.unlisted();
            let more = (unlisted > 0).then(|| format!("and {unlisted} more violations"));
            let refused = findings.violations.iter().map(Violation::to_string).chain(more);
            for text in refused {
                warnings.push(&format!("{place}: its pods will be refused: {text}"));
            }
            for text in findings.warnings.into_texts() {
                warnings.push(&format!("{place}: {text}"));
            }
        }
        answer.warnings = warnings.into_texts();
        if rules.is_empty() {
            return Decision::of(Verdict::Allowed, answer);
        }
        answer.audit_rules(&rules);
        Decision {
            answer,
            verdict: Verdict::Warned,
            rules,
        }
    }
}

/// The change that creates a pod of the template, if this request changes the template's networks.
fn changed_template<'a>(
    workload: &'a Workload,
    old: Option<&'a Workload>,
    namespace: &'a str,
) -> Option<(&'static str, Change<'a>)> {
    let (place, pod) = workload.template()?;
    let annotation = pod.networks()?;
    let before = old.and_then(|old| old.template()?.1.networks());
    (before != Some(annotation)).then_some((
        place,
        Change {
            namespace,
            annotation,
            pod,
            old: None,
        },
    ))
}

#[cfg(test)]
mod tests;
