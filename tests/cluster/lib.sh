# shellcheck shell=bash
# shellcheck disable=SC2034 # read by those who source this file
# Names, paths and messages that all scripts of the local cluster share. To be sourced.

# A failure inside $(...) is one too.
shopt -s inherit_errexit

CLUSTER_SOURCE=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CHECKOUT=$(cd -P "$CLUSTER_SOURCE/../.." && pwd)

# Many of the programs are root's, and not on the path of others everywhere.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# A checkout may have more than one cluster: CLUSTER=second is another one than the unnamed.
CLUSTER=${CLUSTER:-}
[[ $CLUSTER =~ ^[a-z0-9]*$ ]] || { echo "error: CLUSTER=$CLUSTER: a name has a-z and 0-9 only" >&2 && exit 1; }

# Everything that a running cluster leaves on disk; git ignores it.
STATE=$CHECKOUT/.cluster${CLUSTER:+-$CLUSTER}

# Two clusters on one machine differ in this, and so in the names of their links and cgroups.
CLUSTER_ID=$(printf %s "$STATE" | sha256sum | cut -c1-8)

# ipv4, ipv6 or dual: what pods, services and nodes have addresses of. In dual, IPv4 comes first.
IP_FAMILY=${IP_FAMILY:-ipv4}
[[ $IP_FAMILY =~ ^(ipv4|ipv6|dual)$ ]] || { echo "error: IP_FAMILY=$IP_FAMILY: ipv4, ipv6 or dual" >&2 && exit 1; }

# Under it, one directory per hash of the pins, and the toolchain where the machine has none.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/dynamic-networks

# The images that the cluster brings itself. The second is what the README's pods ask for.
PAUSE_IMAGE=localhost/pause:1
BUSYBOX_IMAGE=docker.io/library/busybox:latest

say() { printf '%s\n' "$*"; }

# The address as it stands in a URL.
url_host() {
    if [[ $1 == *:* ]]; then echo "[$1]"; else echo "$1"; fi
}

say_how_to_use() { say "  export KUBECONFIG=$(printf %q "$STATE/kubeconfig")"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command as root, with a password prompt only where sudo wants one.
as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo -- env CLUSTER="$CLUSTER" IP_FAMILY="$IP_FAMILY" "$@"
    fi
}

# wait_until SECONDS COMMAND...: polls; false when the time is over.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}
