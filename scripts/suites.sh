#!/usr/bin/env bash
# Third-party suites against the real program, where they are present (../shared/suites, or $SUITES).
#   suites.sh [SAMPLE]      every Nth smuggling gadget; 10 unless said otherwise, 1 for all of them
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
suites=${SUITES:-$root/../shared/suites}
sample=${1:-10}
if [ ! -d "$suites" ]; then
    echo "suites: nothing at $suites, so nothing was run" >&2
    exit 0
fi
scripts/setup.sh python3=python3 jq=jq promtool=prometheus
cargo build --locked --bin octroi --example demo_app || exit 1

work=$(mktemp -d)
gate=; app=
stop() {
    for pid in $gate $app; do kill -TERM "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap stop EXIT INT TERM

cp tests/suites.yaml "$work/octroi.yaml"
mkdir "$work/state"
target/debug/octroi keys init --config "$work/octroi.yaml" >/dev/null || exit 1
target/debug/octroi run --config "$work/octroi.yaml" --log-level warn &
gate=$!
for _ in $(seq 100); do curl -fsS -o /dev/null http://127.0.0.1:19902/readyz 2>/dev/null && break; sleep 0.1; done

failed=0
judge() {
    echo "== $1"
    shift
    "$@" || failed=$((failed + 1))
}

# It brings its own backend on 28081.
judge "HTTP/1 corpus" python3 "$suites/h1_corpus.py" --target 127.0.0.1:18443 --tls --sni gw.test --host gw.test --backend-port 28081 --sample "$sample"

target/debug/examples/demo_app 127.0.0.1:28081 >/dev/null &
app=$!
sleep 0.3
judge "HTTP/2 abuse" python3 "$suites/h2_abuse.py" --target 127.0.0.1:18443 --sni gw.test --authority gw.test --path /public/ --pid "$gate"
judge "observability" bash "$suites/observability.sh" http://127.0.0.1:19902/metrics "$work/access.log"

[ "$failed" -eq 0 ] && echo "suites: all passed" || echo "suites: $failed failed"
exit "$failed"
