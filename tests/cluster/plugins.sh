#!/usr/bin/env bash
# Puts more plugins onto every node of the cluster that is up: sbr, dhcp with its daemon, and whereabouts with its kinds.
# The store of whereabouts is the whole cluster's, other than host-local's; it reads the administrator's kubeconfig.
# shellcheck disable=SC2016,SC2153 # for a shell on the node; set by the env of the cluster
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=toolchain.sh
. "$CLUSTER_SOURCE/toolchain.sh"

WHEREABOUTS=github.com/k8snetworkplumbingwg/whereabouts

# Where the source of whereabouts is: the kinds are not part of the program.
whereabouts_source() {
    cd "$CLUSTER_SOURCE/components/whereabouts"
    export GOWORK=off
    "$GO" mod download "$WHEREABOUTS" && "$GO" list -m -f '{{.Dir}}' "$WHEREABOUTS"
}

built() { # COMPONENT
    "$CLUSTER_SOURCE/build.sh" "$1" >&2
    "$CLUSTER_SOURCE/build.sh" --print-directory "$1"
}

install_plugin() { # NODE NAME PROGRAM
    NODE=$1 "$CLUSTER_SOURCE/ctl.sh" exec sh -c 'cat >"$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1"' sh "/opt/cni/bin/$2" <"$3"
}

# Without this file, whereabouts reads no configuration at all.
configure_whereabouts() { # NODE
    NODE=$1 "$CLUSTER_SOURCE/ctl.sh" exec sh -c 'mkdir -p "${1%/*}" && cat >"$1"' sh /etc/cni/net.d/whereabouts.d/whereabouts.conf <<EOT
{"datastore": "kubernetes", "kubernetes": {"kubeconfig": "/run/cluster/state/credentials/admin.kubeconfig"}}
EOT
}

# It ends with the node.
start_dhcp_daemon() { # NODE
    NODE=$1 "$CLUSTER_SOURCE/ctl.sh" exec sh -c '[ -S /run/cni/dhcp.sock ] || {
        mkdir -p /run/cni
        setsid /opt/cni/bin/dhcp daemon </dev/null >/run/cni/dhcp.log 2>&1 &
    }'
}

[[ -f $STATE/env ]] || fail "the cluster is not up: make cluster-up"
# shellcheck source=/dev/null
. "$STATE/env"
find_go || fail "no Go $GO_WANTED or newer: run $CLUSTER_SOURCE/preflight.sh"
more=$(built cni-more)/bin
# The package of its main program is called cmd.
whereabouts=$(built whereabouts)/bin/cmd
for ((node = 1; node <= NODES; node++)); do
    install_plugin "$node" sbr "$more/sbr"
    install_plugin "$node" dhcp "$more/dhcp"
    install_plugin "$node" whereabouts "$whereabouts"
    configure_whereabouts "$node"
    start_dhcp_daemon "$node"
done
kinds=$(whereabouts_source)/doc/crds
"$CLUSTER_BIN/kubectl" apply -f "$kinds/whereabouts.cni.cncf.io_ippools.yaml" \
    -f "$kinds/whereabouts.cni.cncf.io_overlappingrangeipreservations.yaml"
