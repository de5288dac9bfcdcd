#!/bin/sh
# Installs the programs that a make target needs from Debian's packages, or says how: tools/setup.sh [build] [run] [test] [bench]
set -eu

need='' # packages
has() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || need="$need $2"
}

for purpose in "$@"; do
    case $purpose in
    build)
        has cc gcc
        [ -e /usr/include/stdlib.h ] || need="$need libc6-dev"
        ;;
    run)
        has ip iproute2
        has iptables iptables
        has nft nftables
        has curl curl
        ;;
    test)
        has openssl openssl
        ;;
    bench)
        has wrk wrk
        python3 -c 'import ensurepip' 2>/dev/null || need="$need python3-venv"
        ;;
    *)
        echo "setup: unknown purpose '$purpose': use build, run, test or bench" >&2
        exit 64
        ;;
    esac
done

if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: cargo is not in PATH: install Rust with rustup, open a new shell, and try again" >&2
    exit 1
fi

[ -n "$need" ] || exit 0
# shellcheck disable=SC2086 # a list of package names
set -- $need
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: missing packages; on Debian: sudo apt-get install --no-install-recommends $*" >&2
    exit 1
fi
echo "setup: installing $*"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 && exit 0
apt-get update -q
apt-get install -y -q --no-install-recommends "$@"
