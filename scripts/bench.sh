#!/usr/bin/env bash
# make bench: what a plug-in's endpoint costs, beside the same handler compiled in, nginx and Debian's Glewlwyd.
# Arguments name the parts to run: rounds, callgrind, once, identity, guesses, edge; by default all.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/check-tools.sh

missing=()
command -v valgrind > /dev/null || missing+=(valgrind)
[ -x /usr/sbin/nginx ] || command -v nginx > /dev/null || missing+=(nginx)
# Glewlwyd's package does not install without a database to set up; the bench makes another of its own.
command -v glewlwyd > /dev/null || missing+=(glewlwyd dbconfig-sqlite3)
if [ ${#missing[@]} -gt 0 ]; then
    scripts/install-packages.sh "${missing[@]}" || echo "Not installed: ${missing[*]}. What needs them is left out." >&2
fi

exec cargo bench --package porth --bench server -- "$@"
