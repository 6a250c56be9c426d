# shellcheck shell=bash
# The files that a node's components read. Runs inside the node's namespaces; sourced by init.sh.

write_configuration() {
    mkdir -p "$LOGS"
    write_containerd
    write_kubelet
    write_kube_proxy
    write_cni
    write_multus
}

# In the form that containerd 1 knows; containerd 2 takes it too.
write_containerd() {
    cat >/etc/kubernetes/containerd.toml <<EOT
version = 2

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$PAUSE_IMAGE"
disable_apparmor = true
# In a container, root often may not lower a score.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
EOT
}

write_kubelet() {
    cat >/etc/kubernetes/kubelet.yaml <<EOT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: "$(any_address)"
authentication:
  x509: {clientCAFile: $CREDENTIALS/ca.crt}
tlsCertFile: $CREDENTIALS/$NODE.crt
tlsPrivateKeyFile: $CREDENTIALS/$NODE.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $CGROUP_ROOT
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
evictionHard: {memory.available: 50Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
imageGCHighThresholdPercent: 100
# No DNS in this cluster: a look-up is refused at once.
clusterDNS: [127.0.0.1]
resolvConf: ""
maxPods: 250
kubeAPIQPS: 100
kubeAPIBurst: 200
EOT
}

write_kube_proxy() {
    cat >/etc/kubernetes/kube-proxy.yaml <<EOT
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: $NODE
bindAddress: "$(any_address)"
clusterCIDR: "$CLUSTER_RANGE"
clientConnection: {kubeconfig: $CREDENTIALS/proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0}
oomScoreAdj: 0
EOT
}

# The default network. A plain .conf: multus 4.3.0 cannot delete what a .conflist made.
write_cni() {
    local plugin range ranges=
    for range in ${POD_RANGE//,/ }; do
        ranges+="${ranges:+, }[{\"subnet\": \"$range\"}]"
    done
    mkdir -p /etc/cni/net.d /opt/cni/bin
    for plugin in "$BIN"/cni/* /run/cluster/multus/multus-shim; do
        ln -s "$plugin" /opt/cni/bin/
    done
    cat >/etc/cni/net.d/10-podnet.conf <<EOT
{"cniVersion": "1.0.0", "name": "podnet", "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
 "ipam": {"type": "host-local", "ranges": [$ranges]}}
EOT
}

write_multus() {
    mkdir -p /etc/cni/net.d/multus.d
    cat >/etc/cni/net.d/multus.d/daemon-config.json <<EOT
{
    "cniVersion": "0.3.1",
    "logLevel": "verbose",
    "logToStderr": true,
    "socketDir": "/run/multus",
    "binDir": "/opt/cni/bin",
    "cniConfigDir": "/etc/cni/net.d",
    "multusAutoconfigDir": "/etc/cni/net.d",
    "multusConfigFile": "auto"
}
EOT
}

# What is in /run, and so gone after a reboot: what multus' pod would get from the kubelet.
write_runtime_files() {
    local account=/run/secrets/kubernetes.io/serviceaccount
    mkdir -p $account
    cp "$CREDENTIALS/ca.crt" $account/ca.crt
    cp "$CREDENTIALS/multus.token" $account/token
}
