#!/bin/sh
# Counts the instructions of one operation: the difference between runs of 2N and N operations, divided by N.
# The start of the program and the warm-up of the cache cancel out, because both runs have them. Needs valgrind.
#
#     benches/callgrind.sh [N [redis]]
#
# With `redis`, it starts redis-server, and also counts the instructions of a hit there and of the client's own GET.
set -eu
cd "$(dirname "$0")/.."
times=${1:-20000}

features=${2:-}
program=$(cargo bench --no-run --bench instructions --features "$features" 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
if [ -z "$program" ]; then
    cargo bench --no-run --bench instructions --features "$features"
    exit 1
fi

# Prints the instructions of a whole run.
total() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" --callgrind "$1" "$2" 2>&1 |
        sed -n 's/^==[0-9]*== Collected : *//p'
}

each() {
    echo $((($(total "$1" $((2 * times))) - $(total "$1" "$times")) / times))
}

none=$(each none)
floor=$(each floor)
hit=$(each hit)
quiet=$(each hit-quiet)
none_conditional=$(each none-conditional)
not_modified=$(each 304)
none_bypass=$(each none-bypass)
bypass=$(each bypass)
none_miss=$(each none-miss)
miss=$(each miss)
no_store=$(each no-store)
no_store_first=$(each no-store-first)
awk -v none="$none" -v floor="$floor" -v hit="$hit" -v quiet="$quiet" -v none_conditional="$none_conditional" -v not_modified="$not_modified" \
    -v none_bypass="$none_bypass" -v bypass="$bypass" -v none_miss="$none_miss" -v miss="$miss" \
    -v no_store="$no_store" -v no_store_first="$no_store_first" 'BEGIN {
    print "instructions      with the harness      without"
    printf "harness         %18d\n", none
    printf "floor           %18d %12d\n", floor, floor - none
    printf "hit             %18d %12d\n", hit, hit - none
    printf "hit, quiet      %18d %12d\n", quiet, quiet - none
    printf "hit, 304        %18d %12d\n", not_modified, not_modified - none_conditional
    printf "bypass          %18d %12d\n", bypass, bypass - none_bypass
    printf "miss and store  %18d %12d\n", miss, miss - none_miss
    printf "no-store, first %18d %12d\n", no_store_first, no_store_first - none_miss
    printf "no-store, known %18d %12d\n", no_store, no_store - none
    printf "hit to floor    %18.2f %12.2f\n", hit / floor, (hit - none) / (floor - none)
    printf "miss to floor   %18.2f %12.2f\n", miss / (floor + none_miss - none), (miss - none_miss) / (floor - none)
}'
if [ "$features" = redis ]; then
    get=$(each redis-get)
    hit=$(each redis-hit)
    printf 'GET in Redis    %18d\nhit in Redis    %18d\n' "$get" "$hit"
    get=$(each redis-gets)
    hit=$(each redis-hits)
    printf 'GET, 64 at once %18d\nhit, 64 at once %18d\n' "$get" "$hit"
fi
