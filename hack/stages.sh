# shellcheck shell=bash
# What `make demo` and `make test` share: stages with their times, the way to an installed cluster, and the
# promise that nothing stays behind. To be sourced at the top of a script that runs in the checkout's root.

MANIFEST=manifests/dynamic-networks-controller.yaml
ARCHIVE=${CARGO_TARGET_DIR:-target}/image-of-the-tests.tar
STAGES=()
JOB=

# stage NAME HOW_LONG COMMAND...: runs it and notes the outcome for the summary. False when the command failed.
stage() {
    local name=$1 how_long=$2 start=$SECONDS verdict=failed
    shift 2
    printf '\n==> %s (%s)\n' "$name" "$how_long"
    ! "$@" || verdict=passed
    STAGES+=("$(printf '%-7s %5d s   %s' "$verdict" $((SECONDS - start)) "$name")")
    [[ $verdict == passed ]]
}

summary() {
    echo
    printf '%s\n' "${STAGES[@]}"
}

# build_image [PROFILE]: the image that the manifest names; with the quick profile, unless another is given.
build_image() {
    local image
    image=$(awk '$1 == "image:" { print $2; exit }' "$MANIFEST")
    IMAGE=$image PROFILE=${1:-demo} ARCHIVE=$ARCHIVE hack/build-image.sh
}

# Starts a fresh cluster, with its components built where they are not cached, beside what runs here meanwhile.
# CLUSTERS: names of further ones.
start_cluster() {
    set -m
    fresh_clusters > >(sed -u 's/^/[cluster] /') 2>&1 &
    JOB=$!
    set +m
}

fresh_clusters() {
    local name
    for name in "" ${CLUSTERS:-}; do
        CLUSTER=$name tests/cluster/down.sh --quiet && CLUSTER=$name tests/cluster/up.sh || return
    done
}

await_cluster() {
    local status=0
    wait "$JOB" || status=$?
    JOB=
    return "$status"
}

# On every cluster, the unnamed one last: kubectl is for that one afterwards.
install() {
    local name
    for name in ${CLUSTERS:-} ""; do
        export CLUSTER=$name
        install_here ".cluster${name:+-$name}" || return
    done
}

install_here() { # STATE
    # shellcheck source=/dev/null
    . "$1/env" && export KUBECONFIG PATH="$CLUSTER_BIN:$PATH" &&
        tests/cluster/ctl.sh load "$ARCHIVE" &&
        kubectl apply -f "$MANIFEST" &&
        kubectl -n kube-system rollout status --timeout=120s deployment/dynamic-networks-webhook &&
        kubectl -n kube-system rollout status --timeout=120s daemonset/dynamic-networks-controller-ds
}

# Takes away what this run made, also when it is interrupted.
clean_up() {
    if [[ -n $JOB ]]; then
        kill -TERM -- "-$JOB" 2>/dev/null || true
        wait "$JOB" 2>/dev/null || true
    fi
    local name
    for name in "" ${CLUSTERS:-}; do
        CLUSTER=$name tests/cluster/down.sh --quiet || return
    done
}
