#!/usr/bin/env bash
# Tries what the nodes need of the kernel, in namespaces of its own: run it by
#   unshare --mount --net --pid --uts --fork --mount-proc kernel.sh
# Prints one line per feature that is missing: its name, a tab, what is needed.
set -uo pipefail

try() { # NAME NEEDED COMMAND...
    local name=$1 needed=$2
    shift 2
    "$@" >/dev/null 2>&1 || printf '%s\t%s\n' "$name" "$needed"
}

overlay_on_memory() {
    local dir
    dir=$(mktemp -d) && mount -t tmpfs kernel-check "$dir" || return 1
    mkdir "$dir"/{lower,upper,work,merged}
    mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/merged"
    local status=$?
    umount -R "$dir" && rmdir "$dir"
    return $status
}

# The kinds of rules that kube-proxy writes.
service_rules() { # FAMILY ADDRESS_TYPE
    nft -f - <<EOT
table $1 kernel-check {
    map services { type $2_addr . inet_proto . inet_service : verdict; }
    chain pod { numgen random mod 1 vmap { 0 : accept }; }
    chain output { type nat hook output priority -100; $1 daddr . meta l4proto . th dport vmap @services; fib daddr type local goto pod; }
    chain postrouting { type nat hook postrouting priority 100; meta mark & 0x4000 != 0 masquerade fully-random; }
    chain forward { type filter hook forward priority -110; ct state new reject; }
}
EOT
}

# v1: each in a hierarchy of its own. v2: all can be given to children.
controllers() {
    local name
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        for name in cpu cpuset memory pids; do
            grep -qw "$name" /sys/fs/cgroup/cgroup.subtree_control ||
                echo "+$name" >/sys/fs/cgroup/cgroup.subtree_control || return 1
        done
    else
        for name in cpu cpuacct cpuset memory pids devices; do
            awk -v name="$name" '$3 == "cgroup" && ("," $4 ",") ~ "," name "," { found = 1 } END { exit !found }' /proc/mounts || return 1
        done
    fi
}

mount --make-rprivate /
try veth "CONFIG_VETH (modprobe veth)" ip link add check0 type veth peer name check1
try bridge "CONFIG_BRIDGE (modprobe bridge)" ip link add check2 type bridge
try macvlan "CONFIG_MACVLAN (modprobe macvlan)" ip link add link check2 name check3 type macvlan mode bridge
try overlayfs "CONFIG_OVERLAY_FS (modprobe overlay); in a container, --privileged" overlay_on_memory
try nftables "CONFIG_NF_TABLES with NAT, fib, numgen and reject (modprobe nf_tables)" service_rules ip ipv4
[[ ${IP_FAMILY:-ipv4} == ipv4 ]] || {
    try IPv6 "CONFIG_IPV6, not switched off (net.ipv6.conf.all.disable_ipv6=0)" ip addr add fd00::1/64 dev check2
    try nftables6 "CONFIG_NF_TABLES_IPV6 with NAT, fib and reject" service_rules ip6 ipv6
}
try cgroups "the controllers cpu, cpuset, memory and pids, writable; in a container, --privileged --cgroupns=host" controllers
