#!/usr/bin/env bash
# The part of up.sh that needs root: makes the nodes, waits until they are ready, and writes what others need to
# know about them. Usage: start.sh BIN CONTAINERD_BIN MULTUS_BIN NODES
set -euo pipefail
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
for part in cgroups network credentials components; do
    # shellcheck source=/dev/null
    . "$CLUSTER_SOURCE/host/$part.sh"
done

bin=$1 containerd_bin=$2 multus_bin=$3 nodes=$4
declare -a pids addresses

# install(1), for what the person who called sudo is to read or remove later.
caller_owns() { install --owner="${SUDO_UID:-0}" --group="${SUDO_GID:-0}" "$@"; }

prepare() {
    # The logs of the last cluster, and what a killed run left.
    rm -rf "${STATE:?}"/{logs,node*}
    caller_owns --directory "$STATE/logs"
    cgroup_create "$nodes" || fail "the cgroup controllers cannot be enabled: a container needs --privileged --cgroupns=host"
}

# Under the lock, until the host's link has the address.
choose_addresses() {
    local prefix=- offset=0 prefix6 node
    if [[ $IP_FAMILY != ipv6 ]]; then
        read -r prefix offset < <(free_subnet) || fail "no free /28 is left in 198.18.0.0/15"
    fi
    prefix6=$(subnet6)
    [[ $IP_FAMILY == ipv4 ]] || ! subnet_in_use "$prefix6::/64" || fail "this machine has a route to $prefix6::/64"
    host_addresses=$(per_family "$prefix.$((offset + 1))" "$prefix6::1")
    for ((node = 1; node <= nodes; node++)); do
        addresses[node]=$(per_family "$prefix.$((offset + 1 + node))" "$prefix6::$((1 + node))")
    done
    API_ADDRESS=${addresses[1]%%,*}
}

# Starts the first process of a node, in the group by which a killed run is found again.
start_node() { # NUMBER
    local name=node$1
    mkdir -p "$STATE/$name/layer"
    caller_owns --directory "$STATE/logs/$name"
    # shellcheck disable=SC2094
    (
        echo "$BASHPID" >"$(cgroup_of_processes)/cgroup.procs"
        export NODE=$name NODE_ADDRESSES=${addresses[$1]} API_ADDRESS SERVICE_RANGE CLUSTER_RANGE IP_FAMILY PAUSE_IMAGE
        POD_RANGE=$(pod_range "$1") API_SERVICE_ADDRESS=$(api_service_address) CGROUP_ROOT=/$CGROUP/$name COMPONENTS=$(components_of "$1")
        export POD_RANGE API_SERVICE_ADDRESS CGROUP_ROOT COMPONENTS
        exec setsid unshare --mount --net --pid --uts --fork --kill-child \
            "$CLUSTER_SOURCE/node/root.sh" "$STATE" "$bin" "$containerd_bin" "$multus_bin" "$name"
    ) </dev/null >"$STATE/logs/$name/init.log" 2>&1 8<&- &
    wait_until 10 test -s "$STATE/$name/pid" || {
        tail -n 20 "$STATE/logs/$name/init.log" >&2
        fail "$name did not start"
    }
    pids[$1]=$(<"$STATE/$name/pid")
}

connect_nodes() {
    local node other
    network_first_node "${pids[1]}" "$host_addresses" "${addresses[1]}"
    for ((node = 2; node <= nodes; node++)); do
        network_further_node "${pids[1]}" "${pids[node]}" "$node" "${addresses[node]}"
    done
    for ((node = 1; node <= nodes; node++)); do
        for ((other = 1; other <= nodes; other++)); do
            ((node == other)) || network_pod_routes "${pids[node]}" "$other" "${addresses[other]}"
        done
    done
}

kubectl() { "$bin/kubectl" --kubeconfig="$STATE/credentials/admin.kubeconfig" "$@"; }

load_images() { # NUMBER
    local image
    await_component "$1" containerd
    for image in "$STATE"/images/*.tar; do
        load_image "$1" <"$image" || fail "$image cannot be imported"
    done
}

apply_addons() {
    await_component 1 kube-apiserver
    kubectl apply --filename="$CLUSTER_SOURCE/addons" >/dev/null
}

node_is_ready() {
    [[ $(kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

await_everything() {
    local node component loads=()
    for ((node = 1; node <= nodes; node++)); do
        load_images "$node" &
        loads+=($!)
    done
    apply_addons
    for ((node = 1; node <= nodes; node++)); do
        for component in $(components_of "$node"); do
            await_component "$node" "$component"
        done
    done
    for node in "${loads[@]}"; do wait "$node"; done
    for ((node = 1; node <= nodes; node++)); do
        wait_until 60 node_is_ready "node$node" || {
            kubectl get node "node$node" -o yaml | tail -n 60 >&2
            fail "node$node does not become Ready: see $STATE/logs"
        }
    done
    wait_until 30 kubectl get serviceaccount default --namespace=default || fail "no default service account appears"
}

# Shell-sourceable. The variables without a number are those of the first node.
write_environment() {
    local node
    cat <<EOT
export KUBECONFIG='$STATE/kubeconfig'
CLUSTER_ID=$CLUSTER_ID
CLUSTER_BIN='$bin'
NODES=$nodes
IP_FAMILY=$IP_FAMILY
HOST_ADDRESS=${host_addresses%%,*}
NODE_NAME=node1
NODE_IP=${addresses[1]%%,*}
NODE_PID=${pids[1]}
NODE_ROOT=/proc/${pids[1]}/root
NODE_CGROUP=/$CGROUP/node1
CONTAINERD_SOCKET=/proc/${pids[1]}/root/run/containerd/containerd.sock
MULTUS_SOCKET=/proc/${pids[1]}/root/run/multus/multus.sock
MULTUS_CONFIG=/proc/${pids[1]}/root/etc/cni/net.d/multus.d/daemon-config.json
EOT
    for ((node = 1; node <= nodes; node++)); do
        echo "NODE${node}_NAME=node$node"
        echo "NODE${node}_IP=${addresses[node]%%,*}"
        echo "NODE${node}_PID=${pids[node]}"
    done
}

prepare
host_lock
choose_addresses
cluster_credentials
for ((number = 1; number <= nodes; number++)); do
    node_credentials "$number" "${addresses[number]}"
    start_node "$number"
done
connect_nodes
host_unlock
for ((number = 1; number <= nodes; number++)); do
    touch "$STATE/node$number/network-is-up"
done
write_environment >"$STATE/env.new"
# ctl.sh and the waiting below read it; up.sh takes it for complete only under its final name.
await_everything
caller_owns --mode=600 "$STATE/credentials/admin.kubeconfig" "$STATE/kubeconfig"
mv "$STATE/env.new" "$STATE/env"
