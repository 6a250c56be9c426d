#!/usr/bin/env bash
# Every test, from nothing. Unit tests and lints run while the cluster's components are built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=stages.sh
. hack/stages.sh

finish() {
    local status=$?
    trap - EXIT
    clean_up || status=1
    summary
    if ((status == 0)); then
        echo "All tests passed."
    else
        echo "Not all tests passed. The logs of the clusters are in .cluster*/logs."
    fi
    exit "$status"
}

compile_tests() {
    cargo build --quiet --locked --workspace --bins && cargo test --quiet --locked --workspace --tests --no-run
}

# Tests that need a cluster alone share three, where memory is enough: they often wait. CLUSTERS= makes do with one.
enough=$(awk '/^MemAvailable:/ && $2 > 10 * 1024 * 1024 { print "third" }' /proc/meminfo)
export CLUSTERS=${CLUSTERS-second $enough}
trap finish EXIT
trap 'exit 130' INT TERM
failed=0

stage "1/7 preflight" "seconds; minutes where something has to be installed" tests/cluster/preflight.sh
start_cluster
stage "2/7 format, lints, unit tests" "5 min cold, under 1 min warm" make --no-print-directory check || failed=1
stage "3/7 image" "4 min cold, seconds warm" build_image
stage "4/7 the other tests, compile" "3 min cold" compile_tests
stage "5/7 local cluster" "15 min cold, 15 s warm; began with stage 2" await_cluster
stage "6/7 install" "10 s" install
stage "7/7 tests on the clusters" "10 min" env PAIR=1 tests/run.sh || failed=1
exit "$failed"
