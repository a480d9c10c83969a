#!/usr/bin/env bash
# Makes the Debian package, installs it, installs it again and removes it, below a directory that stands for a machine;
# looks at the unit. Usage: tests/package/deb.sh LEVERET
#
# LEVERET is a program for this machine. Needs cargo-deb, dpkg, busybox-static and root. Prints a line for each thing
# that is tried. Ends with 0 when all went well, and when there is nothing to try it with, which one line says.
set -euo pipefail

leveret=${1:-target/release/leveret}
top=$(cd "$(dirname "$0")/../.." && pwd)

skip() { echo "tests/package: skipped: $1"; exit 0; }
for tool in cargo-deb dpkg dpkg-deb gzip; do
    command -v "$tool" >/dev/null || skip "there is no $tool"
done
[ -x "$leveret" ] || skip "there is no program $leveret"
[ -x /bin/busybox ] || skip "busybox-static is not installed"
[ "$(id -u)" -eq 0 ] || skip "only root installs packages"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
fine() { echo "  ok      $1"; }
wrong() { echo "  FAILED  $1"; failures=$((failures + 1)); }
expect() {
    local name=$1
    shift
    if "$@" >"$work/out" 2>&1; then fine "$name"; else wrong "$name: $(head -c 600 "$work/out")"; fi
}

deb=$("$top/packaging/debian/build.sh" "$leveret" "$work/deb" 2>"$work/err") || {
    cat "$work/err"
    wrong "the package is made"
    exit 1
}
fine "the package is made: $(basename "$deb"), $(stat -c %s "$deb") bytes"

dpkg-deb -c "$deb" >"$work/list"
for file in ./usr/bin/leveret ./etc/default/leveret ./lib/systemd/system/leveret.service \
    ./usr/share/man/man1/leveret.1.gz ./usr/share/man/man1/leveret-check.1.gz \
    ./usr/share/bash-completion/completions/leveret ./usr/share/zsh/vendor-completions/_leveret \
    ./usr/share/fish/vendor_completions.d/leveret.fish ./usr/share/doc/leveret/copyright; do
    expect "it has $file" grep -Eq " (/usr)?${file//./\\.}$" <(sed 's# \./usr/lib/systemd# ./lib/systemd#' "$work/list")
done
if grep -q rabbitmq "$work/list" && grep -E 'bin/rabbitmq' "$work/list"; then wrong "it has a program of RabbitMQ's"; fi
dpkg-deb -f "$deb" Description >"$work/description"
expect "its description is short" test "$(wc -l <"$work/description")" -lt 10
dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./conffiles >"$work/conffiles"
expect "its options are a configuration file" grep -qx /etc/default/leveret "$work/conffiles"

# A machine: a shell for the package's scripts, and what dpkg keeps.
root="$work/root"
mkdir -p "$root"/{bin,usr/bin,etc,var/lib/dpkg/{info,updates,triggers},var/lib,var/log,tmp,run,usr/share}
cp /bin/busybox "$root/bin/busybox"
for applet in sh rm cat ls test '[' true mkdir ln; do ln -s busybox "$root/bin/$applet"; done
touch "$root/var/lib/dpkg/status" "$root/var/lib/dpkg/available"
files() { (cd "$root" && find . -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -print | sort); }
files >"$work/before"
package() { dpkg --root="$root" --force-depends --log=/dev/null "$@"; }
expect "it is installed" package -i "$deb"
expect "the program is there" test -x "$root/usr/bin/leveret"
if "$root/usr/bin/leveret" --version >/dev/null 2>&1; then
    expect "and runs" "$root/usr/bin/leveret" --version
fi
echo "LEVERET_LOG=warn" >>"$root/etc/default/leveret"
expect "it is installed again" package --force-confold -i "$deb"
expect "options that were changed stay" grep -qx LEVERET_LOG=warn "$root/etc/default/leveret"
mkdir -p "$root/var/lib/private/leveret"
ln -s private/leveret "$root/var/lib/leveret"
touch "$root/var/lib/private/leveret/data"
expect "it is removed" package -r leveret
expect "data and options stay" test -e "$root/var/lib/leveret/data" -a -e "$root/etc/default/leveret"
expect "it is purged" package -P leveret
rmdir "$root/var/lib/private" 2>/dev/null || true
files >"$work/after"
# Directories that nothing is in any more go with the package.
comm -13 "$work/before" "$work/after" >"$work/left"
expect "it leaves no file" diff /dev/null "$work/left"

unit="$top/packaging/debian/leveret.service"
if command -v systemd-analyze >/dev/null; then
    # The program is not installed on this machine.
    mkdir "$work/unit"
    sed "s#/usr/bin/leveret#$(realpath "$leveret")#" "$unit" >"$work/unit/leveret.service"
    expect "the unit is right" systemd-analyze verify --man=no "$work/unit/leveret.service"
    expect "the unit gives up what it can (exposure at most 2.0)" systemd-analyze security --offline=true --threshold=20 \
        --no-pager "$unit"
    systemd-analyze security --offline=true --no-pager "$unit" 2>/dev/null | tail -n 1 | sed 's/^/  /'
else
    echo "  skipped the unit: there is no systemd-analyze"
fi
if command -v lintian >/dev/null; then
    # A static program is what is wanted, with the names that a backtrace shows; the changelog is upstream's.
    tags=statically-linked-binary,unstripped-binary-or-object,no-changelog,maintainer-address-malformed
    expect "lintian finds no error" lintian --allow-root --fail-on error --suppress-tags "$tags" "$deb"
    sed 's/^/  /' "$work/out"
fi
if command -v mandoc >/dev/null; then
    cp "$top"/target/package/man/*.gz "$work/"
    gzip -d "$work"/*.1.gz
    expect "mandoc finds no error in the manual pages" mandoc -T lint -W error "$work"/*.1
fi

if [ "$failures" -gt 0 ]; then
    echo "tests/package: $failures failed"
    exit 1
fi
echo "tests/package: all went well"
