//! What the server is asked: reviews as an API server sends them, and the networks that they name.

use hyper::body::Bytes;
use serde_json::{Value, json};

/// A review of a new pod with that many networks, none of which names its interface.
pub fn unnamed(elements: usize) -> Bytes {
    review(
        elements,
        |index| json!({"name": name(index), "namespace": "default"}),
    )
}

/// As [`unnamed`], but all name their interfaces.
pub fn named(elements: usize) -> Bytes {
    review(
        elements,
        |index| json!({"name": name(index), "namespace": "default", "interface": format!("net{}", index + 1)}),
    )
}

fn name(index: usize) -> String {
    format!("network-{index}")
}

/// A NetworkAttachmentDefinition as `kubectl apply` leaves it, about 2 KiB.
pub fn definition(index: usize) -> Value {
    let config = json!({
        "cniVersion": "1.0.0", "name": name(index), "plugins": [
            {"type": "macvlan", "capabilities": {"ips": true}, "master": "eth1", "mode": "bridge", "mtu": 1500, "ipam": {
                "type": "host-local", "ranges": [[{"subnet": "198.18.0.0/24", "rangeStart": "198.18.0.10", "rangeEnd": "198.18.0.250"}]],
                "routes": [{"dst": "198.19.0.0/16"}],
            }},
            {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}},
        ],
    })
    .to_string();
    let spec = json!({"config": config});
    let applied = json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"annotations": {}, "name": name(index), "namespace": "default"}, "spec": spec,
    });
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "name": name(index), "namespace": "default", "uid": format!("3a2f8a3c-9d7e-4a43-8b5a-{index:012}"),
            "resourceVersion": (100_000 + index).to_string(), "generation": 1, "creationTimestamp": "2025-01-01T00:00:00Z",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()},
            "managedFields": [{
                "apiVersion": "k8s.cni.cncf.io/v1", "fieldsType": "FieldsV1", "manager": "kubectl-client-side-apply",
                "operation": "Update", "time": "2025-01-01T00:00:00Z",
                "fieldsV1": {
                    "f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}}},
                    "f:spec": {".": {}, "f:config": {}},
                },
            }],
        },
        "spec": spec,
    })
}

/// A review of a pod of common size: about 4 KiB without the annotation.
fn review(elements: usize, element: impl Fn(usize) -> Value) -> Bytes {
    let networks: Vec<Value> = (0..elements).map(element).collect();
    let environment: Vec<Value> = (0..20)
        .map(|index| json!({"name": format!("SETTING_{index}"), "value": "a value of some length"}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example/team/app:v1.2.3", "imagePullPolicy": "IfNotPresent", "env": environment,
            "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}},
            "livenessProbe": {"httpGet": {"path": "/livez", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "failureThreshold": 3},
            "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "app-7d4b9c6f5-x2x9z", "namespace": "default", "labels": {"app": "app", "pod-template-hash": "7d4b9c6f5"},
            "annotations": {shared::annotations::NETWORKS: Value::Array(networks).to_string()},
        },
        "spec": {
            "containers": [container("app"), container("sidecar")], "restartPolicy": "Always", "serviceAccountName": "default",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "volumes": [{"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
        },
        "status": {},
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "3a2f8a3c-9d7e-4a43-8b5a-5d0f0b5ad0c1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE", "namespace": "default",
            "name": "app-7d4b9c6f5-x2x9z", "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
            "object": pod, "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    Bytes::from(review.to_string())
}
