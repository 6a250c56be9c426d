#!/usr/bin/env bash
# Renders the manifests, and what the kustomizations beside them are made of, from manifests/templates/ into
# manifests/, or the directory given, for the variables that `make manifests` passes. With its defaults the result is
# what the repository holds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../manifests"
into="${1:-.}"

: "${IMAGE:?}" "${NAMESPACE:?}" "${CONTAINERD_SOCKET_PATH:?}" "${CRIO_SOCKET_PATH:?}" "${MULTUS_SOCKET_PATH:?}"

# The agent sees the node's /run as /host/run: a path of the node is translated, any other is refused.
as_mounted() { # VARIABLE
    local path="${!1#/var}"
    case "$path" in
        /host/run/*) echo "$path" ;;
        /run/*) echo "/host$path" ;;
        *)
            echo "$1=${!1}: the agent's pod mounts the node's /run only; allowed are /run/... and /host/run/..." >&2
            return 1
            ;;
    esac
}
containerd=$(as_mounted CONTAINERD_SOCKET_PATH)
crio=$(as_mounted CRIO_SOCKET_PATH)
multus=$(as_mounted MULTUS_SOCKET_PATH)

for value in "$IMAGE" "$NAMESPACE" "$containerd" "$crio" "$multus"; do
    if [[ ! "$value" =~ ^[A-Za-z0-9._/:@-]+$ ]]; then
        echo "\"$value\": allowed are letters, digits and . _ / : @ -" >&2
        exit 1
    fi
done

# The last expression: in kube-system, "kube-system and our own namespace" is one.
render() { # CRI_SOCKET_PATH TEMPLATE...
    local cri="$1"
    shift
    echo "# Rendered by \`make manifests\` from manifests/templates/: edit there."
    (cd templates && cat "$@") | sed \
        -e "s|\${IMAGE}|$IMAGE|g" \
        -e "s|\${NAMESPACE}|$NAMESPACE|g" \
        -e "s|\${CRI_SOCKET_PATH}|$cri|g" \
        -e "s|\${MULTUS_SOCKET_PATH}|$multus|g" \
        -e 's|\[kube-system, kube-system\]|[kube-system]|'
}

output() { # FILE CRI_SOCKET_PATH TEMPLATE...
    local file="$into/$1"
    shift
    mkdir -p "$(dirname "$file")"
    render "$@" >"$file"
}

output dynamic-networks-controller.yaml "$containerd" agent.yaml.in webhook.yaml.in
output crio-dynamic-networks-controller.yaml "$crio" agent.yaml.in webhook.yaml.in
output scc.yaml "$crio" scc.yaml.in
# A kustomization may read files of its own directory only.
output base/agent.yaml "$containerd" agent.yaml.in
output base/webhook.yaml "$containerd" webhook.yaml.in
output overlays/crio/config.yaml "$crio" config.yaml.in
output overlays/openshift/scc.yaml "$crio" scc.yaml.in
output components/cert-manager/certificates.yaml "$containerd" certificates.yaml.in
output components/cert-manager/injection.yaml "$containerd" injection.yaml.in
output components/monitoring/podmonitors.yaml "$containerd" podmonitors.yaml.in
