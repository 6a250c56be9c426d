#!/usr/bin/env bash
# The README's story on a real cluster, from nothing. Every step is printed as it would be typed, and checked:
# the status is 0 only when all of them were. KEEP=1 leaves the cluster up. IP_FAMILY=ipv6 or dual: on a cluster with
# such addresses, and with IPv6 interfaces plugged at the end. MULTUS and CONTAINERD as in tests/cluster/up.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=stages.sh
. hack/stages.sh

POD=macvlan1-worker1
NETWORKS=k8s.v1.cni.cncf.io/networks
NETWORKS_PATH='{.metadata.annotations.k8s\.v1\.cni\.cncf\.io/networks}'
STATUS_PATH='{.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}'
EVENT_COLUMNS=custom-columns=FROM:.source.component,REASON:.reason,MESSAGE:.message
SHOW_NETWORKS="kubectl get pod $POD -o jsonpath='$NETWORKS_PATH{\"\n\"}'"
STEP_TIMEOUT=30

finish() {
    local status=$?
    trap - EXIT
    if [[ -n "${KEEP:-}" && -z "$JOB" && -e .cluster/env ]]; then
        how_to_go_on
    else
        echo
        clean_up || status=1
    fi
    summary
    if ((status == 0)); then
        echo "Every step was checked."
    else
        echo "The demo failed."
    fi
    exit "$status"
}

how_to_go_on() {
    # shellcheck source=/dev/null
    . .cluster/env
    cat <<EOT

The cluster is still up:
  export KUBECONFIG=$KUBECONFIG PATH=$CLUSTER_BIN:\$PATH
  kubectl apply -f examples/interface-add.yaml
  kubectl edit pod $POD
  make cluster-down       # takes it away
EOT
}

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# Prints a command line and runs it.
typed() {
    printf '$ %s\n' "$1"
    eval "$1" || wrong "the command failed"
}

# The same for what has to fail; all that it says goes to standard output.
refused() {
    printf '$ %s\n' "$1"
    ! eval "$1" 2>&1 || wrong "it was accepted"
}

wrong() {
    printf '\nNOT AS EXPECTED: %s\n' "$*" >&2
    exit 1
}

in_pod() { kubectl exec "$POD" -- "$@"; }

# The interfaces besides lo and eth0 with their addresses, as the kernel in the pod sees them: "ens4=10.1.2.11/24 …",
# sorted. Runs inside the pod.
# shellcheck disable=SC2016
PLUGGED='for link in $(ls /sys/class/net); do case $link in
    lo | eth0) ;;
    *) echo "$link=$(ip -o addr show dev $link scope global 2>/dev/null | awk "{ print \$4 }")" ;;
    esac; done | xargs'

plugged() { in_pod sh -c "$PLUGGED"; }

networks_annotation() { kubectl get pod "$POD" -o "jsonpath=$NETWORKS_PATH"; }

# The interfaces that network-status lists, without the cluster network's, sorted.
listed() {
    kubectl get pod "$POD" -o "jsonpath=$STATUS_PATH" |
        grep -oE '"interface": *"[^"]+"' | cut -d'"' -f4 | { grep -vx eth0 || true; } | sort | xargs
}

mac() { in_pod cat "/sys/class/net/$1/address"; }

# edit COMMAND INTERFACES: runs it, and measures how long it takes until the pod has just these. The clock starts
# before kubectl does; a loop inside the pod looks every 10 ms.
edit() {
    local edited
    exec 4< <(in_pod sh -c "echo watching; until [ \"\$($PLUGGED)\" = '$2' ]; do sleep 0.01; done; echo done")
    read -r -t "$STEP_TIMEOUT" -u 4 _ || wrong "no command can be run in the pod"
    edited=$(date +%s%3N)
    typed "$1"
    read -r -t "$STEP_TIMEOUT" -u 4 _ ||
        wrong "after $STEP_TIMEOUT s the pod should have \"$2\" and has \"$(plugged)\""
    echo "-- $(($(date +%s%3N) - edited)) ms from the edit until the pod had just: ${2:-none}"
    exec 4<&-
}

# expect INTERFACES [REASON INTERFACE...]: the kernel in the pod and network-status agree on the first, the agent told
# of the others. Shows all three.
expect() {
    local interfaces=$1 reason=${2:-} end=$((SECONDS + STEP_TIMEOUT)) names interface
    shift $(($# > 1 ? 2 : 1))
    names=$(tr ' ' '\n' <<<"$interfaces" | cut -d= -f1 | xargs)
    [[ "$(plugged)" == "$interfaces" ]] || wrong "the pod should have \"$interfaces\" and has \"$(plugged)\""
    until [[ "$(listed)" == "$names" ]]; do
        ((SECONDS < end)) || wrong "network-status should list \"$names\" and lists \"$(listed)\""
    done
    for interface in "$@"; do
        until events_of "$reason" | grep -qw "$interface"; do
            ((SECONDS < end)) || wrong "there is no event $reason for $interface"
        done
    done
    typed "kubectl exec $POD -- ip -o ${SHOWN_FAMILY:--4} addr"
    typed "kubectl get pod $POD -o jsonpath='$STATUS_PATH' | tr -d ' \\n'"
    echo
    typed "kubectl get events --field-selector involvedObject.name=$POD --sort-by=.lastTimestamp -o $EVENT_COLUMNS | grep Interface"
}

events_of() {
    kubectl get events --field-selector "involvedObject.name=$POD,reason=$1,source=dynamic-networks-controller" \
        -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}'
}

story() {
    local one="net1=10.1.1.11/24" three="ens4=10.1.2.11/24 net1=10.1.1.11/24 net2=10.1.3.11/24"
    local list first_mac before refusal
    title "1  A pod with one network; its element has no interface name"
    typed "kubectl apply -f examples/original-setup.yaml"
    typed "kubectl wait --for=condition=Ready --timeout=60s pod/$POD"
    typed "$SHOW_NETWORKS"
    [[ "$(networks_annotation)" == *'"net1"'* ]] || wrong "the webhook filled in no name"
    expect "$one"
    first_mac=$(mac net1)

    title "2  Plug: the file that adds ens4"
    edit "kubectl apply -f examples/interface-add.yaml" "ens4=10.1.2.11/24 net1=10.1.1.11/24"
    expect "ens4=10.1.2.11/24 net1=10.1.1.11/24" AddedInterface ens4

    title "3  Plug one more, without a name: the answer shows the name that it got"
    list='[{"name":"macvlan1-config","ips":["10.1.1.11/24"],"interface":"net1"},'
    list+='{"name":"macvlan1-config","ips":["10.1.2.11/24"],"interface":"ens4"},'
    list+='{"name":"macvlan1-config","ips":["10.1.3.11/24"]}]'
    edit "kubectl annotate pod $POD --overwrite $NETWORKS='$list' -o jsonpath='$NETWORKS_PATH{\"\\n\"}'" "$three"
    [[ "$(networks_annotation)" == *'"net2"'* ]] || wrong "the third element did not become net2"
    expect "$three" AddedInterface ens4 net2

    title "4  A wrong edit is refused: net1 cannot be there twice"
    before=$(networks_annotation)
    refusal=$(refused "kubectl annotate pod $POD --overwrite $NETWORKS=macvlan1-config@net1,macvlan1-config@net1") || exit 1
    echo "$refusal"
    [[ "$refusal" == *"field interface"*net1* ]] || wrong "that is not a refusal that names the field"
    [[ "$(networks_annotation)" == "$before" ]] || wrong "the annotation changed"
    expect "$three"

    title "5  The first file again, its element without a name: net1 stays as it is, the others go"
    edit "kubectl apply -f examples/original-setup.yaml" "$one"
    expect "$one" RemovedInterface ens4 net2
    is_untouched "$first_mac"

    title "6  And again, over the pod as it was filled: nothing changes"
    before=$(whole_pod)
    typed "kubectl apply -f examples/original-setup.yaml"
    [[ "$(whole_pod)" == "$before" ]] || wrong "the pod was changed"
    expect "$one"
    is_untouched "$first_mac"

    title "7  Unplug all"
    edit "kubectl apply -f examples/interface-remove.yaml" ""
    expect "" RemovedInterface net1
    [[ ${IP_FAMILY:-ipv4} == ipv4 ]] || story_of_ipv6
}

# shellcheck disable=SC2034 # in a command that is evaluated
IPV6_NETWORK='apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: macvlan6-config}
spec:
  config: |
    {"cniVersion": "1.0.0", "name": "macvlan6-config", "type": "macvlan", "master": "eth1", "mode": "bridge",
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "fd00:10:2::/64", "rangeStart": "fd00:10:2::21"}]]}}'

story_of_ipv6() {
    local list='[{"name":"macvlan1-config","ips":["fd00:10:1::11/64"]},{"name":"macvlan6-config"}]'
    local SHOWN_FAMILY=-6 both="net1=fd00:10:1::11/64 net2=fd00:10:2::21/64" families
    title "8  Plug two with IPv6 addresses: one static, one from host-local"
    typed "kubectl get pod $POD -o jsonpath='{.status.podIPs[*].ip}{\"\n\"}'"
    families=$(kubectl get pod "$POD" -o 'jsonpath={.status.podIPs[*].ip}')
    [[ $families == *:* ]] || wrong "the pod has no IPv6 address"
    [[ $IP_FAMILY == ipv6 ]] && [[ $families == *.* ]] && wrong "the pod has an IPv4 address"
    typed "kubectl apply -f - <<<\"\$IPV6_NETWORK\""
    edit "kubectl annotate pod $POD --overwrite $NETWORKS='$list'" "$both"
    expect "$both" AddedInterface net1 net2

    title "9  Unplug them"
    edit "kubectl apply -f examples/interface-remove.yaml" ""
    expect "" RemovedInterface net1 net2
}

# is_untouched MAC: net1 was not plugged anew.
is_untouched() {
    [[ "$(mac net1)" == "$1" ]] || wrong "net1 has another MAC address than in step 1: $1"
    echo "-- net1 has the MAC address of step 1 still: $1"
}

# All of it but its version, which counts who applied it last, too.
whole_pod() { kubectl get pod "$POD" -o yaml | grep -v resourceVersion:; }

trap finish EXIT
trap 'exit 130' INT TERM

stage "1/5 preflight" "seconds; minutes where something has to be installed" tests/cluster/preflight.sh
start_cluster
stage "2/5 image" "4 min cold, seconds warm" build_image
stage "3/5 local cluster" "10 min cold, 15 s warm; began with stage 2" await_cluster
stage "4/5 install" "10 s" install
stage "5/5 story" "20 s" story
