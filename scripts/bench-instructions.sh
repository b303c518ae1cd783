#!/usr/bin/env bash
# Instructions per request, counted by valgrind: the real program with a full policy and one worker thread, real clients over TLS and the
# demo app; and the pure pipeline alone. Beside each figure stands its change against benches/instructions.txt, so that what makes
# requests dearer is seen with the change that does it. Time on a busy machine says nothing; this count moves by a few tenths of a percent.
#   bench-instructions.sh [SCENARIO ...]    all of them unless named: h1 h2 upload handshake public_h1 public_h2 session_h1
#   BLESS=1          writes benches/instructions.txt anew
#   OCTROI=PROGRAM   counts that program instead of building one (and the pipeline not, unless PIPELINE names its bench)
#   BASELINE=FILE    compares with that one
#   KEEP=FOLDER      keeps callgrind's files there: callgrind_annotate --inclusive=yes FOLDER/SCENARIO
# Exit: 0 as before or better, 1 something is worse by more than 3 %, 69 it could not be counted.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
baseline=${BASELINE:-benches/instructions.txt}
allowed=3.0
target=${CARGO_TARGET_DIR:-$root/target}
cannot() {
    echo "error: $1" >&2
    [ -z "${log:-}" ] || [ ! -s "$log" ] || tail -n 20 "$log" >&2
    exit 69
}

all=(h1 h2 upload handshake public_h1 public_h2 session_h1)
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=("${all[@]}")
for name in "${wanted[@]}"; do
    [[ " ${all[*]} " == *" $name "* ]] || cannot "there is no scenario \`$name\`: ${all[*]}"
done
[ -z "${BLESS:-}" ] || [ ${#wanted[@]} -eq ${#all[@]} ] || cannot "BLESS=1 writes all scenarios; name none"
scripts/setup.sh valgrind=valgrind h2load=nghttp2-client curl=curl cmake=cmake cc=gcc || exit 69
for tool in valgrind vgdb h2load curl; do
    command -v "$tool" >/dev/null || cannot "\`$tool\` is missing, so nothing can be counted: apt-get install valgrind nghttp2-client curl"
done

# ---- what is counted
# debug information names the functions; it changes no instruction.
cargo=${CARGO:-cargo}
octroi=${OCTROI:-}
pipeline=${PIPELINE:-}
if [ -z "$octroi" ]; then
    "$cargo" build --locked --profile instructions --features rustix/use-libc-auxv --bin octroi || cannot "octroi was not built"
    octroi=$target/instructions/octroi
    if [ -z "$pipeline" ]; then
        built=$("$cargo" build --locked --profile instructions --no-default-features --bench pipeline --message-format=json-render-diagnostics) ||
            cannot "benches/pipeline.rs was not built"
        pipeline=$(sed -n '/"name":"pipeline"/s/.*"executable":"\([^"]*\)".*/\1/p' <<<"$built" | tail -n 1)
        [ -x "$pipeline" ] || cannot "cargo does not say where the bench of the pipeline is"
    fi
fi
[ -x "$octroi" ] || cannot "there is no program $octroi"
"$cargo" build --locked --example demo_app || cannot "the demo app was not built"

work=$(mktemp -d)
log=$work/octroi.log
gate='' app=''
end() { [ -z "$1" ] || { kill -TERM "$1" 2>/dev/null; wait "$1" 2>/dev/null; }; }
stop() {
    trap - EXIT INT TERM
    end "$gate"
    end "$app"
    rm -rf "$work"
}
trap stop EXIT
trap 'stop; exit 130' INT TERM

# Sets $found to a port that nobody listens on, below those that the system gives to clients.
next_port=$((20000 + $$ % 8000))
free_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
    found=$next_port next_port=$((next_port + 1))
}
free_port; export BENCH_PORT=$found
free_port; export BENCH_METRICS_PORT=$found
free_port; export BENCH_APP_PORT=$found

# valgrind counts `rep movsb`, with which glibc copies what is large, as one instruction for each octet.
export GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824

# ---- octroi under callgrind, and the app
serving=
for name in "${wanted[@]}"; do [[ "$name" == *_* ]] || serving=1; done
if [ -n "$serving" ]; then
    cp benches/instructions.yaml "$work/octroi.yaml"
    echo 'access_log: [{to: file, path: access.json}]' >>"$work/octroi.yaml"
    mkdir "$work/state"
    "$octroi" keys init --config "$work/octroi.yaml" >"$log" 2>&1 || cannot "no keys and certificates"
    "$target/debug/examples/demo_app" "127.0.0.1:$BENCH_APP_PORT" >/dev/null &
    app=$!
    valgrind --tool=callgrind --callgrind-out-file="$work/callgrind" --vgdb-prefix="$work/vgdb" --fair-sched=try \
        "$octroi" run --config "$work/octroi.yaml" --log-level error >>"$log" 2>&1 &
    gate=$!
    ready=
    for _ in $(seq 900); do
        kill -0 "$gate" 2>/dev/null || break
        if curl -fsS -o /dev/null "http://127.0.0.1:$BENCH_METRICS_PORT/readyz" 2>/dev/null; then ready=1; break; fi
        sleep 0.1
    done
    [ -n "$ready" ] || cannot "octroi did not start under valgrind"
    # Behind the start: what was made before the revocation journal began is refused.
    token=$("$octroi" session mint --config "$work/octroi.yaml" --tenant acme --user u_alice --role editor --role viewer --epoch 0 2>>"$log") ||
        cannot "no session"
    head -c 65536 /dev/zero >"$work/body"
fi

# What a browser sends with each request.
browser=(
    -H "cookie: lang=fr; __Host-octroi=${token:-}"
    -H 'user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
    -H 'accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'
    -H 'accept-language: fr-CA,fr;q=0.8,en-CA;q=0.5,en;q=0.3'
    -H 'accept-encoding: gzip, deflate, br, zstd'
    -H 'sec-fetch-dest: document' -H 'sec-fetch-mode: navigate' -H 'sec-fetch-site: same-origin' -H 'priority: u=0, i'
)
load() { timeout 200 h2load -t1 -c1 --connect-to="127.0.0.1:$BENCH_PORT" "${browser[@]}" "$@"; }

# Sends so many requests of a scenario; fails unless each of them was answered with 200.
requests() {
    local name=$1 count=$2 answers=
    case $name in
        h1) load --h1 -n "$count" https://acme.test/ ;;
        h2) load -m 8 -n "$count" https://acme.test/ ;;
        upload) load --h1 -n "$count" -d "$work/body" https://acme.test/uploads ;;
        # A connection and a full handshake for each.
        handshake)
            timeout 200 curl -sS --http1.1 --no-sessionid --cacert "$work/certs/ca.pem" --connect-to "::127.0.0.1:$BENCH_PORT" \
                "${browser[@]}" -H 'connection: close' -o /dev/null -w '%{http_code}\n' "https://acme.test/?[1-$count]" ;;
    esac >"$work/client" 2>&1
    if [ "$name" = handshake ]; then
        answers=$(grep -cx 200 "$work/client")
    else
        answers=$(sed -n 's/^status codes: \([0-9]*\) 2xx, 0 3xx, 0 4xx, 0 5xx$/\1/p' "$work/client")
    fi
    sent=$((sent + count))
    [ "${answers:-0}" -eq "$count" ] || { cat "$work/client" >&2; cannot "$name: ${answers:-0} of $count requests were answered with 200"; }
}

# Asks valgrind's own server inside the program.
ask() { timeout 60 vgdb --vgdb-prefix="$work/vgdb" --pid="$gate" "$@" >>"$log" 2>&1 || cannot "valgrind does not answer \`$*\`"; }
# Sets $counted to the instructions of a file of callgrind's.
totals() {
    counted=$(sed -n 's/^totals: \([0-9]*\)$/\1/p' "$1" 2>/dev/null | tail -n 1)
    [ "${counted:-0}" -gt 0 ] || cannot "no instructions in ${1##*/}"
}
keep() { [ -z "${KEEP:-}" ] || { mkdir -p "$KEEP" && cp "$1" "$KEEP/$2"; }; }

# Both stretches have one connection, its handshake and what the program does by itself: the difference has only requests. A dump begins
# the count anew. callgrind numbers its dumps.
declare -A figure
sent=0 dumps=0
served() {
    local name=$1 count=$2 first second
    requests "$name" "$count"
    ask zero
    requests "$name" "$count"
    ask dump
    requests "$name" $((2 * count))
    ask dump
    totals "$work/callgrind.$((dumps + 1))"; first=$counted
    totals "$work/callgrind.$((dumps + 2))"; second=$counted
    keep "$work/callgrind.$((dumps + 2))" "$name"
    dumps=$((dumps + 2))
    figure[$name]=$(((second - first) / count))
}
judged() {
    local name=$1 count=2000 first second times
    for times in $count $((2 * count)); do
        timeout 200 valgrind --tool=callgrind --callgrind-out-file="$work/judged.$times" "$pipeline" --count "$name" "$times" >"$log" 2>&1 ||
            cannot "the pipeline did not run under valgrind"
    done
    totals "$work/judged.$count"; first=$counted
    totals "$work/judged.$((2 * count))"; second=$counted
    keep "$work/judged.$((2 * count))" "$name"
    figure[$name]=$(((second - first) / count))
}

for name in "${wanted[@]}"; do
    case $name in
        handshake) served "$name" 60 ;;
        upload) served "$name" 100 ;;
        h1 | h2) served "$name" 300 ;;
        *) [ -z "$pipeline" ] || judged "$name" ;;
    esac
done
if [ -n "$serving" ]; then
    # The stop writes what is left of the access log: one line per request, each with 200.
    kill -TERM "$gate"
    wait "$gate" || cannot "octroi did not end well"
    gate=
    lines=$(grep -c '"status":200' "$work/access.json")
    [ "$lines" -eq "$sent" ] || cannot "$sent requests were sent, and the access log has $lines lines with 200"
fi

# ---- against the baseline
compiler=$(rustc --version)
made_by="# $compiler, profile instructions, $(valgrind --version)"
if [ -n "${BLESS:-}" ]; then
    {
        echo "# Instructions per request: scripts/bench-instructions.sh, written with BLESS=1."
        echo "$made_by"
        for name in "${all[@]}"; do
            [ -n "${figure[$name]:-}" ] || cannot "$name was not counted, so it cannot be blessed"
            echo "$name ${figure[$name]}"
        done
    } >"$work/blessed"
    cp "$work/blessed" "$baseline"
fi
was() { sed -n "s/^$1 \([0-9]*\)$/\1/p" "$baseline" 2>/dev/null; }
worse=()
printf '%-12s %14s %14s %9s\n' scenario instructions baseline change
for name in "${wanted[@]}"; do
    now=${figure[$name]:-} before=$(was "$name")
    [ -n "$now" ] || continue
    change=-
    if [ -n "$before" ]; then
        change=$(awk -v now="$now" -v before="$before" 'BEGIN { printf "%+.1f %%", (now - before) * 100 / before }')
        awk -v now="$now" -v before="$before" -v allowed="$allowed" 'BEGIN { exit !(now > before * (1 + allowed / 100)) }' && worse+=("$name")
    fi
    printf '%-12s %14s %14s %9s\n' "$name" "$now" "${before:--}" "$change"
done
grep -qxF "$made_by" "$baseline" 2>/dev/null || echo "note: the baseline was made with another compiler or valgrind: $(sed -n 2p "$baseline" 2>/dev/null)"
if [ ${#worse[@]} -gt 0 ]; then
    cat >&2 <<TXT
error: more than $allowed % dearer: ${worse[*]}
  Where it is spent: KEEP=FOLDER scripts/bench-instructions.sh ${worse[0]}, then callgrind_annotate --inclusive=yes FOLDER/${worse[0]},
  here and at the commit before. Where what it buys is worth it: BLESS=1 make bench-instructions, and say in the commit what it is.
TXT
    exit 1
fi
