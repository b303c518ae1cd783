#!/usr/bin/env bash
# Third-party suites against the real program, and their corpora against its readers (in ../shared/suites, or $SUITES).
#   suites.sh [SAMPLE]      every Nth smuggling gadget; 10 unless said otherwise, 1 for all of them
#   SUITES_ONLY=corpora|h1|h2|slow|tls|grpc|rules|observability    only that one
#   SUITES_PORT, SUITES_METRICS_PORT, SUITES_BACKEND_PORT, SUITES_GRPC_PORT    other ports than those of tests/suites.yaml, where two run at once
# Exit: 0 all passed, 1 something failed, 69 a suite is missing, a port is taken, or octroi did not start.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
suites=${SUITES:-$root/../shared/suites}
sample=${1:-10}
gate_port=${SUITES_PORT:-18443} metrics_port=${SUITES_METRICS_PORT:-19902} backend_port=${SUITES_BACKEND_PORT:-28081} grpc_port=${SUITES_GRPC_PORT:-28083}
export SUITES_PORT=$gate_port SUITES_METRICS_PORT=$metrics_port SUITES_BACKEND_PORT=$backend_port SUITES_GRPC_PORT=$grpc_port    # tests/suites.yaml reads them
only=${SUITES_ONLY:-}
target=${CARGO_TARGET_DIR:-$root/target}/debug

# What each one needs of them.
declare -A needs=(
    [corpora]="data/smuggling_gadgets.json data/cookies_http_state.json data/proxy_protocol_requests.json
        data/structured-fields/dictionary.json data/structured-fields/param-dict.json data/structured-fields/examples.json"
    [h1]="h1_corpus.py data/http1_requests.json data/smuggling_gadgets.json" [h2]=h2_abuse.py [slow]=slow_clients.sh
    [tls]=tls_scan.py [grpc]=grpc_check.py [rules]="" [observability]=observability.sh
)
if [ -n "$only" ] && [ -z "${needs[$only]+known}" ]; then
    echo "suites: there is no suite \`$only\`; there are ${!needs[*]}" >&2
    exit 69
fi
missing=
for name in $(if [ -n "$only" ]; then echo "${needs[$only]}"; else echo "${needs[@]}"; fi | tr ' ' '\n' | sort -u); do
    [ -e "$suites/$name" ] || missing+=" $name"
done
if [ -n "$missing" ]; then
    echo "suites: missing at $suites, so nothing was run:$missing" >&2
    exit 69
fi
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
for port in $gate_port $metrics_port $backend_port $grpc_port; do
    if listens "$port"; then
        echo "suites: something listens on 127.0.0.1:$port already; the suites need that port" >&2
        exit 69
    fi
done
tools=(curl=curl python3=python3 jq=jq promtool=prometheus nmap=nmap slowhttptest=slowhttptest)
scripts/setup.sh "${tools[@]}" || exit 1
# sslyze is no Debian package: it gets an environment of its own, which stays. $SSLYZE names another one.
sslyze=${SSLYZE:-$target/../suites-venv/bin/sslyze}
if [ ! -x "$sslyze" ]; then
    echo "installing: sslyze into ${sslyze%/bin/sslyze}" >&2
    python3 -c 'import ensurepip' 2>/dev/null || scripts/setup.sh ensurepip=python3-venv
    { python3 -m venv "${sslyze%/bin/sslyze}" &&
        "${sslyze%/bin/sslyze}/bin/pip" install -q --disable-pip-version-check "sslyze>=6.1,<7"; } || sslyze=
fi
# A real gRPC client and server, likewise. $GRPC_PYTHON names a Python that has grpcio and grpcio-health-checking.
grpc_python=${GRPC_PYTHON:-$target/../grpc-venv/bin/python}
if ! "$grpc_python" -c 'import grpc_health' 2>/dev/null; then
    echo "installing: grpcio into ${grpc_python%/bin/python}" >&2
    python3 -c 'import ensurepip' 2>/dev/null || scripts/setup.sh ensurepip=python3-venv
    { python3 -m venv "${grpc_python%/bin/python}" &&
        "$grpc_python" -m pip install -q --disable-pip-version-check "grpcio>=1.60,<2" "grpcio-health-checking>=1.60,<2"; } || grpc_python=
fi
cargo build --locked --bin octroi --example demo_app || exit 1

work=$(mktemp -d)
gate= app=
end() { [ -z "$1" ] || { kill -TERM "$1" 2>/dev/null; wait "$1" 2>/dev/null; }; }
stop() {
    trap - EXIT INT TERM
    end "$gate"
    end "$app"
    rm -rf "$work"
}
trap stop EXIT
trap 'stop; exit 130' INT TERM
cannot() {
    echo "suites: $1" >&2
    cat "$work/octroi.log" >&2
    exit 69
}

cp tests/suites.yaml "$work/octroi.yaml"
mkdir "$work/state"
"$target/octroi" keys init --config "$work/octroi.yaml" >"$work/octroi.log" 2>&1 || cannot "no keys and certificates"
"$target/octroi" run --config "$work/octroi.yaml" --log-level warn >>"$work/octroi.log" 2>&1 &
gate=$!
ready=
for _ in $(seq 100); do
    kill -0 "$gate" 2>/dev/null || break
    if curl -fsS -o /dev/null "http://127.0.0.1:$metrics_port/readyz" 2>/dev/null; then ready=1; break; fi
    sleep 0.1
done
[ -n "$ready" ] || cannot "octroi did not start"

failed=0 lines=()
# Runs one suite and keeps its last line, which says how many passed.
run() {
    local key=$1 name=$2 output said
    shift 2
    [ -z "$only" ] || [ "$only" = "$key" ] || return 0
    echo "== $name"
    output=$work/output
    "$@" 2>&1 | tee "$output"
    local status=${PIPESTATUS[0]}
    said=$(grep -E '[0-9]+ passed, [0-9]+ failed' "$output" | tail -n 1)
    if [ "$status" -eq 0 ]; then
        lines+=("ok    $name: ${said:-no numbers}")
    else
        failed=$((failed + 1))
        lines+=("FAIL  $name: ${said:-it ended with $status}")
    fi
}

# What cannot be asked here has not passed.
lacks() {
    [ -z "$only" ] || [ "$only" = "$1" ] || return 0
    failed=$((failed + 1))
    lines+=("FAIL  $2")
}

corpora() {
    SUITES=$suites cargo test --locked --test third_party -- --ignored 2>&1 |
        sed 's/^test result: [^.]*\. \([0-9]* passed\); \([0-9]* failed\);.*/\1, \2/' | tee "$work/corpora" &&
        grep -q '^[1-9][0-9]* passed, 0 failed' "$work/corpora"
}
run corpora "corpora" corpora

address=127.0.0.1:$gate_port
# It brings its own backend.
run h1 "HTTP/1 corpus, 1 in $sample gadgets" python3 "$suites/h1_corpus.py" \
    --target "$address" --tls --sni gw.test --host gw.test --backend-port "$backend_port" --sample "$sample"

"$target/examples/demo_app" "127.0.0.1:$backend_port" >/dev/null &
app=$!
for _ in $(seq 50); do
    if listens "$backend_port"; then break; fi
    sleep 0.1
done
run h2 "HTTP/2 abuse" python3 "$suites/h2_abuse.py" --target "$address" --sni gw.test --authority gw.test --path /public/ \
    --pid "$gate" --strict
# A slow reader can hold only what does not fit into the buffers of both systems. The runner counts what slowhttptest believes to be
# connected: it goes on reading what it has, 32 bytes in five seconds, and looks no further until the first record of an answer is
# used up. So it has 90 seconds to see that the connection is gone.
run slow "slow clients" bash "$suites/slow_clients.sh" "https://localhost:$gate_port/public/large" "https://localhost:$gate_port/public/" 300 90
# sslyze against Mozilla's "intermediate" profile, and nmap's grade.
scan=(python3 "$suites/tls_scan.py" --target "$address" --sni gw.test --ca "$work/certs/ca.pem")
if [ -n "$sslyze" ]; then
    run tls "TLS scan" "${scan[@]}" --sslyze "$sslyze"
else
    run tls "TLS scan with nmap alone" "${scan[@]}"
    lacks tls "TLS scan: sslyze is missing and cannot be installed"
fi
# It brings its own server.
if [ -n "$grpc_python" ]; then
    run grpc "gRPC" "$grpc_python" "$suites/grpc_check.py" --target "$address" --sni grpc.test --ca "$work/certs/ca.pem" --backend-port "$grpc_port"
else
    lacks grpc "gRPC: grpcio and grpcio-health-checking are missing and cannot be installed"
fi
# The scrape configuration and the alerts that octroi ships, and a case of each alert that fires and one that does not.
rules() {
    if promtool check config deploy/prometheus/prometheus.yml && promtool test rules tests/alerts.yaml; then
        echo "$(grep -c 'alertname:' tests/alerts.yaml) passed, 0 failed"
    else
        return 1
    fi
}
run rules "alert rules" rules
# The runner gives a real Prometheus six seconds to start and scrape, which a busy machine may not have.
observability() {
    local ask=(bash "$suites/observability.sh" "http://127.0.0.1:$metrics_port/metrics" "$work/access.log")
    "${ask[@]}" || { echo "once more:"; "${ask[@]}"; }
}
run observability "observability" observability

if kill -0 "$gate" 2>/dev/null; then
    lines+=("ok    octroi is alive")
else
    failed=$((failed + 1))
    lines+=("FAIL  octroi has died")
    cat "$work/octroi.log" >&2
fi
echo
printf '%s\n' "${lines[@]}"
[ "$failed" -eq 0 ] && echo "suites: all passed" || echo "suites: $failed failed"
[ "$failed" -eq 0 ]
