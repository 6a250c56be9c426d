#!/usr/bin/env bash
# Whether a component of this node serves. Runs inside the node's namespaces: ready.sh COMPONENT
# Environment: NODE, API_ADDRESS.
set -euo pipefail
# shellcheck source=components.sh
. /run/cluster/node/components.sh
"ready_$1" >/dev/null 2>&1
