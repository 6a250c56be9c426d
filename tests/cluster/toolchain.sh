# shellcheck shell=bash
# Which Go builds the components: the machine's where it is new enough, else a pinned one in the cache.
# To be sourced after lib.sh.

# The highest of the go.mod files' wishes.
GO_WANTED=$(awk '$1 == "go" { print $2 }' "$CLUSTER_SOURCE"/components/*/go.mod | sort -V | tail -n 1)

version_at_least() { # WANTED FOUND
    [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]
}

# Sets GO. Not `go version` alone: within a module that could download another toolchain.
find_go() {
    local found
    for GO in go "$CACHE/go/bin/go" /usr/local/go/bin/go; do
        found=$(cd / && GOTOOLCHAIN=local "$GO" env GOVERSION 2>/dev/null) || continue
        version_at_least "$GO_WANTED" "${found#go}" && return
    done
    return 1
}
