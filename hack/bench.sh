#!/usr/bin/env bash
# The benchmarks, with what they are held against in the same run: floors, peers, the same call without us. Prints one table.
#
# A benchmark is a program that tells its progress on standard error and prints rows: what, figure, what it is held against,
# goal, verdict, with tabs between. A goal that is missed is printed as such; the status is 0 unless a benchmark itself fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=stages.sh
. hack/stages.sh

ROWS=$(mktemp)

finish() {
    local status=$?
    trap - EXIT
    clean_up || status=1
    summary
    table
    rm -f "$ROWS"
    ((status == 0)) || echo "Not every benchmark could be run. The logs of the cluster are in .cluster/logs."
    exit "$status"
}

benchmarks() {
    RUSTFLAGS="-C target-feature=+crt-static" cargo bench --quiet --locked --target "$(uname -m)-unknown-linux-gnu" "$@"
}

# Linked as the image's programs are: what is measured is what is shipped.
of_webhook() { benchmarks -p webhook "$@"; }

# These measure the image's programs. They themselves need no link-time optimisation, which would take ten minutes more.
of_tests() { CARGO_PROFILE_BENCH_LTO=off CARGO_PROFILE_BENCH_CODEGEN_UNITS=16 benchmarks -p tests "$@"; }

compile() {
    build_image release && of_webhook --bench server --no-run && of_tests --bench gate --bench plug --no-run
}

# bench OF NAME: runs it, and keeps its rows.
bench() { "$1" --bench "$2" | tee -a "$ROWS"; }

table() {
    [[ -s $ROWS ]] || return 0
    echo
    # What has columns.
    grep $'\t' "$ROWS" | awk -F '\t' '
        { for (i = 1; i <= 5; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
        $5 == "MISSED" { missed++ }
        END {
            split("what,figure,held against,goal,", head, ",")
            for (i = 1; i <= 5; i++) { if (length(head[i]) > width[i]) width[i] = length(head[i]) }
            line(head[1], head[2], head[3], head[4], head[5])
            for (r = 1; r <= NR; r++) line(cell[r, 1], cell[r, 2], cell[r, 3], cell[r, 4], cell[r, 5])
            printf "\n%d goals missed\n", missed
        }
        function line(a, b, c, d, e) {
            printf "%-" width[1] "s  %" width[2] "s  %-" width[3] "s  %-" width[4] "s  %s\n", a, b, c, d, e
        }'
}

trap finish EXIT
trap 'exit 130' INT TERM

stage "1/7 preflight" "seconds; minutes where something has to be installed" tests/cluster/preflight.sh
stage "2/7 image and benchmarks, compile" "20 min cold" compile
stage "3/7 the webhook's server alone" "1 min" bench of_webhook server
start_cluster
stage "4/7 local cluster" "15 min cold, 15 s warm" await_cluster
stage "5/7 install" "10 s" install
stage "6/7 the webhook on the cluster" "1 min" bench of_tests gate
stage "7/7 edits on the cluster, from the API to the kernel" "15 min" bench of_tests plug
