//! The annotation and label keys, each in one place.

/// The networks annotation: a pod's network selection elements (multi-network specification v1.3,
/// section 4.1).
pub const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";
/// The network-status annotation (multi-network specification v1.3, section 5).
pub const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
/// On a NetworkAttachmentDefinition: the device-plugin resource that its pods need.
pub const RESOURCE_NAME: &str = "k8s.v1.cni.cncf.io/resourceName";
/// On a namespace: how the webhook treats elements without an interface name (`fill`, `reject`,
/// `warn`, `off`).
pub const INTERFACE_NAMES_LABEL: &str = "dynamic-networks.k8s.cni.cncf.io/interface-names";
/// On a namespace: whether the webhook refuses what breaks a rule (`enforce`) or only warns
/// (`warn`).
pub const ENFORCEMENT_LABEL: &str = "dynamic-networks.k8s.cni.cncf.io/enforcement";
/// Pods with this label key and value belong to KubeVirt: they never get a `netN` filled in.
pub const KUBEVIRT_LABEL: (&str, &str) = ("kubevirt.io", "virt-launcher");
/// Set by the kubelet on mirror pods; their annotations cannot be changed through the API.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
