#!/usr/bin/env bash
# Builds a fuzz target and runs it on its corpus: fuzz/run.sh TARGET [libFuzzer's options …]
# Targets: connection, recovery; decoder, table (of the codec). Needs no nightly compiler: the passes
# that libFuzzer wants are there in every rustc.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
shift
case $target in
    decoder | table) home=codec/fuzz package=leveret-codec-fuzz ;;
    *) home=fuzz package=leveret-fuzz ;;
esac
host=$(rustc -vV | sed -n 's/^host: //p')
directory=${CARGO_TARGET_DIR:-target}
flags=(--cfg fuzzing -Cpasses=sancov-module)
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=("-Cllvm-args=-sanitizer-coverage-$flag")
done
corpus=$home/corpus/$target
mkdir -p "$corpus" "$home/artifacts"
if [ "$target" = connection ]; then
    cargo run --quiet -p leveret-codec-fuzz --bin seeds -- "$corpus"
fi
# Naming the host keeps the flags from build scripts and macros, which could not be linked with them.
RUSTFLAGS="${flags[*]}" \
    cargo build --profile fuzz -p "$package" --target "$host" --bin "$target"
exec "$directory/$host/fuzz/$target" "$corpus" -artifact_prefix="$home/artifacts/$target-" "$@"
