#!/usr/bin/env bash
# make test: format, lints, tests. In CI (CI=true) a warning or a test that is left out is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/check-tools.sh
scripts/install-test-needs.sh

cargo fmt --all --check
if [ "${CI:-}" = true ]; then
    cargo clippy --workspace --all-targets -- --deny warnings
else
    cargo clippy --workspace --all-targets
fi
cargo test --workspace
# A feature that no library of this workspace turns on.
cargo test -p porth-plugin --features tokio --test border
