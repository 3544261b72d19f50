#!/usr/bin/env bash
# Installs Debian packages, if we may; the servers among them are not started. Ends with 1 where this cannot be done.
set -euo pipefail

if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    exit 1
fi

# Debian starts a server when it installs one. Whoever asked starts its own, so this file says no meanwhile.
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

echo "Installing: $*" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends "$@"
