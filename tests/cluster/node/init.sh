#!/usr/bin/env bash
# The init of a node: starts its components, and starts each again when it ends, as systemd, the kubelet or a
# DaemonSet would. Reaps what loses its parent (bash does that while it waits).
#
# Environment: NODE, NODE_ADDRESSES, API_ADDRESS, API_SERVICE_ADDRESS, POD_RANGE, CLUSTER_RANGE, SERVICE_RANGE, IP_FAMILY,
# PAUSE_IMAGE, CGROUP_ROOT, COMPONENTS.
set -euo pipefail

umount -l /run/host
rmdir /run/host
mount --make-rshared /
hostname "$NODE"
cd /

# shellcheck source=components.sh
. /run/cluster/node/components.sh
# shellcheck source=config.sh
. /run/cluster/node/config.sh

# Keeps one component running. What a person or a test wants of it is in files:
# stopped (made by ctl.sh), pid, starts (how many so far).
supervise() {
    local name=$1 dir=$SUPERVISOR/$1 starts=0 status
    while :; do
        while [[ -e $dir/stopped ]]; do sleep 0.1; done
        until "needs_$name" >/dev/null 2>&1; do sleep 0.1; done
        starts=$((starts + 1))
        (
            echo "$BASHPID" >"$dir/pid"
            echo "$starts" >"$dir/starts"
            "run_$name"
        ) </dev/null >>"$LOGS/$name.log" 2>&1 &
        wait $! && status=0 || status=$?
        rm -f "$dir/pid"
        echo "supervisor: $name ended with status $status" >>"$LOGS/$name.log"
        [[ -e $dir/stopped ]] || sleep 1
    done
}

start_components() {
    local component
    write_runtime_files
    for component in $COMPONENTS; do
        mkdir -p "$SUPERVISOR/$component"
        supervise "$component" &
    done
}

# A power failure: nothing has the time to clean up, the disk stays, and what only the kernel knew is gone.
reboot() {
    local mounted link
    kill -KILL -1
    wait
    for mounted in $(awk '$2 ~ "^/(run|var/lib/kubelet)/" && $2 !~ "^/run/cluster/" { print $2 }' /proc/mounts | tac); do
        umount -l "$mounted"
    done
    find /run -mindepth 1 -maxdepth 1 ! -name cluster -exec rm -rf --one-file-system {} +
    find /sys/fs/cgroup -path "*$CGROUP_ROOT/*" -depth -type d -exec rmdir {} + || true
    nft flush ruleset
    for link in $(ip -brief link show type bridge | awk '$1 !~ /^eth/ { print $1 }'); do
        ip link del "$link"
    done
    start_components
}

# The components collect garbage less often, as long as memory is not scarce.
export GOGC=400 GOMEMLIMIT=768MiB
write_configuration
until [[ -e $STATE/$NODE/network-is-up ]]; do sleep 0.05; done
trap reboot USR1
start_components
# The signal ends one wait; the next is for the components that it has started.
while :; do
    wait || true
    sleep 0.1
done
