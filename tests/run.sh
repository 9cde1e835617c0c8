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

# A fixed seed gives the same result for the same commit. Plain `cargo test` draws new cases each time.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-9111}"
say "unit, integration and documentation tests, all features (PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED)"
cargo test --locked --all-features --lib --bins --examples --test it --test memory
cargo test --locked --all-features --doc

say "unit and integration tests, no features"
cargo test --locked --no-default-features --lib --test it
