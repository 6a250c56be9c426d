#!/usr/bin/env bash
# Takes away the cluster of this checkout (CLUSTER=NAME: that one), also what a killed run left: processes, links,
# cgroups, files. The mounts are all inside the nodes' namespaces and end with them. Only the logs stay.
# Usage: down.sh [--quiet]
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ((EUID != 0)); then
    exec sudo -- env CLUSTER="$CLUSTER" "$(realpath "${BASH_SOURCE[0]}")" "$@"
fi

# shellcheck source=host/cgroups.sh
. "$CLUSTER_SOURCE/host/cgroups.sh"
# shellcheck source=host/network.sh
. "$CLUSTER_SOURCE/host/network.sh"

wait_until 10 cgroup_kill || fail "processes of the cluster do not end: $(cgroup_processes | tr '\n' ' ')"
wait_until 10 network_remove || fail "the link $HOST_LINK cannot be removed"
wait_until 10 cgroup_remove || fail "the cgroups $CGROUP cannot be removed"
if [[ -d $STATE ]]; then
    find "$STATE" -mindepth 1 -maxdepth 1 ! -name logs -exec rm -rf --one-file-system {} +
fi
[[ ${1:-} == --quiet ]] || say "The cluster is down; its logs are in $STATE/logs."
