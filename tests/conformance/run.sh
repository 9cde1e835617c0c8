#!/usr/bin/env bash
# Runs the public HTTP cache test suite against the example reverse_proxy: once with options, and once with
# the defaults of the preset. Compares the results with the list of this directory for the suite's edition.
# Installs missing tools.
#
#   tests/conformance/run.sh           runs the npm release of the suite
#   tests/conformance/run.sh DIR       runs a checkout of https://github.com/http-tests/cache-tests, after
#                                      npm install
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}

if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    echo "installing Node.js and npm"
    sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
    $sudo apt-get update -q && $sudo apt-get install -y -q nodejs npm
fi

suite=${1:-}
expected=$here/newest.txt
if [ -z "$suite" ]; then
    echo "installing the suite into $target/conformance"
    mkdir -p "$target/conformance"
    cp -r "$here"/package.json "$here"/package-lock.json "$here"/stub "$target/conformance"
    (cd "$target/conformance" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    suite=$target/conformance/node_modules/http-cache-tests
    expected=$here/npm-0.4.5.txt
fi
suite=$(cd "$suite" && pwd)

cargo build --locked --example reverse_proxy
scratch=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$scratch"' EXIT

# wait_for PATTERN FILE PID: waits until FILE matches PATTERN, and prints the match. Fails if PID ends.
wait_for() {
    for _ in $(seq 200); do
        grep -oE "$1" "$2" | head -1 | grep . && return
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    cat "$2" >&2
    return 1
}

port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')
(
    cd "$suite"
    export npm_config_protocol=http npm_config_port=$port npm_config_pidfile=$scratch/origin.pid
    exec node --import "file://$here/loopback.mjs" server/server.mjs
) >"$scratch/origin" 2>&1 &
pids+=($!)
wait_for 'Listening on .*' "$scratch/origin" $! >/dev/null

# run NAME COLUMN OPTIONS...: runs the suite against a proxy with these options
failed=0
run() {
    local what=$1 column=$2
    shift 2
    "$target/debug/examples/reverse_proxy" --quiet --upstream "http://127.0.0.1:$port" --listen 127.0.0.1:0 "$@" \
        >"$scratch/proxy" 2>&1 &
    local pid=$! url
    pids+=("$pid")
    url=$(wait_for 'http://127\.0\.0\.1:[0-9]+' "$scratch/proxy" "$pid")
    echo "$what: reverse_proxy $*"
    node "$here/run.mjs" "$suite" "$url" "$expected" "$column" || failed=1
    kill "$pid"
    wait "$pid" || true
}

run "with options" 1 --stale-if-error 600 --share-set-cookie
run "defaults" 2
exit "$failed"
