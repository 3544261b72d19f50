#!/usr/bin/env bash
# Builds the Debian package target/debian/porth_*.deb. Needs cargo-deb: cargo install cargo-deb --locked
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-deb > /dev/null || { echo "cargo-deb is missing: cargo install cargo-deb --locked" >&2; exit 2; }
cargo build --release --locked -p porth
cargo deb --no-build --locked
ls -l target/debian/*.deb
