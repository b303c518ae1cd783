#!/usr/bin/env bash
# Builds the version before this one, for the tests that upgrade from it (tests/upgrade/before.rs), and prints where its program is:
#   OCTROI_BEFORE=$(scripts/build-before.sh) cargo test --locked --test upgrade before:: -- --ignored
# Exit: 0 built, or there already; 1 it cannot be had. COMMIT=… takes another one.
#
# It is built once, with the profile of the tests, in a folder of its own beside theirs: some minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

# The last commit before the house is rebuilt: whatever is moved since, an octroi of before must be able to hand over to one of today.
# It moves when a version is released, to that version: who runs it upgrades to the next.
commit=${COMMIT:-42a19bfa4b689db12faa8f667b02580c3f445c28}

if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
    echo "build-before: $commit is not in this clone. A shallow one has no history: git fetch --unshallow" >&2
    exit 1
fi
commit=$(git rev-parse "$commit^{commit}")
target=${CARGO_TARGET_DIR:-$PWD/target}/before
program=$target/octroi-$commit
if [ ! -x "$program" ]; then
    # Outside of this package, which would be taken for its workspace.
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    git archive "$commit" | tar -x -C "$tree"
    echo "build-before: building octroi of $(git log -1 --format='%h, %cs' "$commit")" >&2
    (cd "$tree" && CARGO_TARGET_DIR=$target "${CARGO:-cargo}" build --locked --bin octroi) >&2
    # Under its name only once it is whole.
    cp "$target/debug/octroi" "$program.new"
    mv "$program.new" "$program"
fi
echo "$program"
