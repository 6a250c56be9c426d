#!/usr/bin/env bash
# What a large cluster costs the API server and the webhook, computed from unit costs. Nothing is started.
#
# Each unit cost is a variable, and `make bench` measures it: its rows name the variables, or are named here. Set what your cluster has: NODES=500 PODS=15000 EDITS=1000 hack/scale.sh
set -euo pipefail

NODES=${NODES:-5000} PODS=${PODS:-150000} NETWORKS=${NETWORKS:-10000}
# An operator edits so many pods in a minute; each edit plugs one network.
EDITS=${EDITS:-10000}
# The API server that rolls had this share of the connections; clients come back within so many seconds.
ROLLED=${ROLLED:-0.34} BACK=${BACK:-30}
# Changes of pods that have nothing to do with networks, for each pod and hour: starts, probes, labels.
POD_CHANGES=${POD_CHANGES:-4}
# Changes of NetworkAttachmentDefinitions in the whole cluster, in an hour.
NETWORK_CHANGES=${NETWORK_CHANGES:-20}
# Nodes with pods that use networks.
USING=${USING:-$NODES}

# "API requests of the agent for a plug": a patch of the status, an event, and a read of the network for each node.
PATCHES=${PATCHES:-1} EVENTS=${EVENTS:-1}
# "API requests of the agent while multus is restarted", for a node. Daemons are restarted one after the other, in so many
# seconds.
ROLL_REQUESTS=${ROLL_REQUESTS:-0} ROLL=${ROLL:-3600}
# Reviews for an edit: 1 where the list names its interfaces, else 2. Requests a second of one core ("/mutate, 1 element"),
# and the share of it that a replica should be busy.
REVIEWS=${REVIEWS:-2} REVIEWS_PER_CORE=${REVIEWS_PER_CORE:-28000} BUSY=${BUSY:-0.1}
# Rows "bytes of": metadata and whole object of a pod; metadata and whole object of a network; a status patch; an event.
POD_METADATA=${POD_METADATA:-2400} POD=${POD:-7000} NETWORK_METADATA=${NETWORK_METADATA:-700} NETWORK=${NETWORK:-1300}
PATCH=${PATCH:-1600} EVENT=${EVENT:-1000}

awk -v nodes="$NODES" -v pods="$PODS" -v networks="$NETWORKS" -v edits="$EDITS" -v rolled="$ROLLED" -v back="$BACK" \
    -v changes="$POD_CHANGES" -v network_changes="$NETWORK_CHANGES" -v using="$USING" -v patches="$PATCHES" \
    -v events="$EVENTS" -v reviews="$REVIEWS" -v per_core="$REVIEWS_PER_CORE" -v busy="$BUSY" \
    -v pod_metadata="$POD_METADATA" -v pod="$POD" -v network_metadata="$NETWORK_METADATA" -v network="$NETWORK" \
    -v patch="$PATCH" -v event="$EVENT" -v roll_requests="$ROLL_REQUESTS" -v roll="$ROLL" '
function row(what, ours, theirs) { printf "%-66s %18s %18s\n", what, ours, theirs }
function rate(number) { return sprintf("%.1f/s", number) }
function bytes(number) {
    if (number >= 1e9) return sprintf("%.1f GB", number / 1e9)
    return number >= 1e6 ? sprintf("%.1f MB", number / 1e6) : sprintf("%.1f kB", number / 1e3)
}
BEGIN {
    printf "%d nodes, %d pods, %d networks\n\n", nodes, pods, networks
    row("", "ours", "predecessor")
    # Both watch the pods of their node. Ours gets metadata, and networks only where they are used.
    row("watches, all agents", nodes + using, 2 * nodes)
    steady = pods * changes / 3600
    row("at rest: bytes a second of pod watches", bytes(steady * pod_metadata), bytes(steady * pod))
    changed = network_changes / 3600
    row("at rest: bytes a second of network watches", bytes(changed * using * network_metadata),
        bytes(changed * nodes * network))
    row("at rest: memory of all agents for networks they do not use", "none", bytes(nodes * networks * network))
    print ""
    second = edits / 60
    print edits " edits in a minute"
    row("  requests a second by agents (status, events)", rate(second * (patches + events)), rate(second * 3))
    row("  reads of networks by agents, first use on each node", sprintf("%d in all", using < edits ? using : edits), "none")
    row("  bytes a second written", bytes(second * (patch + event)), bytes(second * (pod + event)))
    row("  reviews a second", rate(second * reviews), "no webhook")
    replicas = second * reviews / (per_core * busy)
    row("  webhook replicas for that load (two for availability)", int(replicas) + 1 < 2 ? 2 : int(replicas) + 1, "")
    print ""
    print "one of three API servers rolls"
    # Ours resumes watches where they were. The predecessor lists both kinds again when the version is too old for the cache.
    row("  requests a second while watches come back", rate(rolled * (nodes + using) / back),
        rate(rolled * 2 * nodes / back))
    row("  bytes, where each of them has to list again",
        bytes(rolled * pods * pod_metadata), bytes(rolled * (pods * pod + nodes * networks * network)))
    print ""
    print "multus rolls"
    row("  requests a second by agents", rate(nodes * roll_requests / roll), "not measured")
}'
