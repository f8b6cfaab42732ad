#!/usr/bin/env bash
# Installs through apt what the tests need and this machine lacks, as root or by sudo, and says what. Without arguments: a C
# compiler for the race detector, PostgreSQL's server, PgBouncer, PHP and Python with their memcached clients, and libmemcached's tools. With arguments: those packages.
# Services that come with a package are not started. Where apt or root is not to be had it says what is missing and goes
# on: tests then skip, or with SWORDFISH_CI=1 fail.
set -euo pipefail

say() { echo "install: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

need=()
if [ $# -gt 0 ]; then
	for p in "$@"; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || need+=("$p")
	done
else
	has gcc && [ -e /usr/include/stdlib.h ] || need+=(gcc libc6-dev)
	has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need+=(postgresql)
	modules=$(php -m 2>/dev/null || true)
	has php || need+=(php-cli)
	[ -x /usr/bin/memccapable ] || [ -x /usr/bin/memcapable ] || need+=(libmemcached-tools)
	/usr/bin/python3 -c 'import pymemcache' 2>/dev/null || need+=(python3-pymemcache)
	/usr/bin/python3 -c 'import pylibmc' 2>/dev/null || need+=(python3-pylibmc)
	has pgbouncer || [ -x /usr/sbin/pgbouncer ] || need+=(pgbouncer)
	grep -qx memcached <<<"$modules" || need+=(php-memcached)
	grep -qx memcache <<<"$modules" || need+=(php-memcache)
fi
[ ${#need[@]} -gt 0 ] || exit 0

if ! has apt-get; then
	say "no apt-get here; please install: ${need[*]}"
	exit 0
fi
root=()
if [ "$(id -u)" != 0 ]; then
	if ! has sudo; then
		say "neither root nor sudo; please install: ${need[*]}"
		exit 0
	fi
	root=(sudo)
fi

# Debian starts the services it installs unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
	"${root[@]}" chmod 755 $policy
	trap '"${root[@]}" rm -f $policy' EXIT
fi
say "apt-get install ${need[*]}"
apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
install=("${apt[@]}" install -y --no-install-recommends "${need[@]}")
"${install[@]}" >&2 2>/dev/null || { "${apt[@]}" update >&2 && "${install[@]}" >&2; } || say "could not install: ${need[*]}"
