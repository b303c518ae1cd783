#!/usr/bin/env bash
# octroi beside other proxies with the same policy. It mints the session cookie, fills in the plug-in and runs bench.py.
#   run.sh check | run | scale [OPTIONS OF bench.py]      without options for run: octroi beside HAProxy, 5 rounds of 2 s
# $BENCH: a folder with bench.py in which setup.sh was run (a copy of ../shared/bench). $OCTROI: the program to measure.
# $BEFORE: an earlier octroi, measured in the same rounds under the name `before-octroi`.
set -euo pipefail
cd "$(dirname "$0")/../.."
bench=${BENCH:?set BENCH to a copy of ../shared/bench in which setup.sh was run}
octroi=$(realpath "${OCTROI:-${CARGO_TARGET_DIR:-target}/release/octroi}")
command=${1:-run}
[ $# -eq 0 ] || shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Only the key and the tenants matter for minting; the certificate must be there. What is minted is older than the revocation journal of the
# run, so that is told to take it (`--accept-old-sessions` in octroi.json).
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/tls.key" -out "$work/tls.crt" -days 2 \
    -subj /CN=gw.test -addext subjectAltName=DNS:*.gw.test 2>/dev/null
python3 benches/peers/write_config.py --work "$work" --port 19990 --upstream 127.0.0.1:9 --cert "$work/tls.crt" --key "$work/tls.key" \
    --variant policy --tenants 4 --cidrs 5
token=$("$octroi" session mint --config "$work/octroi-policy.yaml" --tenant t0 --user user-4711 --epoch 0)
# Each program is a plug-in of its own, with a port of its own.
plugins=()
plugin() { # NAME PROGRAM PORT
    sed -e "s|target/release/octroi|$2|g" -e "s|benches/peers/write_config.py|$PWD/benches/peers/write_config.py|" \
        -e "s|\"COOKIE\"|\"__Host-octroi=$token\"|" -e "s|\"name\": \"octroi\"|\"name\": \"$1\"|" -e "s|19990|$3|" \
        benches/peers/octroi.json >"$work/$1.json"
    plugins+=(--plugin "$work/$1.json")
}
plugin octroi "$octroi" 19990
[ -z "${BEFORE:-}" ] || plugin before-octroi "$(realpath "$BEFORE")" 19991
if [ "$command" = run ] && [ $# -eq 0 ]; then
    set -- --rounds 5 --secs 2 --scen h1,h2,hs --variants policy
fi
python3 "$bench/bench.py" "$command" "${plugins[@]}" --only octroi,haproxy-3.2 --out "$bench/octroi-$command" "$@"
