# shellcheck shell=bash
# shellcheck disable=SC2034 # read by those who source this file
# The cluster's cgroups, on v1 and v2: one tree for the pods of each node, and one group that holds every
# process that we start. The latter is how a killed run is found again: no pid file can lie about it.
# To be sourced after lib.sh.

CGROUP=dynamic-networks-$CLUSTER_ID

# The root directories of all hierarchies: one on v2, one per controller on v1 (and v2's beside them, without any).
cgroup_hierarchies() {
    awk '$3 ~ /^cgroup2?$/ && $2 ~ "^/sys/fs/cgroup" { print $2 }' /proc/mounts
}

# The group of our own processes. On v1 any one hierarchy is enough to find them.
cgroup_of_processes() {
    local hierarchy
    hierarchy=$(cgroup_hierarchies | grep -m1 -E '/(pids|cgroup)$') || return 1
    echo "$hierarchy/$CGROUP/processes"
}

cgroup_create() { # NODES
    local hierarchy node
    for hierarchy in $(cgroup_hierarchies); do
        for ((node = 1; node <= $1; node++)); do
            mkdir -p "$hierarchy/$CGROUP/node$node"
        done
        [[ ! -e $hierarchy/cgroup.controllers ]] || cgroup_delegate "$hierarchy" || return 1
    done
    mkdir -p "$(cgroup_of_processes)"
}

# v2: hands the controllers down to the nodes' groups. The kubelet cannot do without four of them.
cgroup_delegate() { # HIERARCHY
    local controller
    for controller in $(<"$1/cgroup.controllers"); do
        if ! echo "+$controller" >"$1/cgroup.subtree_control" || ! echo "+$controller" >"$1/$CGROUP/cgroup.subtree_control"; then
            [[ ! $controller =~ ^(cpu|cpuset|memory|pids)$ ]] || return 1
        fi
    done 2>/dev/null
}

cgroup_processes() {
    cat "$(cgroup_of_processes)/cgroup.procs" 2>/dev/null || true
}

# Kills what runs in the group, the init of each node with it, and so all that lives in the nodes.
cgroup_kill() {
    local pids
    pids=$(cgroup_processes)
    # shellcheck disable=SC2086 # one word per pid
    [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
    [[ -z $pids ]]
}

cgroup_remove() {
    local hierarchy left=0
    for hierarchy in $(cgroup_hierarchies); do
        [[ -d $hierarchy/$CGROUP ]] || continue
        find "$hierarchy/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || left=1
    done
    return $left
}
