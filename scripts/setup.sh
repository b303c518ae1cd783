#!/usr/bin/env bash
# Installs what building and testing need and the machine lacks: Debian packages, as root or through sudo.
#   setup.sh TOOL=PACKAGE ...     each package is installed only where its tool is missing
set -euo pipefail

missing=()
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "error: please install: ${missing[*]}" >&2
    exit 1
fi
run=()
[ "$(id -u)" -eq 0 ] || run=(sudo)
echo "installing: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
# A server that comes with a package must not start by itself (policy-rc.d, invoke-rc.d(8)): tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${run[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${run[@]}" tee "$policy" >/dev/null
    "${run[@]}" chmod 0755 "$policy"
fi
"${run[@]}" apt-get update -q >/dev/null
"${run[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
