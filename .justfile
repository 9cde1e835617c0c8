# Recipes for work on this crate: `just --list`. They need https://just.systems.

# Show the recipes.
default:
    @just --list

# Run every check, as CI does.
ci:
    .ci/run

# Run the whole test suite, or the tests whose names contain FILTER.
test FILTER="":
    cargo test --all-features --lib --test it -- {{FILTER}}

# Run tests with one seed of the property tests.
seed SEED FILTER="":
    PROPTEST_RNG_SEED={{SEED}} cargo test --all-features --lib --test it -- {{FILTER}}

# Run the doc tests, of one module if FILTER names it.
doctest FILTER="":
    cargo test --all-features --doc -- {{FILTER}}

# Measure the memory that the cache takes.
memory:
    cargo test --all-features --test memory

# Run the public HTTP cache suite against the example `reverse_proxy`.
conformance:
    tests/conformance/run.sh

# Run one benchmark: counts, hit, invalidation, redis or stampede.
bench NAME *ARGUMENTS:
    cargo bench --all-features --bench {{NAME}} -- {{ARGUMENTS}}

# Count the instructions of a hit, a 304, a bypass and a miss.
instructions TIMES="2000":
    benches/callgrind.sh {{TIMES}}

# Run an example: `just example site`.
example NAME *ARGUMENTS:
    cargo run --all-features --example {{NAME}} -- {{ARGUMENTS}}

# Build and open the documentation.
docs:
    RUSTDOCFLAGS="--cfg docsrs" RUSTC_BOOTSTRAP=1 cargo doc --no-deps --all-features --open

# Format the code and run clippy.
lint:
    cargo fmt
    cargo clippy --all-targets --all-features
