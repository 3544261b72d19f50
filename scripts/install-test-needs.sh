#!/usr/bin/env bash
# Installs what the tests need beyond cargo, where it is missing and we may: PostgreSQL, a compiler for C and C++, and
# schemathesis.
# Otherwise says what the tests leave out; in CI that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || missing+=(postgresql)
for program in gcc g++; do
    command -v "$program" > /dev/null || missing+=("$program")
done
python3 -c 'import ensurepip' > /dev/null 2>&1 || missing+=(python3-venv)

# What holds the server against its OpenAPI document; in target/, so that it is nobody else's.
schemathesis() {
    local wanted=4.32.5 venv=target/schemathesis
    if [ "$("$venv/bin/python" -c 'import importlib.metadata as m; print(m.version("schemathesis"))' 2> /dev/null)" = $wanted ]; then
        return
    fi
    echo "Installing: schemathesis $wanted" >&2
    if ! { python3 -m venv --clear "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$wanted"; }; then
        rm -rf "$venv"
        echo "Not installed: schemathesis. The comparison with the OpenAPI document is left out." >&2
        [ "${CI:-}" != true ]
    fi
}

if [ ${#missing[@]} -eq 0 ]; then
    schemathesis
    exit
fi

if ! scripts/install-packages.sh "${missing[@]}"; then
    echo "Not installed: ${missing[*]}. The tests that need them are left out. On Debian: apt-get install ${missing[*]}" >&2
    [ "${CI:-}" != true ]
fi
schemathesis
