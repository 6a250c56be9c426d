#!/usr/bin/env bash
# Builds the two images that every cluster brings along, as OCI archives: images.sh DIRECTORY
#
# They are put together by hand, one layer of static files each: that needs no engine, no root, no registry, and half
# a second.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=toolchain.sh
. "$CLUSTER_SOURCE/toolchain.sh"

out=$1
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Stores a file as a blob of the layout, and prints its descriptor.
blob() { # LAYOUT FILE MEDIA_TYPE
    local digest size
    digest=$(sha256sum "$2" | cut -d' ' -f1)
    size=$(stat -c %s "$2")
    cp "$2" "$1/blobs/sha256/$digest"
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s}' "$3" "$digest" "$size"
}

architecture() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) fail "no image can be built on $(uname -m)" ;;
    esac
}

# An OCI archive of one root directory.
archive() { # NAME ROOT COMMAND_JSON FILE
    local layout=$work/layout layer=$work/layer.tar config=$work/config.json manifest=$work/manifest.json
    local layer_blob config_blob manifest_blob
    rm -rf "$layout"
    mkdir -p "$layout/blobs/sha256"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$2" -cf "$layer" .
    printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(architecture)" "$3" "$(sha256sum "$layer" | cut -d' ' -f1)" >"$config"
    layer_blob=$(blob "$layout" "$layer" layer.v1.tar)
    config_blob=$(blob "$layout" "$config" config.v1+json)
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
        "$config_blob" "$layer_blob" >"$manifest"
    manifest_blob=$(blob "$layout" "$manifest" manifest.v1+json)
    printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"io.containerd.image.name":"%s"}}]}' \
        "${manifest_blob%\}}" "$1" >"$layout/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$layout" -cf "$4" oci-layout index.json blobs
}

pause_root() {
    mkdir -p "$work/pause"
    cc -static -Os -s -Wall -o "$work/pause/pause" "$CLUSTER_SOURCE/pause/pause.c"
}

# Every applet under its name, so that manifests may call them as on any other image.
busybox_root() {
    local busybox applet
    busybox=$(find_busybox) || fail "no static busybox: run $CLUSTER_SOURCE/preflight.sh"
    mkdir -p "$work/busybox"/{bin,etc,tmp,root,var}
    chmod 1777 "$work/busybox/tmp"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$work/busybox/etc/passwd"
    cp "$busybox" "$work/busybox/bin/busybox"
    for applet in $("$busybox" --list); do
        [[ $applet == busybox ]] || ln -s busybox "$work/busybox/bin/$applet"
    done
}

pause_root
archive "$PAUSE_IMAGE" "$work/pause" '["/pause"]' "$out/pause.tar"
busybox_root
archive "$BUSYBOX_IMAGE" "$work/busybox" '["sh"]' "$out/busybox.tar"
