#!/usr/bin/env bash
# The README's story on a real cluster, from nothing. Every step is printed as it would be typed, and checked:
# the status is 0 only when all of them were. KEEP=1 leaves the cluster up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=stages.sh
. hack/stages.sh

POD=macvlan1-worker1
NETWORKS=k8s.v1.cni.cncf.io/networks
STEP_TIMEOUT=30

finish() {
    local status=$?
    trap - EXIT
    if [[ -n "${KEEP:-}" && -z "$JOB" && -e .cluster/env ]]; then
        rm -f "$ARCHIVE"
        printf '\nThe cluster is still up, with the pod %s in it:\n' "$POD"
        printf '  export KUBECONFIG=%s\n  kubectl edit pod %s\n' "$KUBECONFIG" "$POD"
        printf '  make cluster-down       # takes it away\n'
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

# The interfaces besides lo and eth0 with their addresses, as the kernel in the pod sees them: "ens4=10.1.2.11/24 …"
plugged() {
    in_pod ip -o -4 addr | awk '$2 != "lo" && $2 != "eth0" { printf "%s%s=%s", separator, $2, $4; separator = " " }'
}

# How many of them there are, with or without an address.
plugged_links() { in_pod sh -c 'ls /sys/class/net' | grep -cvxE 'lo|eth0' || true; }

annotation() { kubectl get pod "$POD" -o "jsonpath={.metadata.annotations.${1//./\\.}}"; }

# The interfaces that network-status lists, without the cluster network's.
listed() {
    annotation k8s.v1.cni.cncf.io/network-status | grep -oE '"interface": *"[^"]+"' |
        awk -F '"' '$4 != "eth0" { printf "%s%s", separator, $4; separator = " " }'
}

mac() { in_pod cat "/sys/class/net/$1/address"; }

# as_expected "net1=10.1.1.11/24 ens4=…": kernel and network-status agree on it.
as_expected() {
    local names
    names=$(tr ' ' '\n' <<<"$1" | cut -d= -f1 | paste -sd' ')
    seen=$(plugged) && status=$(listed || true) &&
        [[ "$(sorted "$seen")" == "$(sorted "$1")" && "$(sorted "$status")" == "$(sorted "$names")" ]] &&
        [[ "$(plugged_links)" == "$(wc -w <<<"$1")" ]]
}

sorted() { tr ' ' '\n' <<<"$1" | sort | paste -sd' '; }

# expect INTERFACES: waits for them and shows pod, network-status and events. Wants `edited`, the time of the edit.
expect() {
    local seen='' status='' end=$((SECONDS + STEP_TIMEOUT))
    until as_expected "$1"; do
        ((SECONDS < end)) || wrong "expected \"$1\" within $STEP_TIMEOUT s; in the pod: \"$seen\"; network-status: \"$status\""
        sleep 0.05
    done
    echo "-- $(($(date +%s%3N) - edited)) ms after the edit: ${1:-no interface but eth0}"
    typed "kubectl exec $POD -- ip -o -4 addr"
    typed "kubectl get pod $POD -o jsonpath='{.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/network-status}'"
    echo
}

# expect_events REASON INTERFACE...: the agent told of each.
expect_events() {
    local reason=$1 interface end=$((SECONDS + STEP_TIMEOUT))
    shift
    for interface in "$@"; do
        until events_of "$reason" | grep -qw "$interface"; do
            ((SECONDS < end)) || wrong "no event $reason for $interface"
            sleep 0.1
        done
    done
    typed "kubectl get events --field-selector involvedObject.name=$POD -o custom-columns=FROM:.source.component,REASON:.reason,MESSAGE:.message | grep Interface"
}

events_of() {
    kubectl get events --field-selector "involvedObject.name=$POD,reason=$1,source=dynamic-networks-controller" \
        -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}'
}

edit() {
    edited=$(date +%s%3N)
    typed "$1"
}

story() {
    title "1  A pod with one network; its element has no interface name"
    edit "kubectl apply -f examples/original-setup.yaml"
    typed "kubectl wait --for=condition=Ready --timeout=60s pod/$POD"
    typed "kubectl get pod $POD -o jsonpath='{.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/networks}'"
    echo
    annotation "$NETWORKS" | grep -q '"net1"' || wrong "the webhook filled in no name"
    expect "net1=10.1.1.11/24"
    local first_mac
    first_mac=$(mac net1)

    title "2  Plug: the file that adds ens4"
    edit "kubectl apply -f examples/interface-add.yaml"
    expect "net1=10.1.1.11/24 ens4=10.1.2.11/24"
    expect_events AddedInterface ens4

    title "3  Plug one more, without a name: the answer shows the name that it got"
    local list='[{"name":"macvlan1-config","ips":["10.1.1.11/24"],"interface":"net1"},{"name":"macvlan1-config","ips":["10.1.2.11/24"],"interface":"ens4"},{"name":"macvlan1-config","ips":["10.1.3.11/24"]}]'
    edit "kubectl annotate pod $POD --overwrite $NETWORKS='$list' -o jsonpath='{.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/networks}'"
    echo
    annotation "$NETWORKS" | grep -q '"net2"' || wrong "the third element did not become net2"
    expect "net1=10.1.1.11/24 ens4=10.1.2.11/24 net2=10.1.3.11/24"
    expect_events AddedInterface ens4 net2

    title "4  A wrong edit is refused: net1 cannot be there twice"
    local before refusal
    before=$(annotation "$NETWORKS")
    refusal=$(refused "kubectl annotate pod $POD --overwrite $NETWORKS=macvlan1-config@net1,macvlan1-config@net1") || exit 1
    echo "$refusal"
    grep -q net1 <<<"$refusal" || wrong "the refusal does not name the interface"
    [[ "$(annotation "$NETWORKS")" == "$before" ]] || wrong "the annotation changed"
    edited=$(date +%s%3N)
    expect "net1=10.1.1.11/24 ens4=10.1.2.11/24 net2=10.1.3.11/24"

    title "5  The first file again, with its unnamed element: net1 is adopted, not plugged anew; the others go"
    edit "kubectl apply -f examples/original-setup.yaml"
    expect "net1=10.1.1.11/24"
    expect_events RemovedInterface ens4 net2
    [[ "$(mac net1)" == "$first_mac" ]] || wrong "net1 has another MAC address than before: $first_mac"
    echo "-- net1 has the MAC address of step 1 still: $first_mac"

    title "6  And again: nothing to do"
    local version
    version=$(kubectl get pod "$POD" -o 'jsonpath={.metadata.resourceVersion}')
    edit "kubectl apply -f examples/original-setup.yaml"
    [[ "$(kubectl get pod "$POD" -o 'jsonpath={.metadata.resourceVersion}')" == "$version" ]] ||
        wrong "the pod was changed"
    [[ "$(mac net1)" == "$first_mac" ]] || wrong "net1 has another MAC address than before: $first_mac"
    echo "-- the pod is as it was (resourceVersion $version), net1 too ($first_mac)"

    title "7  Unplug all"
    edit "kubectl apply -f examples/interface-remove.yaml"
    expect ""
    expect_events RemovedInterface net1
}

trap finish EXIT
trap 'exit 130' INT TERM

stage "1/5 preflight" "seconds; minutes where something has to be installed" tests/cluster/preflight.sh
start_cluster
stage "2/5 image" "4 min cold, seconds warm" build_image
stage "3/5 local cluster" "10 min cold, 15 s warm; began with stage 2" await_cluster
stage "4/5 install" "10 s" install
stage "5/5 story" "20 s" story
