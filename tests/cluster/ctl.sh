#!/usr/bin/env bash
# Handles the running cluster of this checkout. NODE=2 means the second node; the first is the default. CLUSTER=NAME
# means that cluster.
#
#   ctl.sh alive                 exit status 0 when every component of every node runs
#   ctl.sh exec COMMAND...       runs a command in the node (its mounts, network, processes)
#   ctl.sh load ARCHIVE...       imports images (OCI or docker archives) into every node
#   ctl.sh stop COMPONENT        ends it for good (until start)
#   ctl.sh start COMPONENT       starts it and waits until it serves
#   ctl.sh restart COMPONENT     both
#   ctl.sh kill COMPONENT        SIGKILL; it is started again after a second, as any that ends by itself
#   ctl.sh wait COMPONENT        waits until it serves
#   ctl.sh logs COMPONENT        prints its log
#   ctl.sh components            their names
#   ctl.sh reboot                the node loses its power, and starts again with what is on its disk
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ((EUID != 0)); then
    exec sudo -- env NODE="${NODE:-1}" CLUSTER="$CLUSTER" "$(realpath "${BASH_SOURCE[0]}")" "$@"
fi

# shellcheck source=host/cgroups.sh
. "$CLUSTER_SOURCE/host/cgroups.sh"
# shellcheck source=host/components.sh
. "$CLUSTER_SOURCE/host/components.sh"

node=${NODE:-1}
verb=${1:-}
[[ $# -eq 0 ]] || shift

known_component() {
    [[ " $(components_of "$node" | tr '\n' ' ') " == *" ${1:-} "* ]] ||
        fail "'${1:-}' is no component of node$node: $(components_of "$node" | tr '\n' ' ')"
}

# The pid as the node sees it; empty when it does not run.
component_pid() { cat "$(supervisor_file "$node" "$1" pid)" 2>/dev/null || true; }

signal_component() { # COMPONENT SIGNAL
    local pid
    pid=$(component_pid "$1")
    [[ -z $pid ]] || node_exec "$node" kill "-$2" "$pid" 2>/dev/null || true
}

# Whether another process has taken the place of the one with this pid, or none has.
pid_is_gone() { # COMPONENT PID
    [[ $(component_pid "$1") != "$2" ]]
}

kill_component() {
    local pid
    pid=$(component_pid "$1")
    [[ -n $pid ]] || fail "$1 does not run"
    signal_component "$1" KILL
    wait_until 10 pid_is_gone "$1" "$pid" || fail "$1 does not end"
}

component_has_ended() { [[ -z $(component_pid "$1") ]]; }

stop() {
    touch "$(supervisor_file "$node" "$1" stopped)"
    signal_component "$1" TERM
    wait_until 20 component_has_ended "$1" || {
        signal_component "$1" KILL
        wait_until 10 component_has_ended "$1" || fail "$1 does not end"
    }
}

start() {
    rm -f "$(supervisor_file "$node" "$1" stopped)"
    await_component "$node" "$1"
}

load() {
    local archive number
    for archive in "$@"; do
        for ((number = 1; number <= NODES; number++)); do
            load_image "$number" <"$archive" || fail "$archive cannot be imported into node$number"
        done
    done
}

reboot() {
    local mark component
    mark=/proc/$(node_pid "$node")/root/run/rebooting
    touch "$mark"
    node_exec "$node" kill -USR1 1 || true # it kills this one too
    wait_until 30 test ! -e "$mark" || fail "node$node does not end its processes"
    for component in $(components_of "$node"); do
        await_component "$node" "$component"
    done
}

# The init of every node runs, in our group, and all components with it.
alive() {
    local number component
    for ((number = 1; number <= NODES; number++)); do
        cgroup_processes | grep -qx "$(node_pid "$number")" || return 1
        for component in $(components_of "$number"); do
            component_is_ready "$number" "$component" || return 1
        done
    done
}

[[ -f $STATE/env ]] || fail "the cluster is not up: make cluster-up"
# shellcheck source=/dev/null
. "$STATE/env"
# shellcheck disable=SC2034 # for component_is_ready
API_ADDRESS=$NODE_IP

case $verb in
alive) alive ;;
exec) node_exec "$node" "$@" ;;
load) load "$@" ;;
reboot) reboot ;;
components) components_of "$node" | tr ' ' '\n' ;;
stop | start | restart | kill | wait | logs)
    known_component "${1:-}"
    case $verb in
    stop) stop "$1" ;;
    start) start "$1" ;;
    restart) stop "$1" && start "$1" ;;
    kill) kill_component "$1" ;;
    wait) await_component "$node" "$1" ;;
    logs) cat "$(component_log "$node" "$1")" ;;
    esac
    ;;
*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
