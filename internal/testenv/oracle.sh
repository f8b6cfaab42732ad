#!/usr/bin/env bash
# Prints the path of the memcached that tests and benchmarks compare with: the newest one that Debian has the source of,
# built here with SASL and TLS. Its own tests, t and doc, lie beside it. Built once, into
# ${XDG_CACHE_HOME:-~/.cache}/swordfish/oracle; remove that directory to look for a newer one. If it cannot be built, the packaged memcached has to do, and a line on standard error says so.
set -euo pipefail

say() { echo "oracle: $*" >&2; }
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/swordfish/oracle
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

# newest prints the best one that is there with its tests.
newest() {
	local found
	found=$(compgen -G "$cache/memcached-*/t/lib/MemcachedTest.pm" | sort -V | tail -n 1) && [ -n "$found" ] || return
	found=${found%/t/lib/*}/memcached
	[ -x "$found" ] && echo "$found"
}
newest && exit 0

work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

# fetch SUITE downloads the upstream tarball of that suite's source package, with lists of its own: the machine's are not
# touched, and root is not needed. Debian's signature covers the tarball's checksum.
fetch() {
	local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep '/debian/*$' | head -n 1 || true)
	echo "deb-src [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $1 main" >"$work/sources.list"
	mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
	local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
	(cd "$work" && "${apt[@]}" update && "${apt[@]}" source --tar-only memcached)
}

# build must not rely on set -e: bash ignores it in a condition.
build() {
	cd "$work" && tar -xf memcached_*.orig.tar.* && cd memcached-*/ || return
	./configure --enable-sasl --enable-tls --disable-extstore && make -j"$(nproc)" memcached || return
	local to=$cache/${PWD##*/}
	rm -rf "$to" && mkdir -p "$to" && mv memcached t doc "$to"
}

"$here/install.sh" debian-archive-keyring make gcc libc6-dev libevent-dev libsasl2-dev libssl-dev
for suite in sid trixie; do
	say "fetching memcached's source from Debian $suite"
	(fetch "$suite") >"$cache/log" 2>&1 || continue
	say "building it"
	(build) >>"$cache/log" 2>&1 && newest && exit 0
done
say "no build (see $cache/log): taking the packaged memcached"
"$here/install.sh" memcached
command -v memcached
