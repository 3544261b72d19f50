#!/usr/bin/env bash
# Says in a sentence what is missing to build.
set -euo pipefail
cd "$(dirname "$0")/.."

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }
fail() {
    echo "$1" >&2
    exit 1
}

wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
command -v cargo > /dev/null || fail "Porth needs cargo $wanted or newer, and there is none. Install Rust, for example with rustup."
found=$(cargo --version | cut -d ' ' -f 2)
at_least "$wanted" "$found" || fail "Porth needs cargo $wanted or newer, this is cargo $found. With rustup: rustup update stable"

compiler=${CC:-cc}
needed="Porth needs a C compiler for its database and its cryptography: gcc 8, clang 7, or newer"
command -v "$compiler" > /dev/null || fail "$needed, and there is no \`$compiler\`. On Debian: apt-get install gcc"
case $("$compiler" --version) in
    *clang*) least=7 ;;
    *) least=8 ;;
esac
found=$("$compiler" -dumpversion)
at_least "$least" "$found" || fail "$needed; \`$compiler\` is version $found."
