#!/usr/bin/env bash
# The first process of a node, in fresh namespaces: builds the node's root file system and becomes its init.
#
# The root is a throw-away layer in memory over the host's own: the node finds the host's programs, sees none of
# its /run, /etc/cni or /var/lib/kubelet, and whatever it writes is gone with it.
#
# Usage: root.sh STATE BIN CONTAINERD_BIN MULTUS_BIN NODE; environment as in init.sh.
set -euo pipefail

state=$1 bin=$2 containerd_bin=$3 multus_bin=$4 node=$5
source_dir=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Directories that start empty, and are not on the overlay: an overlay cannot lie on another one.
OWN=(etc/cni etc/kubernetes opt/cni var/lib/cni var/lib/containerd var/lib/dynamic-networks var/lib/etcd
    var/lib/kubelet var/log/pods var/log/containers)

# This is the host's /proc still: it tells our pid as the host sees it.
read -r host_pid _ </proc/self/stat
echo "$host_pid" >"$state/$node/pid"

mount --make-rprivate /
mount -t tmpfs -o mode=755 "$node" "$state/$node/layer"
cd "$state/$node/layer"
mkdir upper work own root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work "$node" root

mount --rbind /dev root/dev
mount -t proc proc root/proc
mount -t sysfs sysfs root/sys
mount --rbind /sys/fs/cgroup root/sys/fs/cgroup
mount -t tmpfs -o mode=755 run root/run
for dir in "${OWN[@]}"; do
    mkdir -p "own/$dir" "root/$dir"
    mount --bind "own/$dir" "root/$dir"
done

mkdir -p root/run/cluster/{state,bin,containerd,multus,node} root/run/lock
mount --bind "$state" root/run/cluster/state
mount --bind "$bin" root/run/cluster/bin
mount --bind "$containerd_bin" root/run/cluster/containerd
mount --bind "$multus_bin" root/run/cluster/multus
mount --bind "$source_dir" root/run/cluster/node

# The kubelet sets these, and they are the machine's: give it a copy to write to.
for parameter in vm/{overcommit_memory,panic_on_oom} kernel/{panic,panic_on_oops} kernel/keys/{root_maxkeys,root_maxbytes}; do
    [[ -e root/proc/sys/$parameter ]] || continue
    mkdir -p "own/sys/${parameter%/*}"
    cat "root/proc/sys/$parameter" >"own/sys/$parameter"
    mount --bind "own/sys/$parameter" "root/proc/sys/$parameter"
done

# No name server: no name of the outside is ever asked for. (The host's file may be a link to elsewhere.)
rm -f root/etc/resolv.conf
: >root/etc/resolv.conf

mkdir root/run/host
cd root
pivot_root . run/host
exec chroot . /run/cluster/node/init.sh
