#!/usr/bin/env bash
# Installs, upgrades under load and purges the Debian package as an administrator would, and says what is not as it
# should be. For a machine that may be spoilt: it needs root, installs `porth`, and purges it at the end. No service
# manager runs anything here; the unit's own command line is started as the unit's user.
#
# check-package.sh builds the packages first; with PACKAGE=FILE and NEWER=FILE it takes these.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "check-package.sh must be root: it installs the package" >&2; exit 2; }
if dpkg-query -W -f '${Status}' porth 2> /dev/null | grep -q ' installed$'; then
    echo "check-package.sh: porth is installed here, and would be purged" >&2
    exit 2
fi
for program in curl gcc python3 setpriv systemd-analyze; do
    command -v "$program" > /dev/null || { echo "check-package.sh needs $program" >&2; exit 2; }
done

scratch=$(mktemp -d)
server=
policy=/usr/sbin/policy-rc.d
# Nothing that is installed here is started by its package.
[ ! -e "$policy" ] || mv "$policy" "$scratch/policy"
printf '#!/bin/sh\nexit 101\n' > "$policy"
chmod 0755 "$policy"
end() {
    [ -z "$server" ] || kill -KILL -- "-$server" 2> /dev/null || true
    dpkg --purge porth > /dev/null 2>&1 || true
    rm -f "$policy" /usr/local/lib/porth/plugins/libhello_c.so
    rmdir /usr/local/lib/porth/plugins /usr/local/lib/porth 2> /dev/null || true
    [ ! -e "$scratch/policy" ] || mv "$scratch/policy" "$policy"
    rm -rf "$scratch"
}
trap end EXIT

failures=0
check() { # sentence, then a command that holds
    local sentence=$1
    shift
    if "$@" > "$scratch/said" 2>&1; then
        echo "  ok    $sentence"
    else
        echo "  FAIL  $sentence"
        sed 's/^/          /' "$scratch/said" | tail -n 15
        failures=$((failures + 1))
    fi
}
is() { [ "$1" = "$2" ] || { echo "$1, expected $2"; false; }; }
none() { ! "$@"; }
install_package() {
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
        -o Dpkg::Options::=--force-confold "$1" > "$scratch/apt" 2>&1 || { cat "$scratch/apt"; return 1; }
}
until_true() { # a command that will hold within a minute
    local end=$((SECONDS + 60))
    until "$@" > /dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "not within a minute: $*"; return 1; }
        sleep 0.1
    done
}

if [ -z "${PACKAGE:-}" ]; then
    scripts/package.sh --deb-version 0.0.1-1 --output "$scratch/older.deb"
    scripts/package.sh --output "$scratch/newer.deb"
    PACKAGE=$scratch/older.deb NEWER=$scratch/newer.deb
fi

echo "the package"
dpkg-deb --contents "$PACKAGE" | awk '{ sub("0/0", "root/root", $2); print $1, $2, $6 }' > "$scratch/contents"
for wanted in "-rwxr-xr-x root/root ./usr/bin/porth" "-rw-r----- root/root ./etc/porth/porth.toml" \
    "-rw-r--r-- root/root ./usr/lib/systemd/system/porth.service" "-rw-r--r-- root/root ./usr/lib/sysusers.d/porth.conf" \
    "-rw-r--r-- root/root ./usr/share/man/man1/porth.1.gz" "-rw-r--r-- root/root ./usr/share/man/man1/porth-serve.1.gz" \
    "-rw-r--r-- root/root ./usr/share/man/man5/porth.toml.5.gz" \
    "-rw-r--r-- root/root ./usr/share/bash-completion/completions/porth" \
    "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_porth" \
    "-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/porth.fish" "-rw-r--r-- root/root ./usr/include/porth.h" \
    "-rw-r--r-- root/root ./usr/share/doc/porth/copyright" \
    "-rw-r--r-- root/root ./usr/share/doc/porth/third-party.txt" "-rw-r--r-- root/root ./usr/share/doc/porth/administrators.md"; do
    check "it brings ${wanted##* ./}" grep -qxF -e "$wanted" "$scratch/contents"
done
check "nothing of it lies in /usr/local" none grep -q ' ./usr/local' "$scratch/contents"
check "the configuration is a conffile" grep -qx /etc/porth/porth.toml <(dpkg-deb --ctrl-tarfile "$PACKAGE" | tar -xO ./conffiles)
if command -v lintian > /dev/null; then
    # What it is wrong about is in packaging/lintian-overrides.
    check "lintian finds nothing" lintian --allow-root --fail-on error,warning "$PACKAGE"
fi

echo "installation"
check "apt-get installs it" install_package "$PACKAGE"
check "there is a user" getent passwd porth
check "the user cannot log in" grep -q nologin <(getent passwd porth)
check "the configuration is for root and the user" is "$(stat -c '%a %U %G' /etc/porth/porth.toml)" "640 root porth"
check "its folder as well" is "$(stat -c '%a %U %G' /etc/porth)" "750 root porth"
check "only root puts libraries there" is "$(stat -c '%a %U %G' /usr/local/lib/porth/plugins)" "755 root root"
check "man finds the page" test -n "$(man -w porth 2> /dev/null)"
check "bash takes the completion" bash -n /usr/share/bash-completion/completions/porth
check "the configuration is right" porth check-config --config /etc/porth/porth.toml --strict
check "systemd takes the unit" systemd-analyze verify porth.service
exposure=$(systemd-analyze security --offline=true porth.service 2>&1 | sed -n 's/.*Overall exposure level for porth.service: //p')
check "systemd calls the unit safe (${exposure% *})" systemd-analyze security --offline=true --threshold=25 porth.service

echo "the service"
# As the unit has them.
unit() { sed -n "s/^$1=//p" /usr/lib/systemd/system/porth.service; }
install -d -m 0700 -o porth -g porth /var/lib/porth
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
read -ra command <<< "$(unit ExecStart)"
start() {
    # A session of its own, so that all of it can be ended.
    (cd "$(unit WorkingDirectory)" && umask "$(unit UMask)" && exec env -i PATH=/usr/bin PORTH_LISTEN="127.0.0.1:$port" \
        setsid setpriv --reuid porth --regid porth --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
        "${command[@]}") > "$scratch/out" 2> "$scratch/log" &
    server=$!
    until_true curl -fsS "http://127.0.0.1:$port/health/ready"
}
check "it serves as its user" start
check "it runs as its user" is "$(ps -o user= -p "$server" | tr -d ' ')" porth
check "the data directory is the user's alone" is "$(stat -c '%a %U' /var/lib/porth/porth.db)" "600 porth"
gcc -shared -fPIC -pthread -O2 -D_POSIX_C_SOURCE=200809L -o "$scratch/libhello_c.so" /usr/share/doc/porth/examples/hello.c
check "a library built with the header of the package is loaded" install -m 0755 "$scratch/libhello_c.so" /usr/local/lib/porth/plugins/
until_true grep -q 'library libhello_c.so is loaded' "$scratch/log" || true
check "an instance of it starts" porth instance add salut --module hello-c --parameter greeting=Salut --data /var/lib/porth
url=http://127.0.0.1:$port/api/salut/hello/monde
check "it answers" curl -fsS "$url"
porth doctor --config /etc/porth/porth.toml --json > "$scratch/doctor" || true
check "the doctor finds no error" python3 -c 'import json, sys; found = json.load(open(sys.argv[1])); print(found["findings"]); sys.exit(found["errors"])' "$scratch/doctor"

echo "an upgrade under load"
printf '\n# The administrator was here.\n' >> /etc/porth/porth.toml
chmod 0600 /etc/porth/porth.toml
chown porth /etc/porth/porth.toml
touch "$scratch/go"
python3 - "$port" "$scratch/go" > "$scratch/load" << 'PYTHON' &
import http.client, os, sys, threading

asked, failed, lock = [0], [], threading.Lock()

def client():
    connection = None
    while os.path.exists(sys.argv[2]):
        try:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
            connection.request("GET", "/api/salut/hello/monde")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or b"Salut" not in body:
                raise ValueError(f"{answer.status} {body!r}")
            if answer.getheader("Connection") == "close":
                connection = None
        except Exception as error:
            connection = None
            with lock:
                failed.append(repr(error))
        with lock:
            asked[0] += 1

threads = [threading.Thread(target=client) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(asked[0], len(failed), failed[:3])
PYTHON
load=$!
sleep 1
if [ -n "${NEWER:-}" ]; then
    check "apt-get upgrades it" install_package "$NEWER"
fi
# What `systemctl reload` does.
check "the unit's reload goes to the main process" is "$(unit ExecReload)" '/bin/kill -HUP $MAINPID'
kill -HUP "$server"
check "a fresh process takes over" until_true grep -q 'child 2 (process [0-9]*) is ready' "$scratch/log"
if [ -n "${NEWER:-}" ]; then
    check "it is the new program" grep -q 'is another program now: the fresh child runs it' "$scratch/log"
fi
check "the old one has finished" until_true grep -q 'child 1 .*has finished' "$scratch/log"
rm "$scratch/go"
wait "$load"
read -r asked failed said < "$scratch/load"
check "no request failed of $asked" is "$failed $said" "0 []"
check "the administrator's changes are there" grep -q 'The administrator was here' /etc/porth/porth.toml
check "and who may read the file" is "$(stat -c '%a %U' /etc/porth/porth.toml)" "600 porth"

echo "removal"
check "it ends when it is told to" bash -c "kill -TERM $server && timeout 40 tail --pid=$server -f /dev/null"
server=
check "it is removed" apt-get remove --quiet=2 --yes porth
check "what it kept is there" test -e /var/lib/porth/porth.db -a -e /etc/porth/porth.toml
check "it is purged" apt-get purge --quiet=2 --yes porth
check "nothing of it is left" none test -e /var/lib/porth -o -e /etc/porth -o -e /usr/bin/porth
check "the administrator's library is" test -e /usr/local/lib/porth/plugins/libhello_c.so

[ "$failures" = 0 ] || { echo "$failures are not as they should be" >&2; exit 1; }
