#!/usr/bin/env bash
# Builds both programs static and puts them into one image.
#   IMAGE     its name
#   PROFILE   cargo profile: release, or demo (quick to build)
#   OCI_BIN   docker or podman; unset: docker if its engine answers, else podman
#   ARCHIVE   optional: a file to save the image to; the engine is left as it was found
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${IMAGE:?}" "${PROFILE:?}"

target="$(uname -m)-unknown-linux-gnu"
GIT_SHA="$(git rev-parse HEAD 2>/dev/null || echo unknown)"
# What is shipped knows its commit. The quick image would be compiled again for each; its label has it.
[[ $PROFILE == demo ]] || export GIT_SHA

engine() {
    if [[ -n "${OCI_BIN:-}" ]]; then
        echo "$OCI_BIN"
    elif docker info >/dev/null 2>&1 || ! command -v podman >/dev/null; then
        echo docker
    else
        echo podman
    fi
}
oci="$(engine)"

RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --target "$target" --profile "$PROFILE" -p agent -p webhook

output="${CARGO_TARGET_DIR:-target}/$target"
if grep -qa FAILPOINTS "$output/${PROFILE/#dev/debug}/dynamic-networks-agent"; then
    echo "the agent was built with the places at which tests kill it (feature failpoints)" >&2
    exit 1
fi
context="$output/image"
mkdir -p "$context"
cp -f "$output/${PROFILE/#dev/debug}"/dynamic-networks-{agent,webhook} "$context"

# Image names belong to the machine, not to the checkout: one at a time.
exec 9>"${TMPDIR:-/tmp}/dynamic-networks-image.$UID.lock"
flock 9

previous="$("$oci" images --quiet "$IMAGE")"
"$oci" build --build-arg GIT_SHA="$GIT_SHA" --tag "$IMAGE" --file Containerfile "$context"
if [[ -n "${ARCHIVE:-}" ]]; then
    rm -f "$ARCHIVE"
    "$oci" save --output "$ARCHIVE" "$IMAGE"
    built="$("$oci" images --quiet "$IMAGE")"
    if [[ "$previous" != "$built" ]]; then
        "$oci" rmi --force "$built" >/dev/null
        [[ -z "$previous" ]] || "$oci" tag "$previous" "$IMAGE"
    fi
fi
