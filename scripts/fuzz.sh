#!/usr/bin/env bash
# make fuzz: every target of fuzz/ in turn, from the seeds in fuzz/seeds and what earlier runs have found in fuzz/corpus.
# Arguments: how many seconds each runs (60), and which (all). What breaks one is kept in fuzz/artifacts, and
# `cargo +nightly fuzz run --fuzz-dir fuzz TARGET FILE` does it again.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
if ! cargo +nightly fuzz --version > /dev/null 2>&1; then
    echo "No cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz" >&2
    exit 1
fi
[ "$#" -gt 0 ] || set -- connection path json forwarded query host library

# A small library to begin with; it is made here, since no build is kept in the repository.
mkdir -p fuzz/corpus/library
cc -std=gnu11 -shared -fPIC -s -I plugin-api/include examples/hello-c/hello.c -o fuzz/corpus/library/hello-c -pthread

for target in "$@"; do
    mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
    echo "$target:" >&2
    # Nothing here is unsafe but what the standard library is: the address sanitizer would cost half of the time.
    cargo +nightly fuzz run --fuzz-dir fuzz --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -verbosity=0 -print_final_stats=1
done
