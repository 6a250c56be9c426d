# shellcheck shell=bash
# The components of the nodes as the host sees and handles them. To be sourced after lib.sh.

components_of() { # NUMBER
    (($1 > 1)) || echo etcd kube-apiserver kube-controller-manager kube-scheduler
    echo containerd kubelet kube-proxy multus
}

# The pid of a node's init, as the host sees it.
node_pid() { cat "$STATE/node$1/pid"; }

# Runs a command as a process of the node.
node_exec() { # NUMBER COMMAND...
    local pid
    pid=$(node_pid "$1")
    shift
    nsenter --target "$pid" --mount --net --pid --uts -- "$@"
}

load_image() { # NUMBER, the archive on stdin
    node_exec "$1" env CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 \
        /run/cluster/bin/ctr --namespace k8s.io images import --local - >/dev/null
}

component_log() { # NUMBER COMPONENT
    if (($1 == 1)); then echo "$STATE/logs/$2.log"; else echo "$STATE/logs/node$1/$2.log"; fi
}

# A file of the supervisor: see init.sh.
supervisor_file() { # NUMBER COMPONENT FILE
    echo "/proc/$(node_pid "$1")/root/run/supervisor/$2/$3"
}

component_starts() { cat "$(supervisor_file "$1" "$2" starts)" 2>/dev/null || echo 0; }

component_is_ready() { # NUMBER COMPONENT
    node_exec "$1" env "NODE=node$1" "API_ADDRESS=$API_ADDRESS" /run/cluster/node/ready.sh "$2"
}

# Waits until it serves; gives up with the end of its log when it fails to start three times over, or after a while.
await_component() { # NUMBER COMPONENT
    local end=$((SECONDS + 120)) starts before
    before=$(component_starts "$1" "$2")
    until component_is_ready "$1" "$2" 2>/dev/null; do
        starts=$(component_starts "$1" "$2")
        if ((SECONDS > end || starts > before + 3)) || ! kill -0 "$(node_pid "$1")" 2>/dev/null; then
            {
                echo "the end of $(component_log "$1" "$2"):"
                tail -n 25 "$(component_log "$1" "$2")"
            } >&2
            fail "$2 of node$1 does not become ready"
        fi
        sleep 0.1
    done
}
