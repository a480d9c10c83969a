#!/usr/bin/env bash
# Makes the Debian package of a program that is built. Usage: packaging/debian/build.sh LEVERET DIRECTORY
#
# Needs cargo-deb. The package of a static program needs no other package. Prints the package's path.
set -euo pipefail

leveret=$(realpath "${1:?usage: build.sh LEVERET DIRECTORY}")
mkdir -p "${2:?usage: build.sh LEVERET DIRECTORY}"
out=$(realpath "$2")
cd "$(dirname "$0")/../.."

# What Cargo.toml names as parts of the package.
rm -rf target/package
mkdir -p target/package/man target/package/completions
"$leveret" man target/package/man >/dev/null
# As Debian wants them.
gzip -9n target/package/man/*.1
"$leveret" completions bash >target/package/completions/leveret
"$leveret" completions zsh >target/package/completions/_leveret
"$leveret" completions fish >target/package/completions/leveret.fish

# cargo-deb takes the program from where a build leaves it.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -D -m 755 "$leveret" "$work/release/leveret"
CARGO_TARGET_DIR="$work" cargo deb --no-build --no-strip --quiet --output "$out/" >/dev/null
ls "$out"/leveret_*.deb
