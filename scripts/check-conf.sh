#!/usr/bin/env bash
# `octroi keys init`, then `octroi check`, on a copy of every example: silent, exit 0.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${CARGO_TARGET_DIR:-target}/debug/octroi")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r conf "$work/conf"
mkdir "$work/certs"
rm -f "$work"/conf/*.key "$work"/conf/*.pem
cd "$work"
for file in conf/*.yaml; do
    "$bin" keys init --config "$file" >/dev/null
    said=$("$bin" check "$file" 2>&1) || { echo "FAIL $file: $said"; exit 1; }
    [ -z "$said" ] || { echo "FAIL $file is not silent: $said"; exit 1; }
    echo "ok   $file"
done
