#!/usr/bin/env bash
# Builds the container image with buildah, where no base image can be reached: Debian's own debootstrap makes one.
#
#   image.sh                       compiles inside the container, release profile (minutes)
#   PROFILE=dev image.sh           the same, unoptimised: to try the image out
#   BINARY=PATH image.sh           puts in a program that was built here already, for Debian 12 or newer
#   BASE=IMAGE BUILDER=IMAGE       use these images instead of making a base
#   TAG=NAME                       the image's name; octroi:VERSION otherwise
#
# It runs as root: debootstrap and `--isolation chroot` need that. With docker and base images at hand, `docker build .` does the same.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
tag=${TAG:-octroi:$version}
work=${WORK:-${CARGO_TARGET_DIR:-target}/image}

[ "$(id -u)" -eq 0 ] || { echo "error: image.sh needs root: debootstrap and chroot do" >&2; exit 1; }
scripts/setup.sh buildah=buildah debootstrap=debootstrap

build() { buildah --storage-driver vfs "$@"; }

base=${BASE:-localhost/octroi-base}
if [ -z "${BASE:-}" ] && ! build inspect "$base" >/dev/null 2>&1; then
    mkdir -p "$work"
    if [ ! -e "$work/root/etc/debian_version" ]; then
        debootstrap --variant=minbase --include=ca-certificates bookworm "$work/root.part"
        rm -rf "$work/root.part"/var/cache/apt/*.bin "$work/root.part"/var/cache/apt/archives/*.deb "$work/root.part"/var/lib/apt/lists/*
        mv "$work/root.part" "$work/root"
    fi
    new=$(build from scratch)
    build add -q "$new" "$work/root" / >/dev/null
    build commit -q --format docker "$new" "$base" >/dev/null
    build rm "$new" >/dev/null
fi

# HEALTHCHECK is of the docker format only.
options=(bud --isolation chroot --format docker --tag "$tag" --build-arg "BASE=$base" --build-arg "PROFILE=$profile")
context=.
if [ -n "${BINARY:-}" ]; then
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    cp "$BINARY" "$context/octroi"
    options+=(--build-arg PROGRAM=prebuilt --build-arg "BUILDER=$base" --file Dockerfile)
elif [ -n "${BUILDER:-}" ]; then
    options+=(--build-arg PROGRAM=build --build-arg "BUILDER=$BUILDER")
else
    # The base with this machine's Rust and its downloaded crates mounted.
    cargo=${CARGO_HOME:-$HOME/.cargo}
    mkdir -p "$cargo/registry"
    options+=(--build-arg PROGRAM=build --build-arg "BUILDER=$base" --volume "$(rustc --print sysroot):/usr/local/rust:ro" --volume "$cargo/registry:/usr/local/cargo/registry")
fi
build "${options[@]}" "$context"

# What the image promises, looked at from inside.
inside=$(build from "$tag")
user=$(build inspect --format '{{.Docker.Config.User}}' "$inside")
echo "image:  $tag, $(build run --isolation chroot "$inside" -- octroi version), user $user"
if build run --isolation chroot --user "$user" "$inside" -- sh -c 'for place in / /etc /etc/octroi /usr/local/bin /usr/local/bin/octroi; do [ ! -w "$place" ] || exit 1; done; [ -w /var/lib/octroi ]'; then
    echo "root:   not writable for $user; /var/lib/octroi is"
else
    echo "error: $user can write the root, or cannot write /var/lib/octroi" >&2
    exit 1
fi
build rm "$inside" >/dev/null
