#!/usr/bin/env bash
# The tests pair_*: on a cluster of two nodes that has IPv6 addresses only, with the manifests applied. It comes and goes
# with this script, beside the other clusters. IP_FAMILY=ipv4 or dual: with such addresses. The image must be built:
# `make test` does that before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=stages.sh
. hack/stages.sh

export CLUSTER=pair NODES=2 IP_FAMILY=${IP_FAMILY:-ipv6}

away() { tests/cluster/down.sh --quiet; }

[[ -e $ARCHIVE ]] || build_image
trap away EXIT
trap 'exit 130' INT TERM
tests/cluster/up.sh
install_here .cluster-pair
tests/cluster/plugins.sh
tests/run.sh 'pair_*'
