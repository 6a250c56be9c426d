//! The parts of gRPC APIs that the agent speaks, generated without protoc: a client, and a server
//! for tests.

/// `runtime.v1` of k8s.io/cri-api; the messages are a subset.
#[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated code")]
pub mod runtime_v1 {
    tonic::include_proto!("runtime.v1");
}

/// `v1` of k8s.io/kubelet/pkg/apis/podresources; the messages are a subset.
#[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated code")]
pub mod pod_resources_v1 {
    tonic::include_proto!("v1");
}

/// `v1beta1` of k8s.io/kubelet/pkg/apis/deviceplugin, for tests; the messages are a subset.
#[cfg(feature = "device-plugin")]
#[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated code")]
pub mod device_plugin_v1beta1 {
    tonic::include_proto!("v1beta1");
}
