#!/usr/bin/env bash
# Brings up the cluster of this checkout: a real Kubernetes node made of namespaces (NODES=2: that many; MULTUS=4.2.2:
# with the multus of components/multus-4.2.2; CONTAINERD=debian: with the distribution's containerd, which preflight.sh
# unpacks; IP_FAMILY=ipv6 or dual: with such addresses; CLUSTER=NAME: one more, beside the unnamed one). Builds first
# what is not in the cache. Run as yourself: only the nodes need root, by sudo.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ -f $STATE/env ]] && "$CLUSTER_SOURCE/ctl.sh" alive; then
    say "The cluster is up already. Use it with:"
    say_how_to_use
    exit 0
fi

built=$("$CLUSTER_SOURCE/build.sh" --print-directory)
"$CLUSTER_SOURCE/build.sh"
multus=$built
if [[ -n ${MULTUS:-} ]]; then
    multus=$("$CLUSTER_SOURCE/build.sh" --print-directory "multus-$MULTUS")
    "$CLUSTER_SOURCE/build.sh" "multus-$MULTUS"
fi
case ${CONTAINERD:-} in
'') containerd=$built/bin ;;
debian) containerd=$CACHE/containerd-debian/usr/bin ;;
*) fail "CONTAINERD=$CONTAINERD: only debian is known" ;;
esac
[[ -x $containerd/containerd ]] || fail "no containerd in $containerd: run $CLUSTER_SOURCE/preflight.sh"
# What a killed run may have left.
"$CLUSTER_SOURCE/down.sh" --quiet

began=$SECONDS
"$CLUSTER_SOURCE/images.sh" "$STATE/images"
say "Starting ${NODES:-1} node(s), $IP_FAMILY..."
if ! as_root "$CLUSTER_SOURCE/host/start.sh" "$built/bin" "$containerd" "$multus/bin" "${NODES:-1}"; then
    "$CLUSTER_SOURCE/down.sh" --quiet
    fail "the cluster did not start; the logs are in $STATE/logs"
fi
say "Ready after $((SECONDS - began)) s. Use it with:"
say_how_to_use
