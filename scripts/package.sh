#!/usr/bin/env bash
# Builds the Debian package target/debian/porth_*.deb. Needs cargo-deb: cargo install cargo-deb --locked
# What follows goes to cargo-deb: `--deb-version 0.1.0-2`.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-deb > /dev/null || { echo "cargo-deb is missing: cargo install cargo-deb --locked" >&2; exit 2; }
cargo build --release --locked -p porth

# What the program says of itself, to shells and to `man`.
made=target/package
rm -rf "$made"
mkdir -p "$made/man1" "$made/man5"
target/release/porth man --dir "$made/man1"
mv "$made"/man1/*.5 "$made/man5/"
for shell in bash zsh fish; do
    target/release/porth completion "$shell" > "$made/porth.$shell"
done
scripts/third-party.sh "$made/third-party.txt"
# For who reads Debian's form only; what changed for whom is in CHANGELOG.md.
printf 'porth (%s) unstable; urgency=medium\n\n  * See /usr/share/doc/porth/CHANGELOG.md.\n\n -- The Porth developers <porth@localhost>  %s\n' \
    "$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)-1" "$(git log -1 --format=%cD 2> /dev/null || date -R)" > "$made/changelog"

ls -l "$(cargo deb --no-build --locked "$@" | tail -n 1)"
