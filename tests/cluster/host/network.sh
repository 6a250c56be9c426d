# shellcheck shell=bash
# shellcheck disable=SC2034 # read by those who source this file
# The links and addresses of the cluster, all made from the host:
#
#   host: dn<id> .1 ──veth── node1: eth0 (bridge) .2 ──veth── node2: eth0 .3
#                            node1: eth1 (bridge)    ──veth── node2: eth1
#
# eth0 carries the nodes' addresses, eth1 is the parent of the pods' macvlan interfaces. The bridges are inside
# node1, where no firewall rule of the host reaches them. There is no default route: nothing leaves the machine.
# Where a parameter is called ADDRESSES or RANGES, it has one per IP family, the first family first: "198.18.7.34,fd19:8::2".
# To be sourced after lib.sh.

HOST_LINK=dn$CLUSTER_ID

# per_family IPV4 IPV6: those of the families that the cluster has.
per_family() {
    case $IP_FAMILY in
    ipv4) echo "$1" ;;
    ipv6) echo "$2" ;;
    dual) echo "$1,$2" ;;
    esac
}

SERVICE_RANGE=$(per_family 10.96.0.0/16 fd10:96::/108)
CLUSTER_RANGE=$(per_family 10.244.0.0/16 fd10:244::/48)

# The first address of the first service range: the API server takes it for the service "kubernetes".
api_service_address() {
    case $IP_FAMILY in
    ipv6) echo fd10:96::1 ;;
    *) echo 10.96.0.1 ;;
    esac
}

# Each node has 1022 IPv4 pod addresses: more than twice its 250 pods, also with some hot-plugs on the same range.
pod_range() { per_family "10.244.$((($1 - 1) * 4)).0/22" "fd10:244:0:$1::/64"; }

# The IPv6 /64 of the nodes' addresses. Two clusters of one id would have the same link name already.
subnet6() { echo "fd19:8:${CLUSTER_ID:0:4}:${CLUSTER_ID:4:4}"; }

# The first free /28 of the benchmarking range, from where the id of the cluster points at; without its last octet's
# offset: "198.18.7 32". Call it under host_lock.
free_subnet() {
    local start=$((16#${CLUSTER_ID:0:4} % 8192)) try index prefix offset
    for ((try = 0; try < 8192; try++)); do
        index=$(((start + try) % 8192))
        prefix=198.$((18 + index / 4096)).$((index % 4096 / 16))
        offset=$((index % 16 * 16))
        subnet_in_use "$prefix.$offset/28" || {
            echo "$prefix $offset"
            return
        }
    done
    return 1
}

# A route to the subnet, to a part of it or around it, the default routes apart.
subnet_in_use() {
    local family=-4
    [[ $1 != *:* ]] || family=-6
    { ip "$family" route show table all to match "$1" && ip "$family" route show table all to root "$1"; } |
        grep -Ev '^(default|0\.0\.0\.0/|128\.0\.0\.0/1|unreachable|blackhole)' | grep -q .
}

# One cluster at a time chooses its addresses. A directory that is always there: no lock file stays behind.
host_lock() {
    exec 8</run
    flock 8
}

host_unlock() { exec 8<&-; }

in_node() { # PID COMMAND...
    local pid=$1
    shift
    nsenter --net="/proc/$pid/ns/net" -- "$@"
}

# The first node: its bridges, and the link to the host. (Without an address of its own, a bridge takes the lowest of
# its ports', and changes it with them.)
network_first_node() { # PID HOST_ADDRESSES NODE_ADDRESSES
    network_families "$1"
    ip link add "$HOST_LINK" type veth peer name uplink netns "$1"
    address_lines "$HOST_LINK" "$2" | ip -batch -
    ip link set "$HOST_LINK" up
    in_node "$1" ip -batch - <<EOT
link add eth0 address 02:00:00:00:00:02 type bridge
link set uplink master eth0 up
link add eth1 address 02:00:00:00:01:02 type bridge
link add eth1-carrier type veth peer name eth1-port
link set eth1-port master eth1 up
link set eth1-carrier up
EOT
    network_addresses "$1" "$3"
}

network_further_node() { # FIRST_PID PID NUMBER NODE_ADDRESSES
    network_families "$2"
    in_node "$1" ip -batch - <<EOT
link add node$3-eth0 type veth peer name eth0 netns $2
link add node$3-eth1 type veth peer name eth1 netns $2
link set node$3-eth0 master eth0 up
link set node$3-eth1 master eth1 up
EOT
    network_addresses "$2" "$4"
}

network_addresses() { # PID NODE_ADDRESSES
    in_node "$1" ip -batch - <<EOT
link set lo up
link set eth0 up
link set eth1 up
$(address_lines eth0 "$2")
$(route_lines "$SERVICE_RANGE" "dev eth0")
EOT
}

# The families that the node forwards. Before it has links: these then take over "default".
network_families() { # PID
    local families
    families=$(per_family ipv4 ipv6)
    [[ $families != *ipv4* ]] || in_node "$1" sysctl -qw net.ipv4.ip_forward=1
    # Without duplicate detection, a link-local address can be used as soon as its link is up.
    [[ $families != *ipv6* ]] || in_node "$1" sysctl -qw net.ipv6.conf.all.forwarding=1 \
        net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
}

# Lines for ip -batch. An IPv6 address that still waits for duplicate detection cannot be bound.
address_lines() { # DEVICE ADDRESSES
    local address
    for address in ${2//,/ }; do
        case $address in
        *:*) echo "addr add $address/64 dev $1 nodad" ;;
        *) echo "addr add $address/28 dev $1" ;;
        esac
    done
}

route_lines() { # RANGES WHERE
    local range
    for range in ${1//,/ }; do echo "route add $range $2"; done
}

# The way from one node to the pods of another.
network_pod_routes() { # PID NUMBER NODE_ADDRESSES
    local -a ranges addresses
    local index
    IFS=, read -ra ranges < <(pod_range "$2")
    IFS=, read -ra addresses <<<"$3"
    for index in "${!ranges[@]}"; do
        in_node "$1" ip route add "${ranges[index]}" via "${addresses[index]}"
    done
}

network_remove() {
    ip link show "$HOST_LINK" >/dev/null 2>&1 || return 0
    # The kernel removes it by itself when the node's namespace goes: that may be just now.
    ip link del "$HOST_LINK" 2>/dev/null || true
    ! ip link show "$HOST_LINK" >/dev/null 2>&1
}
