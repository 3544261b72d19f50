#!/usr/bin/env bash
# Writes down the crates that the program holds, with their licences, whose texts demand it: third-party.sh FILE
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
# What is linked, not what only builds and tests need.
cargo tree --locked --package porth --edges normal,no-proc-macro --prefix none --format '{p}' --target "$target" |
    sed 's/ (.*//' | sort -u > target/package/linked
cargo metadata --locked --format-version 1 --filter-platform "$target" |
    python3 scripts/third-party.py target/package/linked > "$1"
rm target/package/linked
