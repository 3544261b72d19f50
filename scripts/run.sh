#!/usr/bin/env bash
# make run: builds, makes a plug-in directory and a configuration in run/, and serves.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/check-tools.sh

# Not --release: that takes several times as long to build, and this is for a first look.
cargo build --workspace

# The host refuses a plug-in directory that others may write to, whatever this shell's umask is.
install -d -m 0755 run/plugins
put() {
    # Moved into place as a whole: the server of another `make run` may be looking.
    install -m 0755 "$1" run/plugins/.new
    mv -f run/plugins/.new "run/plugins/$(basename "$1")"
}
for folder in plugins/*/ examples/hello/ examples/clock/ examples/notes/; do
    name=$(basename "$folder")
    # Mock modules are for tests: they hold users with known passwords.
    if [ "$name" != mock ]; then
        put "target/debug/lib${name//-/_}.so"
    fi
done
if [ -d examples/hello-c ]; then
    make --silent -C examples/hello-c
    put examples/hello-c/libhello_c.so
fi

if [ ! -e run/porth.toml ]; then
    cat > run/porth.toml <<'EOF'
# Made by `make run`, which leaves it alone from now on. Relative paths count from here.
data = "data"
plugins = "plugins"

[[instance]]
module = "hello"
name = "hello"
parameters = { greeting = "Hello" }

[[instance]]
module = "clock"
name = "clock"

[[instance]]
module = "notes"
name = "notes"
EOF
fi

listen=${1:-${PORTH_LISTEN:-127.0.0.1:4593}}
cat <<EOF

When it says that it is listening, ask it in another terminal:

    curl http://$listen/api/hello/hello/World

EOF
# `--listen` would win over the `[[listener]]` tables that somebody has written into the file.
exec target/debug/porth serve --config run/porth.toml ${1:+--listen "$1"}
