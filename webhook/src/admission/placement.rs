//! Networks annotations without effect: in the wrong place of a workload, or under a key that only
//! resembles the right one. Admission of workloads and lint say the same.

use shared::{annotations::NETWORKS, violation::shown};

/// Letters of a key that may be wrong, missing, too many or swapped.
const MAX_DISTANCE: usize = 2;
/// Prefixes of the standard, of multus' first versions and of this project, under which multus
/// reads no networks.
const OTHER_PREFIXES: [&str; 6] = [
    "cni.cncf.io",
    "k8s.cni.cncf.io",
    "kubernetes.cni.cncf.io",
    "kubernetes.v1.cni.cncf.io",
    "v1.multus-cni.io",
    "dynamic-networks.k8s.cni.cncf.io",
];

/// Whether an annotation's key seems to mean [`NETWORKS`] but is another.
pub(crate) fn is_near_miss(key: &str) -> bool {
    if key == NETWORKS || key.len().abs_diff(NETWORKS.len()) > NETWORKS.len() {
        return false;
    }
    let key = key.to_ascii_lowercase();
    let is_elsewhere = key.split_once('/').is_some_and(|(prefix, name)| {
        OTHER_PREFIXES.contains(&prefix) && matches!(name, "networks" | "network")
    });
    is_elsewhere || strsim::osa_distance(&key, NETWORKS) <= MAX_DISTANCE
}

/// What to say about a key for which [`is_near_miss`] holds. `path` leads to the template that it
/// should be in; empty where it is in the right place.
pub(crate) fn near_miss(key: &str, path: &str) -> String {
    let place = if path.is_empty() {
        String::new()
    } else {
        format!(" in {path}.metadata.annotations")
    };
    format!(
        "annotation {} has no effect; did you mean {NETWORKS}{place}?",
        shown(key)
    )
}

/// What to say about a networks annotation in the metadata of a workload, or of a part of it
/// (`owner`: `the Deployment`), of which pods get the annotations at `path`. Equal values in both
/// places are what programs write that annotate everything.
pub(crate) fn misplaced(owner: &str, own: &str, path: &str, template: Option<&str>) -> Option<String> {
    let has_no_effect = format!("metadata.annotations of {owner} has no effect");
    match template {
        None => Some(format!(
            "{has_no_effect}; put {NETWORKS} into {path}.metadata.annotations"
        )),
        Some(template) if template == own => None,
        Some(template) => Some(format!(
            "{has_no_effect}: {NETWORKS} is \"{}\" there and \"{}\" in {path}.metadata.annotations, which counts; remove the first",
            shown(own),
            shown(template)
        )),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::singular("k8s.v1.cni.cncf.io/network")]
    #[case::capital("k8s.v1.cni.cncf.io/Networks")]
    #[case::all_capital("K8S.V1.CNI.CNCF.IO/NETWORKS")]
    #[case::a_letter_missing_in_the_prefix("k8s.v1.cni.cnf.io/networks")]
    #[case::letters_swapped("k8s.v1.cni.cncf.io/netowrks")]
    #[case::without_a_slash("k8s.v1.cni.cncf.ionetworks")]
    #[case::of_the_custom_resource("k8s.cni.cncf.io/networks")]
    #[case::of_multus("v1.multus-cni.io/networks")]
    #[case::of_old_multus("kubernetes.v1.cni.cncf.io/networks")]
    fn recognises_a_key_that_means_networks(#[case] key: &str) {
        assert!(is_near_miss(key));
    }

    #[rstest]
    #[case("k8s.v1.cni.cncf.io/networks")]
    #[case("k8s.v1.cni.cncf.io/network-status")]
    #[case("k8s.v1.cni.cncf.io/networks-status")]
    #[case("k8s.v1.cni.cncf.io/resourceName")]
    #[case("k8s.v1.cni.cncf.io/policy-for")]
    #[case("v1.multus-cni.io/default-network")]
    #[case("k8s.ovn.org/pod-networks")]
    #[case("example.com/networks")]
    #[case("networks")]
    #[case("")]
    fn leaves_other_keys_alone(#[case] key: &str) {
        assert!(!is_near_miss(key));
    }

    #[test]
    fn compares_no_key_of_any_length() {
        assert!(!is_near_miss(&"k8s.v1.cni.cncf.io/networks".repeat(100_000)));
    }

    #[test]
    fn says_nothing_about_equal_annotations() {
        let said = |template| misplaced("the Deployment", "a@net1", "spec.template", template);

        assert_eq!(said(Some("a@net1")), None);
        assert!(
            said(Some("a@net2"))
                .unwrap()
                .contains("is \"a@net1\" there and \"a@net2\" in")
        );
        assert!(
            said(None)
                .unwrap()
                .contains("put k8s.v1.cni.cncf.io/networks into spec.template.")
        );
    }
}
