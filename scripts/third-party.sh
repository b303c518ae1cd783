#!/usr/bin/env bash
# Prints the crates that the program is linked with: name, version, licence, and the texts that come with them.
# What they ask for in return is that these go along with the program.
set -euo pipefail
cd "$(dirname "$0")/.."
list() { cargo tree --locked --edges normal,no-proc-macro --prefix none --no-dedupe --format "$1" | sed 's/ (\*)$//' | sort -u | grep -v '^octroi v'; }

echo "The program octroi is linked with these crates; each is under the licence that stands behind it."
echo
list '{p}: {l}'
sources=$(cargo metadata --locked --format-version 1 | grep -o '"manifest_path":"[^"]*"' | cut -d'"' -f4)
while read -r name version _; do
    manifest=$(grep -m1 "/$name-${version#v}/Cargo.toml$" <<<"$sources") || continue
    for file in $(dirname "$manifest")/{LICENSE,LICENCE,COPYING,NOTICE,COPYRIGHT}*; do
        [ -f "$file" ] || continue
        printf '\n==== %s %s: %s ====\n\n' "$name" "$version" "$(basename "$file")"
        # Texts that Debian keeps for everybody are named, not repeated.
        if grep -qi 'Apache License' "$file" && grep -qi 'TERMS AND CONDITIONS' "$file"; then
            echo "The Apache License, version 2.0: /usr/share/common-licenses/Apache-2.0"
        else
            tr -d '\r' <"$file"
        fi
    done
done < <(list '{p}')
