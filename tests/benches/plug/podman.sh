#!/usr/bin/env bash
# Times `podman network connect` and `disconnect` of a running container. Prints "connect MICROSECONDS" and "disconnect
# MICROSECONDS", a line each. Runs in a network namespace of its own, with a store of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
ROUNDS=${ROUNDS:-20}

place=$(mktemp -d)
with_store() { podman --root "$place/root" --runroot "$place/run" --tmpdir "$place/tmp" --storage-driver vfs \
    --cgroup-manager cgroupfs --runtime runc --network-config-dir "$place/networks" "$@"; }
away() {
    with_store rm --force --time 0 peer >/dev/null 2>&1 || true
    rm -rf "$place" 2>/dev/null || true
}
trap away EXIT

mkdir -p "$place/networks"
ip link set lo up
image=$(with_store load --quiet --input "$(find .cluster*/images -name '*busybox*.tar' | head -n 1)" | sed -n 's/^Loaded image: *//p')
with_store network create first >/dev/null
with_store network create second >/dev/null
with_store run --detach --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --name peer --network first "$image" \
    sleep 3600 >/dev/null
for ((round = 0; round < ROUNDS; round++)); do
    for verb in connect disconnect; do
        began=${EPOCHREALTIME/[.,]/}
        with_store network "$verb" second peer
        echo "$verb $((${EPOCHREALTIME/[.,]/} - began))"
    done
done
