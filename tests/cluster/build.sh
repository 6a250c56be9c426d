#!/usr/bin/env bash
# Builds the cluster's components from their pins, once: the result is cached by the hash of pins and flags.
# Run as yourself; nothing here needs root. Two checkouts may run it at once: the second waits, and finds it done.
#
#   build.sh [COMPONENT]                      builds all (or one that is not in the usual set: multus-4.2.2)
#   build.sh --print-directory [COMPONENT]    where it is, or will be, with the programs in bin/
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=toolchain.sh
. "$CLUSTER_SOURCE/toolchain.sh"

# What a cold build takes on two cores, the longest first.
USUAL=(kubernetes containerd multus cni-plugins)
declare -A MINUTES=([kubernetes]=9 [containerd]=1.5 [multus]=1.5 [cni-plugins]=0.2)

# The directory of a set of components: its name is the hash of all that goes into them.
directory_of() { # COMPONENT...
    local name hash
    hash=$({
        for name in "$@"; do
            [[ -f $CLUSTER_SOURCE/components/$name/go.mod ]] || fail "there is no component $name"
            find "$CLUSTER_SOURCE/components/$name" -type f -print0 | sort -z | xargs -0 cat
        done
        uname -m
    } | sha256sum | cut -c1-64)
    echo "$CACHE/$hash"
}

# Tells every half minute that it is still at it.
with_progress() { # DIRECTORY PROGRAMS COMMAND...
    local directory=$1 programs=$2 began=$SECONDS told=$SECONDS pid
    shift 2
    "$@" &
    pid=$!
    # shellcheck disable=SC2064 # this pid
    trap "kill $pid 2>/dev/null || true" EXIT
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        ((SECONDS - told < 30)) || {
            told=$SECONDS
            say "    $(find "$directory" -type f | wc -l) of $programs programs after $((SECONDS - began)) s"
        }
    done
    wait "$pid"
    trap - EXIT
    say "    done after $((SECONDS - began)) s"
}

# To be run in the background: the process becomes the compiler, so that killing it ends the build.
go_build() { # COMPONENT DIRECTORY
    local flags
    mapfile -t flags <"$CLUSTER_SOURCE/components/$1/flags"
    cd "$CLUSTER_SOURCE/components/$1"
    export CGO_ENABLED=0 GOWORK=off
    exec "$GO" build -trimpath -buildvcs=false "${flags[@]}" -o "$2/" tool
}

build_component() { # NUMBER OF COMPONENT OUTPUT
    local name=$3 into=$4/bin programs
    # Plugins have a directory of their own: the node offers all of it to the container runtime.
    [[ $name != cni-plugins ]] || into=$4/bin/cni
    programs=$(cd "$CLUSTER_SOURCE/components/$name" && GOWORK=off "$GO" list tool | wc -l)
    say "[$1 of $2] $name: $programs programs, usually ${MINUTES[$name]:-1.5} min on 2 cores when nothing is cached"
    mkdir -p "$into" "$4/part"
    with_progress "$4/part" "$programs" go_build "$name" "$4/part"
    mv "$4"/part/* "$into/"
}

build_set() { # DIRECTORY COMPONENT...
    local directory=$1 work=$1.unfinished number=0 name
    shift
    rm -rf "$work"
    mkdir -p "$work"
    for name in "$@"; do
        number=$((number + 1))
        build_component "$number" $# "$name" "$work"
    done
    rmdir "$work/part"
    mv "$work" "$directory"
}

main() {
    local print=no components=("${USUAL[@]}") directory
    if [[ ${1:-} == --print-directory ]]; then
        print=yes
        shift
    fi
    [[ $# -eq 0 ]] || components=("$@")
    directory=$(directory_of "${components[@]}")
    if [[ $print == yes ]]; then
        echo "$directory"
    elif [[ ! -d $directory ]]; then
        find_go || fail "no Go $GO_WANTED or newer: run $CLUSTER_SOURCE/preflight.sh"
        mkdir -p "$CACHE"
        exec 9>"$CACHE/lock"
        flock --nonblock 9 || { say "Another build is running; waiting for it..." && flock 9; }
        [[ -d $directory ]] || build_set "$directory" "${components[@]}"
    fi
}

main "$@"
