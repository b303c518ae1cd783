#!/usr/bin/env bash
# What try-service.sh looks at, as root in a container that systemd has booted. One line for each finding: ok or FAIL.
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive
config=/etc/octroi/octroi.yaml

ok() { echo "ok    $1"; }
fail() { echo "FAIL  $1"; }
# that NAME COMMAND...: the command succeeds.
that() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then ok "$name"; else fail "$name: $(tail -3 <<<"$said" | tr '\n' ' ')"; fi
}
# same NAME WANTED FOUND
same() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: wanted \`$2\`, found \`$3\`"; fi; }
of() { systemctl show -P "$1" octroi.service; }
state() { of ActiveState; }
# soon SECONDS COMMAND...: the command succeeds before long.
soon() {
    local tenths=$(($1 * 10))
    shift
    for ((; tenths > 0; tenths--)); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}
ask() { curl -sS -o /dev/null -w '%{http_code}' --max-time 10 --cacert /etc/octroi/certs/ca.pem --resolve www.example.test:443:127.0.0.1 "$@" https://www.example.test/public/x; }
serves() { [ "$(ask)" = 200 ]; }
is() { [ "$(of "$1")" = "$2" ]; }
drop_in() {
    mkdir -p /etc/systemd/system/octroi.service.d
    cat >"/etc/systemd/system/octroi.service.d/$1.conf"
    systemctl daemon-reload
}
no_drop_in() {
    rm -f "/etc/systemd/system/octroi.service.d/$1.conf"
    systemctl daemon-reload
}
now_ms() { date +%s%3N; }

echo "systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p'), $(. /etc/os-release && echo "$PRETTY_NAME")"
ip link set lo up 2>/dev/null || true

# --- the package
that "the package installs" dpkg -i /try/old.deb
same "it enables nothing" disabled "$(systemctl is-enabled octroi.service)"
same "it starts nothing" inactive "$(state)"
same "its rules are closed to others" "root:octroi 750" "$(stat -c '%U:%G %a' /etc/octroi)"
that "the unit is well formed" systemd-analyze verify --man=no octroi.service
exposed=$(systemd-analyze security octroi.service | tail -1)
if systemd-analyze security --threshold=20 octroi.service >/dev/null; then ok "${exposed##*→ }"; else fail "${exposed##*→ }"; fi

python3 - <<'P' &
import http.server, socketserver
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
Server(("127.0.0.1", 8000), App).serve_forever()
P
app=$!

# --- start
sed -i 's/^    quotas: \[per_client\]$//' $config
that "keys init makes what is missing" octroi keys init
that "check accepts it" octroi check
drop_in slow <<'D'
[Service]
ExecStart=
ExecStart=/bin/sh -c 'sleep 2; exec octroi run'
D
began=$(now_ms)
systemctl start octroi.service &
starting=$!
if soon 10 is ActiveState activating; then ok "before READY it is activating"; else fail "before READY it is $(state)"; fi
wait $starting
same "systemctl start succeeds" 0 $?
[ $(($(now_ms) - began)) -ge 2000 ] && ok "it waited for READY" || fail "it did not wait for READY"
same "and then it serves at once" 200 "$(ask)"
case $(of StatusText) in "serving revision "*) ok "the status says what is served" ;; *) fail "status: $(of StatusText)" ;; esac
no_drop_in slow
main=$(of MainPID)
same "the process is octroi's" octroi "$(ps -o user= -p "$main")"
same "it may bind low ports, and nothing else" 0000000000000400 "$(sed -n 's/^CapEff:\t//p' "/proc/$main/status")"
that "enable" systemctl enable octroi.service

# --- reload
before=$(of StatusText)
cp $config /tmp/good.yaml
sed -i 's/hosts: \[www.example.test\]/hosts: [www.example.test, api.example.test]/' $config
that "systemctl reload succeeds" systemctl reload octroi.service
[ "$(of StatusText)" != "$before" ] && ok "the new revision is served when it returns" || fail "reload: $(of StatusText)"
before=$(of StatusText)
echo "nonsense: 1" >>$config
if systemctl reload octroi.service 2>/dev/null; then fail "a bad reload was accepted"; else ok "a bad reload fails"; fi
same "the old revision is served" "$before, active" "$(of StatusText), $(state)"
cp /tmp/good.yaml $config
# HUP runs no command: what systemd then says of the state is what octroi told it.
busctl monitor --json=short org.freedesktop.systemd1 >/tmp/bus 2>/dev/null &
monitor=$!
sleep 1
systemctl kill --signal=HUP --kill-who=main octroi.service
reloaded() { grep -q '"ActiveState":{"type":"s","data":"reloading"}' /tmp/bus && is ActiveState active; }
if soon 10 reloaded; then ok "HUP: reloading, then active"; else fail "HUP: systemd saw no reload"; fi
kill $monitor
same "and it is the same process" "$main" "$(of MainPID)"

# Newer ones send HUP themselves, and take only a READY whose RELOADING is newer than that (MONOTONIC_USEC).
if [ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -ge 253 ]; then
    drop_in notify-reload <<'D'
[Service]
Type=notify-reload
ExecReload=
D
    that "restart as notify-reload" systemctl restart octroi.service
    before=$(of StatusText)
    sed -i 's/hosts: \[www.example.test\]/hosts: [www.example.test, api.example.test]/' $config
    that "notify-reload: systemctl reload succeeds" systemctl reload octroi.service
    [ "$(of StatusText)" != "$before" ] && ok "notify-reload: the new revision is served when it returns" || fail "notify-reload: $(of StatusText)"
    that "notify-reload: octroi upgrade" octroi upgrade
    that "notify-reload: and another reload" systemctl reload octroi.service
    same "notify-reload: it serves" "200 active" "$(ask) $(state)"
    cp /tmp/good.yaml $config
    no_drop_in notify-reload
fi

# --- upgrade, watchdog
drop_in watchdog <<'D'
[Service]
WatchdogSec=4s
D
that "restart" systemctl restart octroi.service
main=$(of MainPID)
that "octroi upgrade succeeds" octroi upgrade
new=$(of MainPID)
[ "$new" != "$main" ] && ok "the main process is another one" || fail "the main process is still $main"
same "the unit stays active" "active running" "$(state) $(of SubState)"
if soon 40 test ! -e "/proc/$main"; then ok "the old process ends"; else fail "the old process $main lives"; fi
same "the new one serves" 200 "$(ask)"
# Two deadlines of the watchdog go by.
sleep 9
same "it feeds the watchdog" "$new active 0" "$(of MainPID) $(state) $(of NRestarts)"
that "reload after an upgrade" systemctl reload octroi.service
kill -STOP "$new"
restarted() { [ "$(of MainPID)" != "$new" ] && is NRestarts 1 && serves; }
if soon 30 restarted; then ok "the watchdog restarts one that hangs"; else fail "the watchdog did not restart it: $(state), $(of NRestarts)"; fi
journalctl -u octroi.service --no-pager | grep -q 'Watchdog timeout' && ok "and says so" || fail "the watchdog said nothing"
new=$(of MainPID)
kill -KILL "$new"
killed() { [ "$(of MainPID)" != "$new" ] && serves; }
if soon 20 killed; then ok "it comes back after a crash"; else fail "it does not come back after a crash"; fi
no_drop_in watchdog

# --- stop
that "restart" systemctl restart octroi.service
serves
began=$(now_ms)
that "systemctl stop succeeds" systemctl stop octroi.service
took=$(($(now_ms) - began))
[ $took -lt 3000 ] && ok "an idle one ends at once: $took ms" || fail "an idle one took $took ms to end"
same "with exit code 0" "success 0 inactive" "$(of Result) $(of ExecMainStatus) $(state)"
echo "nonsense: 1" >>$config
systemctl start octroi.service 2>/dev/null && fail "a bad configuration started"
sleep 3
same "a bad configuration is not tried again" "failed 78 0" "$(state) $(of ExecMainStatus) $(of NRestarts)"
cp /tmp/good.yaml $config
systemctl reset-failed octroi.service

# --- keys as credentials
mkdir -p /root/credentials
cp /etc/octroi/keys/session-1.key /root/credentials/
drop_in credentials <<'D'
[Service]
LoadCredential=session-1.key:/root/credentials/session-1.key
ExecReload=
ExecReload=/usr/bin/octroi reload
D
sed -i 's|${file:keys/session-1.key}|${file:${CREDENTIALS_DIRECTORY:-keys}/session-1.key}|' $config
that "start with a credential" systemctl start octroi.service
that "reload with a credential" systemctl reload octroi.service
that "upgrade with a credential" octroi upgrade
that "reload after it" systemctl reload octroi.service
same "it serves" "200 active" "$(ask) $(state)"
no_drop_in credentials
cp /tmp/good.yaml $config
systemctl stop octroi.service

# --- socket activation, without any capability
cp /try/octroi.socket /etc/systemd/system/octroi.socket
sed 's/^ListenStream=443/ListenStream=80/; s/^FileDescriptorName=public/FileDescriptorName=http/' /try/octroi.socket >/etc/systemd/system/octroi-http.socket
drop_in sockets <<'D'
[Service]
Sockets=octroi.socket octroi-http.socket
AmbientCapabilities=
CapabilityBoundingSet=
D
that "the sockets start" systemctl start octroi.socket octroi-http.socket
same "a connection starts the service" 200 "$(ask)"
main=$(of MainPID)
same "without a capability" "0000000000000000 octroi" "$(sed -n 's/^CapEff:\t//p' "/proc/$main/status") $(ps -o user= -p "$main")"
same "port 80 too" 308 "$(curl -sS -o /dev/null -w '%{http_code}' --max-time 5 --resolve www.example.test:80:127.0.0.1 http://www.example.test/x)"
(
    for ((i = 0; i < 200; i++)); do [ "$(ask)" = 200 ] || echo "$i"; done >/tmp/refused
) 2>/tmp/refused.why &
asking=$!
sleep 0.3
that "restart while connections come" systemctl restart octroi.service
that "upgrade while connections come" octroi upgrade
wait $asking
same "no connection is refused: 200 of them" "" "$(tr '\n' ' ' </tmp/refused)$(head -2 /tmp/refused.why)"
systemctl stop octroi.socket octroi-http.socket octroi.service
rm /etc/systemd/system/octroi.socket /etc/systemd/system/octroi-http.socket
no_drop_in sockets

# --- the next version of the package, while requests run
that "start" systemctl start octroi.service
main=$(of MainPID)
cat >/tmp/load.py <<'P'
"""Kept-alive and new connections until /tmp/enough is there. A kept connection is given up only when the answer says so."""
import http.client, os, socket, ssl, threading
trust = ssl.create_default_context(cafile="/etc/octroi/certs/ca.pem")
done, failed, lock = [0, 0], [], threading.Lock()
class Connection(http.client.HTTPSConnection):
    def connect(self):
        plain = socket.create_connection(("127.0.0.1", 443), 10)
        self.sock = trust.wrap_socket(plain, server_hostname="www.example.test")
def load(kept):
    connection = None
    while not os.path.exists("/tmp/enough"):
        try:
            connection = connection or Connection("www.example.test", context=trust)
            connection.request("GET", "/public/x")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            with lock: done[kept] += 1
            if not kept or answer.will_close:
                connection.close()
                connection = None
        except Exception as error:
            with lock: failed.append(repr(error))
            connection = None
threads = [threading.Thread(target=load, args=(kept,)) for kept in (0, 0, 1, 1, 1, 1)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(f"{done[1]} on kept and {done[0]} on new connections, {len(failed)} failed {failed[:3]}")
P
rm -f /tmp/enough
python3 /tmp/load.py >/tmp/load.out 2>&1 &
load=$!
# HTTP/2: ten at a time over one connection, and over its successor.
(for ((i = 0; i < 50; i++)); do
    [ ! -e /tmp/enough ] || break
    curl --no-progress-meter --http2 --parallel --parallel-max 10 --cacert /etc/octroi/certs/ca.pem --resolve www.example.test:443:127.0.0.1 \
        -o /dev/null -w '%{http_version} %{http_code}\n' "https://www.example.test/public/[1-500]" || echo "curl $?"
done) >/tmp/h2.out 2>/dev/null &
h2=$!
sleep 2
that "the next version installs" dpkg -i /try/new.deb
sleep 3
touch /tmp/enough
wait $load $h2
new=$(of MainPID)
[ "$new" != "$main" ] && ok "another process serves" || fail "the same process serves"
same "it is the new program" "$(sha256sum </usr/bin/octroi)" "$(sha256sum <"/proc/$new/exe")"
same "the unit was never restarted" "active 0" "$(state) $(of NRestarts)"
case $(cat /tmp/load.out) in *", 0 failed []") ok "HTTP/1.1: $(cat /tmp/load.out)" ;; *) fail "HTTP/1.1: $(cat /tmp/load.out)" ;; esac
same "HTTP/2: $(wc -l </tmp/h2.out) requests, all 200" "2 200" "$(sort -u /tmp/h2.out)"
if soon 40 test ! -e "/proc/$main"; then ok "the old process ends"; else fail "the old process $main lives"; fi

# A configuration that the new version does not accept stops nothing.
main=$new
echo "nonsense: 1" >>$config
that "installing over a bad configuration succeeds" dpkg -i /try/old.deb
same "the running process goes on" "$main active 200" "$(of MainPID) $(state) $(ask)"
cp /tmp/good.yaml $config
that "and is upgraded when the configuration is mended" octroi upgrade
# Nobody to ask: a restart.
main=$(of MainPID)
rm /var/lib/octroi/control.sock
that "installing without a control socket succeeds" dpkg -i /try/new.deb
[ "$(of MainPID)" != "$main" ] && same "restarted" "active 200" "$(state) $(ask)" || fail "not restarted"
# What forbids restarts is heeded.
main=$(of MainPID)
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
that "installing under policy-rc.d succeeds" dpkg -i /try/old.deb
same "the process is left alone" "$main" "$(of MainPID)"
rm /usr/sbin/policy-rc.d

# --- removing it
that "remove" dpkg -r octroi
same "the service ended" "inactive" "$(systemctl is-active octroi.service)"
that "rules and state are kept" test -e $config -a -e /var/lib/octroi
that "purge" dpkg -P octroi
same "nothing is left" "" "$(ls -d /etc/octroi /var/lib/octroi /var/log/octroi /etc/systemd/system/*/octroi.service 2>/dev/null)"
kill $app
echo "done"
