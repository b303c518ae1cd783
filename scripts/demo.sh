#!/usr/bin/env bash
# Starts the demo app and octroi in front of it, says what to try, and stops both on Ctrl-C or TERM.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/debug
config=conf/demo.yaml

for port in 8443 8080 9000 9902; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "error: something listens on 127.0.0.1:$port already; the demo needs that port" >&2
        exit 1
    fi
done

"$bin/octroi" keys init --config "$config"
"$bin/octroi" check --config "$config"

app=; gate=
stop() {
    trap - EXIT INT TERM
    if [ -n "$gate" ]; then kill -TERM "$gate" 2>/dev/null || true; wait "$gate" 2>/dev/null || true; fi
    if [ -n "$app" ]; then kill -TERM "$app" 2>/dev/null || true; wait "$app" 2>/dev/null || true; fi
}
trap stop EXIT INT TERM

"$bin/examples/demo_app" 127.0.0.1:9000 >/dev/null &
app=$!
sleep 0.2
kill -0 "$app" 2>/dev/null || { echo "error: the demo app did not start; \`make demo\` builds it" >&2; exit 1; }
mkdir -p var
"$bin/octroi" run --config "$config" >var/access.log 2>var/octroi.log &
gate=$!

for _ in $(seq 100); do
    if curl -fsS -o /dev/null http://127.0.0.1:9902/readyz 2>/dev/null; then break; fi
    if ! kill -0 "$gate" 2>/dev/null; then
        echo "error: octroi did not start:" >&2
        cat var/octroi.log >&2
        exit 1
    fi
    sleep 0.1
done

cat <<TXT

octroi is in front of the demo app. Try, in another terminal, from this folder:

  curl -i --cacert certs/ca.pem https://acme.localhost:8443/public/
      200: a public page, with the security fields that octroi adds

  curl -i --cacert certs/ca.pem https://acme.localhost:8443/
      401: no session

  curl -i --cacert certs/ca.pem https://closed.localhost:8443/public/
      403: this machine is not in that tenant's ranges

  curl -i --cacert certs/ca.pem -c var/jar -d user=alice https://acme.localhost:8443/login
      303: the app grants a session; octroi turns it into an encrypted cookie

  curl -i --cacert certs/ca.pem -b var/jar https://acme.localhost:8443/
      200: what octroi tells the app about alice

  curl -i --cacert certs/ca.pem -b var/jar -d text=hello https://acme.localhost:8443/notes
      303: alice changes something

  curl -i --cacert certs/ca.pem -b var/jar https://acme.localhost:8443/admin/
      200: alice has the role that this route asks for

  curl -i --cacert certs/ca.pem -c var/jar-carol -d user=carol https://www.localhost:8443/login
      303: carol of globex signs in at the front door that acme and globex share

  curl -i --cacert certs/ca.pem -b var/jar-carol https://www.localhost:8443/
      200: the tenant is globex, the realm is www

  curl -i --cacert certs/ca.pem -b var/jar-carol https://www.localhost:8443/admin/
      403: carol does not have the role

  $bin/octroi session revoke --tenant globex --user u_carol --config conf/demo.yaml
      revoked on 1 node, and the next line answers 401:

  curl -i --cacert certs/ca.pem -b var/jar-carol https://www.localhost:8443/
      401: the session was revoked

  curl -i --cacert certs/ca.pem -b var/jar -X POST https://acme.localhost:8443/logout
      303: alice signs out, and the session ends at once

  curl -i --cacert certs/ca.pem --path-as-is 'https://acme.localhost:8443/public/../admin/'
      400: a path that tries to climb

  $bin/octroi explain --config conf/demo.yaml --ip 198.51.100.7 https://closed.localhost:8443/public/
      each step of the decision, with the file and line of the rule that decides

  curl http://127.0.0.1:9902/metrics
      what Prometheus scrapes

A browser: open https://www.localhost:8443/ (its warning is about the local CA: certs/ca.pem).
Access lines are in var/access.log, octroi's own words in var/octroi.log. Ctrl-C stops the demo.

TXT
wait "$gate"
