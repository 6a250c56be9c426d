//! NetworkAttachmentDefinitions: a config that cannot run is refused where rules are enforced, when
//! it is created and when its spec changes. Other updates pass whatever the config is: other
//! controllers write annotations. A capability that an edit drops and a deletion while pods use it
//! are warnings.

use shared::{
    cni::{Capabilities, Capability, NetworkConfig, Severity, check},
    names::NetworkName,
    validate::{Findings, Warnings},
    violation::{Rule, Violation, shortened},
};

use super::{
    Admission, Answer, Decision, Target, Verdict,
    check::MAX_NAME,
    review::{self, About, Named, Request, Unreadable},
};
use crate::cluster::networks::NetworkAttachmentDefinition;

/// As the API server names it.
const KIND: &str = "NetworkAttachmentDefinition";

impl Named for NetworkAttachmentDefinition {
    fn generate_name(&self) -> Option<&str> {
        self.metadata.generate_name.as_deref()
    }
}

impl Admission {
    pub(super) async fn network(&self, body: &[u8]) -> Result<(About, Decision), Unreadable> {
        let request: Request<'_, NetworkAttachmentDefinition> = review::read(body)?;
        let decision = match (&request.object, request.old_object.as_ref()) {
            (Some(new), old) if old.is_none_or(|old| old.spec != new.spec) => {
                self.judge_network(&request, new, old)
            }
            (None, Some(_)) => self.judge_deletion(&request).await,
            _ => Decision::of(Verdict::Allowed, Answer::allowed(&request.uid)),
        };
        Ok((request.about(), decision))
    }

    fn judge_network(
        &self,
        request: &Request<'_, NetworkAttachmentDefinition>,
        new: &NetworkAttachmentDefinition,
        old: Option<&NetworkAttachmentDefinition>,
    ) -> Decision {
        let name = shortened(&request.display_name(), MAX_NAME);
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let target = Target {
            kind: KIND,
            place: format!("{KIND} {}/{name}: spec.config", shortened(namespace, MAX_NAME)),
            name,
            field: "spec.config".to_owned(),
        };
        self.decide(&request.uid, target, judge(new, old), namespace)
    }

    /// Warns how many pods use a network that is deleted. Never refuses: attached interfaces stay.
    async fn judge_deletion(&self, request: &Request<'_, NetworkAttachmentDefinition>) -> Decision {
        let mut answer = Answer::allowed(&request.uid);
        let name = NetworkName::new(
            request.namespace.as_deref().unwrap_or_default(),
            request.name.as_deref().unwrap_or_default(),
        );
        if let (Ok(name), Some(client)) = (name, &self.client)
            && let Some(pods) = self.usage.of(&name, client).await
        {
            let mut warnings = Warnings::default();
            warnings.push(&format!(
                "at least {pods} of the pods in namespace {} use {}: they keep their interfaces, but no new pod, \
                 and no new sandbox of theirs, starts with this network",
                shortened(name.namespace(), MAX_NAME),
                shortened(name.name(), 80),
            ));
            answer.warnings = warnings.into_texts();
        }
        Decision::of(Verdict::Allowed, answer)
    }
}

/// The findings about a definition that would be stored.
fn judge(new: &NetworkAttachmentDefinition, old: Option<&NetworkAttachmentDefinition>) -> Findings {
    let mut findings = Findings::default();
    let Some(text) = new.config() else {
        findings.warnings.push(
            "spec.config is empty: multus reads the config from a CNI file of this name on each node; \
             a config in another place of the object is ignored",
        );
        return findings;
    };
    let report = check(text, new.metadata.name.as_deref().unwrap_or_default());
    for problem in &report.problems {
        match problem.severity {
            Severity::CannotRun => findings.violations.push(Violation::of_list(
                Rule::NetworkConfig,
                format!("the config cannot run: {problem}"),
            )),
            Severity::Warning => findings.warnings.push(&problem.to_string()),
        }
    }
    if let Ok(config) = report.runnable() {
        warn_of_dropped(config.capabilities(), old, &mut findings.warnings);
    }
    findings
}

/// Pods that use a capability that is no longer declared do not get it.
fn warn_of_dropped(
    declared: Capabilities,
    old: Option<&NetworkAttachmentDefinition>,
    warnings: &mut Warnings,
) {
    let before = old.and_then(NetworkAttachmentDefinition::config);
    let Some(before) = before.and_then(|text| NetworkConfig::parse(text, "").ok()) else {
        return;
    };
    let before = before.capabilities();
    let dropped = |capability: &Capability| before.contains(*capability) && !declared.contains(*capability);
    for capability in Capability::ALL.into_iter().filter(dropped) {
        warnings.push(&format!(
            "the capability {} is not declared any more: the next pod that asks for it does not get it",
            capability.name()
        ));
    }
}

#[cfg(test)]
mod tests;
