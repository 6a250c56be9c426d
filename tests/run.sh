#!/usr/bin/env bash
# Runs the tests of this crate, on the cluster that is up and has the manifests installed (`make test` sees to both).
#
#   tests/run.sh             everything, in order
#   tests/run.sh PATTERN...  only the files tests/tests/PATTERN.rs: tests/run.sh 'cluster_*'
#
# In this order, cheapest first:
#   the harness and files without a cluster: several at once
#   programs_*   the programs as plain processes
#   cluster_*    on the cluster, a namespace per test: several at once, of several files
#   alone_*      on the cluster, disturbing everybody (no agent, other multus, not installed): one at a time
# Only where they are named: pair_*, on a cluster with two nodes (hack/pair.sh). PAIR=1: everything, and those.
# LONG_TESTS=1: also the tests that are ignored otherwise.
# CLUSTERS="second third": further clusters that are up. The files then go to whichever cluster is free.
# The order only saves time. Whoever runs them otherwise is safe too: each test holds a lock, shared or alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

AT_ONCE=${AT_ONCE:-4}
export LONG=${LONG_TESTS:+--include-ignored}
failed=0 scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
output=$scratch/all

# group THREADS FILE...: runs those test files, with the figures that they print, and notes their outcome.
group() {
    local threads=$1 file
    local -a selected=()
    shift
    for file in "$@"; do selected+=(--test "$file"); done
    ((${#selected[@]})) || return 0
    printf '\n--> %s (%s at once)\n' "$*" "$threads"
    cargo test --quiet --locked --workspace --no-fail-fast "${selected[@]}" -- \
        ${LONG:+"$LONG"} --test-threads="$threads" --format=pretty --show-output 2>&1 | tee -a "$output" || failed=1
}

# on_clusters FILE...: each of those files, and the other cluster_* files together, on as many clusters as there are.
on_clusters() {
    local -a clusters=(unnamed ${CLUSTERS:-})
    printf '\n--> cluster_* %s (on %d cluster(s))\n' "$*" ${#clusters[@]}
    export scratch AT_ONCE CLUSTER_NAMES="${clusters[*]}"
    printf '%s\n' together "$@" |
        xargs -P ${#clusters[@]} --process-slot-var=SLOT -I WORK bash -c 'on_a_cluster WORK' || failed=1
    cat "$scratch"/*.printed >>"$output"
}

on_a_cluster() { # WORK
    local -a clusters
    read -ra clusters <<<"$CLUSTER_NAMES"
    export CLUSTER=${clusters[SLOT]#unnamed}
    if [[ $1 == together ]]; then
        # The longest first, or all would wait for them at the end.
        { printf 'cluster_%s\n' release teardown independence gate && matching 'cluster_*'; } |
            awk '!seen[$0]++ && $0 != "cluster_refused_configs"' | xargs -P 3 -I FILE bash -c 'in_one_piece FILE "$AT_ONCE"'
    elif [[ $1 == pair ]]; then
        on_two_nodes
    else
        in_one_piece "$1" 1
    fi
}

# without_cluster FILE...: several files side by side.
without_cluster() {
    printf '\n--> %s\n' "$*"
    export scratch AT_ONCE
    printf '%s\n' "$@" | xargs -P 3 -I FILE bash -c 'in_one_piece FILE "$AT_ONCE"' || failed=1
    cat "$scratch"/*.printed >>"$output"
    rm "$scratch"/*.printed
}

# What it prints comes in one piece when it is done.
in_one_piece() { # FILE THREADS
    local status=0 began=$SECONDS
    (cd tests && "$(awk -v name="$1" '$1 == name { print $2 }' "$scratch/executables")" \
        ${LONG:+"$LONG"} --test-threads="$2" --format=pretty --show-output) >"$scratch/$1.printed" 2>&1 || status=1
    is_done "$1" "$began"
    return "$status"
}

# The other cluster comes and goes meanwhile.
on_two_nodes() {
    local status=0 began=$SECONDS
    hack/pair.sh >"$scratch/pair.printed" 2>&1 || status=1
    is_done pair "$began"
    return "$status"
}

is_done() { # NAME BEGAN
    printf -- '--> %s: %d s\n' "$1" $((SECONDS - $2)) >>"$scratch/$1.printed"
    flock "$scratch" cat "$scratch/$1.printed"
}

# matching PATTERN: the test files of that name.
matching() {
    local file
    for file in tests/tests/$1.rs; do
        [[ ! -e $file ]] || basename "$file" .rs
    done
}
export -f on_a_cluster on_two_nodes in_one_piece is_done matching

# The executables of this crate's tests, a name and a path a line; "tests" are its unit tests.
# Not `cargo test -p tests`: that selects other features, and compiles all dependencies again.
executables() {
    cargo test --quiet --locked --workspace --lib --tests --no-run --message-format=json |
        sed -n '/"manifest_path":"[^"]*\/tests\/Cargo.toml"/s/.*"kind":\["\(lib\|test\)"\],.*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\2 \3/p'
}

echo "Building the programs and their tests..."
cargo build --locked --workspace --bins
cargo test --quiet --locked --workspace --tests --no-run
began=$SECONDS

if (($#)); then
    for pattern in "$@"; do
        threads=$AT_ONCE
        [[ $pattern != alone_* ]] || threads=1
        mapfile -t files < <(matching "$pattern")
        ((${#files[@]})) || { echo "error: no tests/tests/$pattern.rs" >&2; exit 2; }
        group "$threads" "${files[@]}"
    done
else
    mapfile -t others < <(matching '*' | grep -vE '^(programs|cluster|alone|pair)_')
    printf '\n--> the harness itself\n'
    executables >"$scratch/executables"
    (cd tests && "$(awk '$1 == "tests" { print $2 }' "$scratch/executables")" --quiet) 2>&1 | tee -a "$output" || failed=1
    mapfile -t files < <(matching 'programs_*')
    # Those wait more.
    without_cluster "${files[@]}" "${others[@]}"
    # The longest first, but for what waits most.
    longest=(take_over gate attacks crashes restart agent faulty_multus devices api outage_rates node_faults first_sight settings
        teardown multus clock)
    mapfile -t files < <({ printf 'alone_%s\n' "${longest[@]}" && echo ${PAIR:+pair} && matching 'alone_*'; } | awk 'NF && !seen[$0]++')
    # The first one has 48 pods, and a node to itself.
    on_clusters cluster_refused_configs "${files[@]}"
fi

awk -v seconds=$((SECONDS - began)) '
    /^test result:/ { passed += $4; bad += $6; ignored += $8 }
    /^test .*FAILED$/ || /^test .*has been running/ { print }
    END { printf "\n%d passed, %d failed, %d ignored, in %d s\n", passed, bad, ignored, seconds }' "$output"
exit "$failed"
