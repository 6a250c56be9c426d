//! What is read of a review, and what is said about one that cannot be read.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::testing::{create, pod, review, update};

fn read_text(review: &Value) -> Result<(), Unreadable> {
    read::<Pod>(review.to_string().as_bytes()).map(drop)
}

#[test]
fn the_keys_read_match_shared_annotations() {
    let pod: Pod = serde_json::from_value(json!({ "metadata": {
        "annotations": {
            (annotations::NETWORKS): "n",
            (annotations::NETWORK_STATUS): "s",
            (annotations::MIRROR_POD): "",
        },
        "labels": { (annotations::KUBEVIRT_LABEL.0): annotations::KUBEVIRT_LABEL.1 },
    } }))
    .unwrap();

    assert_eq!((pod.networks(), pod.network_status()), (Some("n"), Some("s")));
    assert!(pod.is_mirror() && pod.is_virt_launcher());
}

#[rstest]
#[case::empty("")]
#[case::no_json("hello")]
#[case::no_object("[]")]
#[case::null("null")]
#[case::cut_off(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1""#)]
#[case::no_utf8("\u{0}")]
#[case::another_kind(r#"{"apiVersion":"v1","kind":"Pod","request":{"uid":"1"}}"#)]
#[case::the_old_version(
    r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1"}}"#
)]
#[case::no_request(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#)]
#[case::null_request(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}"#)]
#[case::no_uid(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"operation":"CREATE"}}"#
)]
#[case::empty_uid(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":""}}"#)]
#[case::uid_number(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":1}}"#)]
fn without_a_readable_envelope_there_is_no_review(#[case] body: &str) {
    let outcome = read::<Pod>(body.as_bytes());

    assert!(
        matches!(&outcome, Err(Unreadable::Review(message)) if !message.is_empty()),
        "{outcome:?}"
    );
}

#[test]
fn another_review_version_gets_the_supported_one_named() {
    let body = r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1"}}"#;

    let message = read::<Pod>(body.as_bytes()).unwrap_err().to_string();

    assert!(
        message.contains("admission.k8s.io/v1 AdmissionReview only"),
        "{message}"
    );
}

#[rstest]
#[case::operation_number("/request/operation", json!(1))]
#[case::resource_missing("/request/resource", Value::Null)]
#[case::object_a_list("/request/object", json!([]))]
#[case::metadata_a_text("/request/object/metadata", json!("x"))]
#[case::annotations_a_list("/request/object/metadata/annotations", json!([1]))]
#[case::annotation_a_number("/request/object/metadata/annotations/k8s.v1.cni.cncf.io~1networks", json!(7))]
#[case::host_network_a_text("/request/object/spec/hostNetwork", json!("yes"))]
#[case::node_a_list("/request/object/spec/nodeName", json!([]))]
fn a_broken_content_is_reported_under_the_reviews_uid(#[case] pointer: &str, #[case] value: Value) {
    let mut review = create(&pod("a"));
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    review.pointer_mut(parent).unwrap()[key.replace("~1", "/")] = value;

    let outcome = read_text(&review);

    assert!(
        matches!(&outcome, Err(Unreadable::Content { uid, .. }) if uid == "0a1b"),
        "{outcome:?}"
    );
}

#[test]
fn a_duplicate_key_makes_a_review_unreadable() {
    let body = create(&pod("a")).to_string().replace(
        r#""other":"annotation""#,
        r#""other":"annotation","k8s.v1.cni.cncf.io/networks":"b""#,
    );
    assert!(body.matches("cncf.io/networks").count() == 2, "{body}");

    assert!(matches!(
        read::<Pod>(body.as_bytes()),
        Err(Unreadable::Content { .. })
    ));
}

#[rstest]
#[case::metadata("metadata")]
#[case::spec("spec")]
#[case::status("status")]
fn a_null_means_absent(#[case] key: &str) {
    let mut pod = pod("a");
    pod[key] = Value::Null;

    assert_eq!(read_text(&create(&pod)), Ok(()));
}

#[test]
fn deep_nesting_is_refused_if_read_and_skipped_otherwise() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let skipped = create(&pod("a"))
        .to_string()
        .replace(r#""options":null"#, &format!(r#""options":{deep}"#));
    assert!(skipped.len() > 20_000);

    assert!(matches!(read::<Pod>(deep.as_bytes()), Err(Unreadable::Review(_))));
    assert!(read::<Pod>(skipped.as_bytes()).is_ok());
}

/// Whether a review leads to a judgement of its annotation.
fn is_judged(review: &Value) -> Result<bool, String> {
    read::<Pod>(review.to_string().as_bytes())
        .unwrap()
        .change()
        .map(|change| change.is_some())
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = pod("a");
    change(&mut pod);
    pod
}

#[test]
fn creations_and_changes_of_the_annotation_are_judged() {
    let status = {
        let mut review = update(&pod("a"), &pod("b"));
        review["request"]["subResource"] = "status".into();
        review
    };
    let without = changed(|pod| pod["metadata"] = json!({ "name": "worker" }));
    for review in [
        create(&pod("a")),
        update(&pod("a"), &pod("b")),
        update(&without, &pod("a")),
        status,
    ] {
        assert_eq!(is_judged(&review), Ok(true), "{review}");
    }
}

#[test]
fn what_does_not_touch_the_annotation_is_not_judged() {
    let relabelled = changed(|pod| pod["metadata"]["labels"] = json!({ "a": "b" }));
    let without = changed(|pod| pod["metadata"] = json!({ "name": "worker" }));
    let empty = changed(|pod| pod["metadata"]["annotations"][annotations::NETWORKS] = "".into());
    let mirror = changed(|pod| pod["metadata"]["annotations"][annotations::MIRROR_POD] = "x".into());
    let other = |pointer: &str, value: &str| {
        let mut review = create(&pod("a"));
        *review.pointer_mut(pointer).unwrap() = value.into();
        review
    };
    let binding = {
        let mut review = create(&pod("a"));
        review["request"]["subResource"] = "binding".into();
        review
    };
    for review in [
        update(
            &pod("!"),
            &changed(|pod| pod["metadata"]["annotations"][annotations::NETWORKS] = "!".into()),
        ),
        update(&pod("a"), &relabelled),
        update(&pod("a"), &without),
        update(&without, &empty),
        create(&without),
        create(&empty),
        create(&mirror),
        review("DELETE", None, Some(&pod("a"))),
        review("CONNECT", Some(&json!({ "kind": "PodExecOptions" })), None),
        other("/request/resource/resource", "deployments"),
        other("/request/resource/group", "apps"),
        binding,
    ] {
        assert_eq!(is_judged(&review), Ok(false), "{review}");
    }
}

#[test]
fn a_pod_request_without_its_objects_is_refused() {
    let mut homeless = create(&pod("a"));
    homeless["request"]["namespace"] = Value::Null;
    for review in [
        review("CREATE", None, None),
        review("UPDATE", Some(&pod("a")), None),
        homeless,
    ] {
        assert!(is_judged(&review).is_err(), "{review}");
    }
}

#[rstest]
#[case(json!({ "name": "worker" }), "worker")]
#[case(json!({ "generateName": "web-" }), "web-<generated>")]
#[case(json!({}), "<unnamed>")]
fn a_pod_is_called_by_what_is_known_of_its_name(#[case] metadata: Value, #[case] expected: &str) {
    let review = create(&json!({ "metadata": metadata })).to_string();

    assert_eq!(read::<Pod>(review.as_bytes()).unwrap().display_name(), expected);
}

#[rstest]
#[case(json!({ "spec": { "nodeName": "n" } }), true)]
#[case(json!({ "spec": { "nodeName": "n" }, "status": { "phase": "Pending" } }), true)]
#[case(json!({ "spec": { "nodeName": "n" }, "status": { "phase": "Succeeded" } }), false)]
#[case(json!({ "spec": { "nodeName": "n" }, "status": { "phase": "Failed" } }), false)]
#[case(json!({ "spec": {}, "status": { "phase": "Pending" } }), false)]
fn running_is_scheduled_and_not_finished(#[case] pod: Value, #[case] expected: bool) {
    assert_eq!(serde_json::from_value::<Pod>(pod).unwrap().is_running(), expected);
}
