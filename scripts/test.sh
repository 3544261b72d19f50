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
# What authors read: a link that leads nowhere is a mistake.
RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --no-deps --features porth-plugin/testing,porth-plugin/tokio -p porth-plugin -p porth-abi
# A test that hangs would otherwise take the whole evening, and nobody would know which.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
tests() {
    if ! timeout --kill-after=10 --signal=ABRT 30m cargo test "$@" 2>&1 | tee "$log"; then
        grep --text -E "^test .* (FAILED|has been running)|^error: test failed" "$log" | sort -u >&2
        return 1
    fi
}
tests --workspace
# A feature that no library of this workspace turns on.
tests -p porth-plugin --features tokio --test border
# The server against its own OpenAPI document: few examples of everything, the same ones each time.
if [ -x target/schemathesis/bin/schemathesis ]; then
    timeout 10m scripts/check-openapi.sh 5
fi
