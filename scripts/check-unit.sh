#!/usr/bin/env bash
# The systemd units: nothing in them that systemd does not know, and what is open to the service is little.
#   check-unit.sh [PROGRAM]     the program that stands where the unit names /usr/bin/octroi
# Exit: 0 fine, or no systemd here; 1 something is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/octroi}")
most=20 # tenths: `systemd-analyze security` says 0.0 (nothing is open) to 10.0

command -v systemd-analyze >/dev/null || { echo "skip  units: there is no systemd-analyze here"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for unit in deploy/systemd/octroi.service deploy/systemd/octroi.socket; do
    sed "s|/usr/bin/octroi|$program|" "$unit" >"$work/$(basename "$unit")"
done
# Other units of this machine may have their faults; what names one of ours counts, and so does the exit code.
said=$(cd "$work" && systemd-analyze verify --man=no ./octroi.service ./octroi.socket 2>&1) || { echo "FAIL  units: $said"; exit 1; }
ours=$(grep -F octroi. <<<"$said" || true)
[ -z "$ours" ] || { echo "FAIL  units: $ours"; exit 1; }

if said=$(systemd-analyze security --offline=yes --threshold=$most deploy/systemd/octroi.service 2>&1); then
    echo "ok    units: ${said##*→ }"
else
    echo "FAIL  units: more is open than $most tenths:"
    grep '^✗' <<<"$said" || true
    tail -1 <<<"$said"
    exit 1
fi
