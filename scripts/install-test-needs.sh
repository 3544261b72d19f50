#!/usr/bin/env bash
# Installs what the tests need beyond cargo, where it is missing and we may: PostgreSQL and a compiler for C and C++.
# Otherwise says what the tests leave out; in CI that is a failure.
set -euo pipefail

missing=()
ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || missing+=(postgresql)
for program in gcc g++; do
    command -v "$program" > /dev/null || missing+=("$program")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

if ! "$(dirname "$0")/install-packages.sh" "${missing[@]}"; then
    echo "Not installed: ${missing[*]}. The tests that need them are left out. On Debian: apt-get install ${missing[*]}" >&2
    [ "${CI:-}" != true ]
fi
