# shellcheck shell=bash
# shellcheck disable=SC2034 # read by those who source this file
# The components of a node. Each has three functions: needs_X (may it start?), run_X (becomes it), ready_X (does it
# serve?). Runs inside the node's namespaces; sourced by init.sh and ready.sh.
# shellcheck disable=SC2317,SC2329 # called by composed names

STATE=/run/cluster/state
LOGS=$STATE/logs
[[ $NODE == node1 ]] || LOGS=$STATE/logs/$NODE
BIN=/run/cluster/bin
CREDENTIALS=$STATE/credentials
SUPERVISOR=/run/supervisor
export PATH=$BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fetch() { curl --silent --fail --max-time 2 --noproxy '*' "$@"; }
fetch_tls() { fetch --cacert "$CREDENTIALS/ca.crt" "$@"; }

# All addresses of this node: on "::", IPv4 is served too.
any_address() {
    case $IP_FAMILY in
    ipv4) echo 0.0.0.0 ;;
    *) echo :: ;;
    esac
}

needs_etcd() { :; }
run_etcd() {
    exec etcd --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn \
        --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
        --listen-peer-urls=http://127.0.0.1:2380
}
ready_etcd() { fetch http://127.0.0.1:2379/health; }

needs_kube-apiserver() { ready_etcd; }
run_kube-apiserver() {
    # shellcheck disable=SC2054 # the commas belong to a value
    local flags=(
        --etcd-servers=http://127.0.0.1:2379
        --bind-address="$(any_address)" --advertise-address="${NODE_ADDRESSES%%,*}" --secure-port=6443
        --service-cluster-ip-range="$SERVICE_RANGE"
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
        --client-ca-file="$CREDENTIALS/ca.crt" --token-auth-file="$CREDENTIALS/tokens.csv"
        --tls-cert-file="$CREDENTIALS/api-server.crt" --tls-private-key-file="$CREDENTIALS/api-server.key"
        --service-account-issuer=https://kubernetes.default.svc
        --service-account-key-file="$CREDENTIALS/service-accounts.key"
        --service-account-signing-key-file="$CREDENTIALS/service-accounts.key"
        --kubelet-certificate-authority="$CREDENTIALS/ca.crt"
        --kubelet-client-certificate="$CREDENTIALS/api-server-to-kubelet.crt"
        --kubelet-client-key="$CREDENTIALS/api-server-to-kubelet.key"
        --kubelet-preferred-address-types=InternalIP
        # Webhooks are called at the addresses of their endpoints.
        --enable-aggregator-routing=true
        # With it, the end does not wait a minute for connections that others keep open.
        --shutdown-send-retry-after=true
    )
    exec kube-apiserver "${flags[@]}"
}
ready_kube-apiserver() {
    local host=$API_ADDRESS
    [[ $host != *:* ]] || host="[$host]"
    fetch_tls "https://$host:6443/readyz"
}

needs_kube-controller-manager() { ready_kube-apiserver; }
run_kube-controller-manager() {
    exec kube-controller-manager --kubeconfig="$CREDENTIALS/controller-manager.kubeconfig" --leader-elect=false \
        --bind-address=127.0.0.1 --kube-api-qps=200 --kube-api-burst=400 --use-service-account-credentials \
        --service-account-private-key-file="$CREDENTIALS/service-accounts.key" --root-ca-file="$CREDENTIALS/ca.crt"
}
ready_kube-controller-manager() { fetch --insecure https://127.0.0.1:10257/healthz; }

needs_kube-scheduler() { ready_kube-apiserver; }
run_kube-scheduler() {
    exec kube-scheduler --kubeconfig="$CREDENTIALS/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
}
ready_kube-scheduler() { fetch --insecure https://127.0.0.1:10259/readyz; }

needs_containerd() { :; }
run_containerd() {
    # It looks for its shim on the path.
    export PATH=/run/cluster/containerd:$PATH
    exec containerd --config /etc/kubernetes/containerd.toml
}
ready_containerd() { ctr version; }

# The kubelet ends at once when no runtime answers.
needs_kubelet() { ready_containerd && ready_kube-apiserver; }
run_kubelet() {
    exec kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig="$CREDENTIALS/$NODE.kubeconfig" \
        --hostname-override="$NODE" --node-ip="$NODE_ADDRESSES"
}
ready_kubelet() { fetch http://127.0.0.1:10248/healthz; }

needs_kube-proxy() { ready_kube-apiserver; }
run_kube-proxy() { exec kube-proxy --config=/etc/kubernetes/kube-proxy.yaml; }
ready_kube-proxy() { fetch http://127.0.0.1:10256/healthz; }

# Its pod would have the address of the API and its token from the kubelet.
needs_multus() { ready_kube-apiserver; }
run_multus() {
    export MULTUS_NODE_NAME=$NODE KUBERNETES_SERVICE_PORT=443
    export KUBERNETES_SERVICE_HOST=$API_SERVICE_ADDRESS
    exec /run/cluster/multus/multus-daemon --config=/etc/cni/net.d/multus.d/daemon-config.json
}
ready_multus() { fetch --unix-socket /run/multus/multus.sock http://multus/healthz; }
