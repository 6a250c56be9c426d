#!/usr/bin/env bash
# Builds a program of the tests that is written in Go (`oracle` or `dra-driver`), once per state of its sources, and prints where it is.
set -euo pipefail
# shellcheck source=cluster/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster/lib.sh"
# shellcheck source=cluster/toolchain.sh
. "$CLUSTER_SOURCE/toolchain.sh"

name=$1
cd "$CLUSTER_SOURCE/../$name"
directory=$CACHE/$(cat go.mod go.sum main.go | sha256sum | cut -c1-64)
if [[ ! -x $directory/$name ]]; then
    find_go || fail "no Go $GO_WANTED or newer: run $CLUSTER_SOURCE/preflight.sh"
    mkdir -p "$directory"
    say "Building $name, up to 1.5 min on 2 cores when nothing is cached" >&2
    CGO_ENABLED=0 GOWORK=off "$GO" build -trimpath -buildvcs=false -ldflags "-s -w" -o "$directory/$name.$$" .
    mv "$directory/$name.$$" "$directory/$name"
fi
echo "$directory/$name"
