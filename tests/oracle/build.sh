#!/usr/bin/env bash
# Builds the oracle, once per state of its sources, and prints where the program is.
set -euo pipefail
# shellcheck source=../cluster/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
# shellcheck source=../cluster/toolchain.sh
. "$CLUSTER_SOURCE/toolchain.sh"

cd "$CLUSTER_SOURCE/../oracle"
directory=$CACHE/$(cat go.mod go.sum main.go | sha256sum | cut -c1-64)
if [[ ! -x $directory/oracle ]]; then
    find_go || fail "no Go $GO_WANTED or newer: run $CLUSTER_SOURCE/preflight.sh"
    mkdir -p "$directory"
    say "Building the oracle, usually 1.5 min on 2 cores when nothing is cached" >&2
    CGO_ENABLED=0 GOWORK=off "$GO" build -trimpath -buildvcs=false -ldflags "-s -w" -o "$directory/oracle.$$" .
    mv "$directory/oracle.$$" "$directory/oracle"
fi
echo "$directory/oracle"
