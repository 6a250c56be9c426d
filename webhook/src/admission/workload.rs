//! Checks the pod template when a workload is applied: refusals that its pods would meet later
//! become warnings now. Never refuses: another controller may complete the template.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use shared::{
    annotations::NETWORKS,
    validate::Warnings,
    violation::{Rule, shown},
};

use super::{
    Admission, Answer, Decision, Verdict, check, placement,
    review::{self, About, Change, Named, Pod, Request, Unreadable, objects},
};

/// Misspelt keys that are warned about.
const MAX_NEAR_MISSES: usize = 4;

/// The fields of a workload that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Workload<'a> {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default, deserialize_with = "objects::optional")]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "objects::optional")]
    spec: Option<Spec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    generate_name: Option<String>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

/// The annotations that list networks, or seem to be meant to.
#[derive(Debug, Default)]
struct Annotations {
    networks: Option<String>,
    near_misses: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Spec<'a> {
    #[serde(default, borrow)]
    template: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "objects::optional")]
    job_template: Option<JobTemplate<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct JobTemplate<'a> {
    #[serde(default, deserialize_with = "objects::optional")]
    spec: Option<JobSpec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct JobSpec<'a> {
    #[serde(default, borrow)]
    template: Option<&'a RawValue>,
}

struct Template {
    /// Its path in the workload.
    path: &'static str,
    pod: Pod,
    annotations: Annotations,
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut read = Annotations::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key == NETWORKS {
                        read.networks = map.next_value()?;
                        continue;
                    }
                    map.next_value::<IgnoredAny>()?;
                    if read.near_misses.len() < MAX_NEAR_MISSES && placement::is_near_miss(&key) {
                        read.near_misses.push(key.into_owned());
                    }
                }
                Ok(read)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

impl Named for Workload<'_> {
    fn generate_name(&self) -> Option<&str> {
        self.metadata.as_ref()?.generate_name.as_deref()
    }
}

impl Workload<'_> {
    /// Its pod template; `None` without one, or when it cannot be read.
    fn template(&self) -> Option<Template> {
        #[derive(Default, Deserialize)]
        struct Annotated {
            #[serde(default)]
            metadata: Option<Metadata>,
        }
        let spec = self.spec.as_ref()?;
        let of_job = || {
            let job = spec.job_template.as_ref()?.spec.as_ref()?;
            Some(("spec.jobTemplate.spec.template", job.template?))
        };
        let direct = spec.template.map(|template| ("spec.template", template));
        let (path, template) = direct.or_else(of_job)?;
        let annotated: Annotated = serde_json::from_str(template.get()).ok()?;
        Some(Template {
            path,
            pod: serde_json::from_str(template.get()).ok()?,
            annotations: annotated
                .metadata
                .and_then(|metadata| metadata.annotations)
                .unwrap_or_default(),
        })
    }

    /// The networks annotation of the workload itself, which has no effect.
    fn own_networks(&self) -> Option<&str> {
        let annotations = self.metadata.as_ref()?.annotations.as_ref()?;
        annotations.networks.as_deref().filter(|text| !text.is_empty())
    }
}

impl Admission {
    pub(super) async fn workload(&self, body: &[u8]) -> Result<(About, Decision), Unreadable> {
        let request: Request<'_, Workload<'_>> = review::read(body)?;
        let decision = self.judge_workload(&request).await;
        Ok((request.about(), decision))
    }

    async fn judge_workload(&self, request: &Request<'_, Workload<'_>>) -> Decision {
        let mut answer = Answer::allowed(&request.uid);
        let (Some(workload), Some(namespace)) = (&request.object, request.namespace.as_deref()) else {
            return Decision::of(Verdict::Allowed, answer);
        };
        let Some(template) = workload.template() else {
            return Decision::of(Verdict::Allowed, answer);
        };
        let old = request.old_object.as_ref();
        let old_template = old.and_then(Workload::template);
        let mut warnings = Warnings::default();
        warn_of_places(workload, &template, old, old_template.as_ref(), &mut warnings);
        let before = old_template.as_ref().and_then(|old| old.pod.networks());
        let rules = match template.pod.networks() {
            Some(annotation) if before != Some(annotation) => {
                self.judge_template(&template, annotation, namespace, &mut warnings)
                    .await
            }
            _ => Vec::new(),
        };
        answer.warnings = warnings.into_texts();
        answer.audit_rules(&rules);
        let verdict = if rules.is_empty() {
            Verdict::Allowed
        } else {
            Verdict::Warned
        };
        Decision {
            answer,
            verdict,
            rules,
        }
    }

    /// Warns about a pod of the template; returns the rules that it would break.
    async fn judge_template(
        &self,
        template: &Template,
        annotation: &str,
        namespace: &str,
        warnings: &mut Warnings,
    ) -> Vec<Rule> {
        let findings = self
            .judge(&Change {
                namespace,
                annotation,
                pod: &template.pod,
                old: None,
            })
            .await;
        let rules = check::broken_rules(&findings);
        let path = template.path;
        for text in findings.violations.texts() {
            warnings.push(&format!("{path}: its pods will be refused: {text}"));
        }
        for text in findings.warnings.into_texts() {
            warnings.push(&format!("{path}: {text}"));
        }
        rules
    }
}

/// Warns about annotations in places without effect, once: when they are written.
fn warn_of_places(
    workload: &Workload<'_>,
    template: &Template,
    old: Option<&Workload<'_>>,
    old_template: Option<&Template>,
    warnings: &mut Warnings,
) {
    let own = workload.own_networks();
    if let Some(own) = own.filter(|_| own != old.and_then(Workload::own_networks)) {
        let owner = format!("the {}", shown(workload.kind.as_deref().unwrap_or("workload")));
        let said = placement::misplaced(&owner, own, template.path, template.pod.networks());
        said.iter().for_each(|text| warnings.push(text));
    }
    let known = old_template.map(|old| &old.annotations.near_misses);
    for key in &template.annotations.near_misses {
        if known.is_none_or(|known| !known.contains(key)) {
            warnings.push(&format!("{}: {}", template.path, placement::near_miss(key, "")));
        }
    }
}

#[cfg(test)]
mod tests;
