#!/usr/bin/env bash
# `octroi keys init`, then `octroi check`, on a copy of every example: no error, no warning, exit 0.
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
    # One line, and nothing behind the two counts: a warning would be counted there.
    [[ $said =~ ^ok:\ [0-9]+\ tenants?,\ [0-9]+\ listeners?$ ]] || { echo "FAIL $file: $said"; exit 1; }
    echo "ok   $file"
done
