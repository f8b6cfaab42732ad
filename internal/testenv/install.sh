#!/usr/bin/env bash
# Installs through apt what the tests need and this machine lacks, as root or by sudo, and says what. Without arguments: a C
# compiler for the race detector, PostgreSQL's server, PgBouncer, the memcached clients of PHP, Python, Ruby, Perl and Node, the
# tools that watch a memcached, what its own tests need, and Chromium and Prometheus for the dashboard and the metrics. With arguments: those packages. Node's client comes through npm, by
# the lock file with the tests' scripts, into ${XDG_CACHE_HOME:-~/.cache}/swordfish/node.
# Services that come with a package are not started. Where apt or root is not to be had it says what is missing and goes
# on: tests then skip, or with SWORDFISH_CI=1 fail.
set -euo pipefail

say() { echo "install: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# apt_install PACKAGE... never fails: what is missing then, the tests say.
apt_install() {
	if ! has apt-get; then
		say "no apt-get here; please install: $*"
		return
	fi
	local root=()
	if [ "$(id -u)" != 0 ]; then
		if ! has sudo; then
			say "neither root nor sudo; please install: $*"
			return
		fi
		root=(sudo)
	fi
	# Debian starts the services it installs unless this file forbids it.
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
		"${root[@]}" chmod 755 $policy
		trap "${root[*]} rm -f $policy" EXIT
	fi
	say "apt-get install $*"
	local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
	local install=("${apt[@]}" install -y --no-install-recommends "$@")
	"${install[@]}" >&2 2>/dev/null || { "${apt[@]}" update >&2 && "${install[@]}" >&2; } || say "could not install: $*"
}

# npm_install puts what the lock file names into the cache, once for each lock file.
npm_install() {
	local from to=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/swordfish/node
	from=$(cd "$(dirname "$0")/../../server/testdata/clients" && pwd)
	cmp -s "$from/package-lock.json" "$to/installed.json" && return
	say "npm ci in $to"
	mkdir -p "$to" && cp "$from/package.json" "$from/package-lock.json" "$to" &&
		(cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 && cp package-lock.json installed.json) ||
		say "could not install: $(grep -o '"node_modules/[^"]*"' "$from/package-lock.json" | tr '\n' ' ')"
}

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
	has openssl || need+=(openssl)
	[ -x /usr/bin/memccapable ] || [ -x /usr/bin/memcapable ] || need+=(libmemcached-tools)
	for module in pymemcache pylibmc bmemcached; do
		/usr/bin/python3 -c "import $module" 2>/dev/null || need+=("python3-${module/bmemcached/binary-memcached}")
	done
	/usr/bin/ruby -e 'require "dalli"' 2>/dev/null || need+=(ruby ruby-dalli)
	/usr/bin/perl -e 'require Cache::Memcached' 2>/dev/null || need+=(libcache-memcached-perl)
	/usr/bin/perl -e 'require Cache::Memcached::Fast' 2>/dev/null || need+=(libcache-memcached-fast-perl)
	has node || need+=(nodejs)
	has npm || need+=(npm)
	[ -e /usr/share/memcached/scripts/memcached-tool ] || need+=(memcached)
	[ -e /usr/share/munin/plugins/memcached_ ] || need+=(munin-plugins-extra)
	[ -x /usr/sbin/saslpasswd2 ] || need+=(sasl2-bin libsasl2-modules libsasl2-modules-db)
	[ -x /usr/sbin/collectd ] || need+=(collectd-core)
	/usr/bin/perl -MTest::More -MIO::Socket::SSL -e 1 2>/dev/null || need+=(perl libio-socket-ssl-perl)
	has strace || need+=(strace)
	has systemd-analyze || need+=(systemd)
	has chromium || need+=(chromium)
	has promtool || need+=(prometheus)
	has pgbouncer || [ -x /usr/sbin/pgbouncer ] || need+=(pgbouncer)
	grep -qx memcached <<<"$modules" || need+=(php-memcached)
	grep -qx memcache <<<"$modules" || need+=(php-memcache)
fi
[ ${#need[@]} -eq 0 ] || apt_install "${need[@]}"
[ $# -gt 0 ] || npm_install
