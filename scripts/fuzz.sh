#!/usr/bin/env bash
# Fuzzes the parsers of bytes from outside (fuzz/), with libFuzzer and the address sanitizer.
#
#   fuzz.sh TIME [TARGET ...]     so many seconds for each; every target unless some are named
#   FUZZ_AT_ONCE=2                how many targets run side by side; 1 otherwise
#
# Seeds come from the tests' vectors; what is found on the way is kept in fuzz/corpus. An input that breaks a rule is kept in
# fuzz/artifacts. Exit: 0 nothing broke, 1 something did.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?how many seconds for each target}
shift
mapfile -t targets < <(sed -n 's/^path = "bin\/\(.*\)\.rs"$/\1/p' fuzz/Cargo.toml)
[ $# -eq 0 ] || targets=("$@")

command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
# The versions are the program's own, and the instrumentation is behind a flag that only a nightly compiler has without this.
cp Cargo.lock fuzz/Cargo.lock
export RUSTC_BOOTSTRAP=1
cargo fuzz build
FUZZ_CORPUS=$PWD/fuzz/corpus cargo test --locked --test fuzz every_target_holds_for_its_seeds

logs=${CARGO_TARGET_DIR:-fuzz/target}/logs
mkdir -p "$logs"
programs=$(dirname "$(ls -t "${CARGO_TARGET_DIR:-fuzz/target}"/*/release/"${targets[0]}" | head -1)")

fuzz() {
    local name=$1
    mkdir -p "fuzz/corpus/$name" "fuzz/artifacts/$name"
    local options=(-max_total_time="$time" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 "-artifact_prefix=fuzz/artifacts/$name/")
    local said=ok
    "$programs/$name" "${options[@]}" "fuzz/corpus/$name" >"$logs/$name.log" 2>&1 || said=FAIL
    local runs coverage
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$name.log")
    coverage=$(grep -ao 'cov: [0-9]* ft: [0-9]* corp: [0-9]*' "$logs/$name.log" | tail -1 || true)
    printf '%-5s %-16s %12s runs   %s\n' "$said" "$name" "${runs:-?}" "$coverage"
    if [ "$said" = FAIL ]; then
        tail -n 30 "$logs/$name.log" >&2
        return 1
    fi
}

failed=0
running=0
for name in "${targets[@]}"; do
    if [ "$running" -ge "${FUZZ_AT_ONCE:-1}" ]; then
        wait -n || failed=$((failed + 1))
        running=$((running - 1))
    fi
    fuzz "$name" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=$((failed + 1))
    running=$((running - 1))
done
echo "fuzz: $((${#targets[@]} - failed)) of ${#targets[@]} targets held for $time seconds each"
[ "$failed" -eq 0 ]
