#!/usr/bin/env bash
# Asks a fresh server everything that its OpenAPI document promises, and things that it does not, with schemathesis: with
# an administrator's key, and without any. No answer may be a 5xx or one that the document does not tell. With the library of
# examples/notes beside the program, its endpoints are in the document as well, as the plug-in describes them.
# Arguments: how many examples an operation gets (10), and the program to start (target/debug/porth).
set -euo pipefail
cd "$(dirname "$0")/.."
examples=${1:-10}
porth=${2:-target/debug/porth}
schemathesis=target/schemathesis/bin/schemathesis

if [ ! -x "$schemathesis" ]; then
    echo "No $schemathesis: scripts/install-test-needs.sh installs it." >&2
    exit 1
fi

place=$(mktemp -d)
# It keeps a folder of its own where it runs; see .gitignore.
server=
cleanup() {
    if [ -n "$server" ]; then
        kill "$server" 2> /dev/null || true
        wait "$server" 2> /dev/null || true
    fi
    rm -rf "$place"
}
trap cleanup EXIT
install -d -m 0755 "$place/plugins"
# `cargo test` puts it into deps, `cargo build` beside the program.
notes=$(ls -t "$(dirname "$porth")"/{deps/,}libnotes.so 2> /dev/null | head -n 1 || true)
if [ -f "$notes" ]; then
    install -m 0644 "$notes" "$place/plugins/libnotes.so"
elif [ "${CI:-}" = true ]; then
    echo "No libnotes.so beside $porth: cargo build --workspace makes it." >&2
    exit 1
else
    echo "No libnotes.so beside $porth, so no endpoint of a plug-in is asked." >&2
fi
# What is asked for a name here is nobody's name: no log-in may keep the others out.
printf '[login]\nname_failures_max = 0\npeer_failures_max = 0\n' > "$place/porth.toml"
# Declared, so that nobody who is asked to delete everything deletes it.
[ ! -f "$notes" ] || printf '[[instance]]\nmodule = "notes"\nname = "notes"\n' >> "$place/porth.toml"
export PORTH_CONFIG=$place/porth.toml PORTH_DATA=$place/data PORTH_PLUGINS=$place/plugins
PORTH_LOG=warn "$porth" serve --listen 127.0.0.1:0 > "$place/said" 2> "$place/log" &
server=$!
for _ in $(seq 600); do
    address=$(sed -n 's/.*listening on http:\/\///p' "$place/said")
    [ -z "$address" ] || break
    sleep 0.1
done
[ -n "$address" ] || { cat "$place/log" >&2; exit 1; }
key=$("$porth" key new --name schemathesis)

if [ -f "$notes" ]; then
    curl --silent --fail "http://$address/api/openapi.json" | grep --quiet '"/api/notes/notes/{id}"' || {
        echo "The document does not have the endpoints of the plug-in." >&2
        exit 1
    }
fi

# The key is nobody's, and no route by which it is asked deletes such a one: whatever is deleted, it goes on to administer.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks=$checks,response_schema_conformance,unsupported_method,negative_data_rejection
more=(--generation-deterministic)
# Many examples are for finding what few have not found: other ones each time.
[ "$examples" -le 20 ] || more=(--generation-database none)
run() {
    local checked=$checks$1
    shift
    "$schemathesis" run "http://$address/api/openapi.json" --checks "$checked" --max-examples "$examples" --phases examples,coverage,fuzzing \
        --warnings off --no-color --continue-on-failure --workers 2 "${more[@]}" "$@"
}
run "" --header "Authorization: token $key"
# Beside a key that opens, a cookie that does not would be no wrong one.
run ,ignored_auth
curl --silent --fail --output /dev/null --header "Authorization: token $key" "http://$address/api/user" || {
    echo "The key does not administer any more." >&2
    exit 1
}
