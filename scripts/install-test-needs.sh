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

if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "Not installed: ${missing[*]}. The tests that need them are left out. On Debian: apt-get install ${missing[*]}" >&2
    [ "${CI:-}" != true ]
    exit
fi

# Debian starts a server when it installs one. The tests start their own, so this file says no meanwhile.
policy=/usr/sbin/policy-rc.d
kept=
if [ -e "$policy" ]; then
    kept=$policy.kept-by-porth
    mv "$policy" "$kept"
fi
restore() {
    rm -f "$policy"
    if [ -n "$kept" ]; then
        mv "$kept" "$policy"
    fi
}
trap restore EXIT
printf '#!/bin/sh\nexit 101\n' > "$policy"
chmod 0755 "$policy"

echo "Installing for the tests: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}"
