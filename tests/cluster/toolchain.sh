# shellcheck shell=bash
# shellcheck disable=SC2034 # read by those who source this file
# Which tools build the components: the machine's where they are good enough, else those that preflight.sh put into
# the cache.
# To be sourced after lib.sh.

# The highest of the go.mod files' wishes.
GO_WANTED=$(awk '$1 == "go" { print $2 }' "$CLUSTER_SOURCE"/components/*/go.mod | sort -V | tail -n 1)

version_at_least() { # WANTED FOUND
    [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]
}

# Sets GO. Not `go version` alone: within a module that could download another toolchain.
find_go() {
    local found
    for GO in go "$CACHE/go/bin/go"; do
        found=$(cd / && GOTOOLCHAIN=local "$GO" env GOVERSION 2>/dev/null) || continue
        version_at_least "$GO_WANTED" "${found#go}" && return
    done
    return 1
}

# Prints the path of a busybox that needs no libraries.
find_busybox() {
    local candidate
    for candidate in "$(command -v busybox)" "$CACHE"/busybox/{usr/bin,bin}/busybox; do
        [[ -x $candidate ]] || continue
        # A program without libraries has nothing for ldd to list.
        ldd "$candidate" >/dev/null 2>&1 && continue
        echo "$candidate"
        return
    done
    return 1
}
