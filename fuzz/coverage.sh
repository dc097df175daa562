#!/usr/bin/env bash
# fuzz/coverage.sh CARGO_FUZZ TARGET_DIR: builds each target with coverage, runs its seeds and its corpus, and tells for each of
# bootstrap's files how many of its lines were run by all targets together. Tests inside the files are not compiled, so not counted.
set -euo pipefail
cargo_fuzz=$1 target_dir=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

llvm=${LLVM_BIN:-$(rustc +nightly --print target-libdir)/../bin}
if [ ! -x "$llvm/llvm-cov" ]; then
    echo "    missing: $llvm/llvm-cov; it comes with"
    echo "        rustup component add llvm-tools --toolchain nightly"
    echo "    or with another build of the same LLVM: LLVM_BIN=its/bin make fuzz-coverage"
    exit 1
fi

# Not every build of these tools has zlib.
export RUSTFLAGS="-C llvm-args=-enable-name-compression=false ${RUSTFLAGS-}"
profiles=() objects=()
for file in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    inputs=("fuzz/seeds/$target")
    [ ! -d "$target_dir/corpus/$target" ] || inputs+=("$target_dir/corpus/$target")
    case $target in json | messages) inputs+=("$JSON_TEST_SUITE") ;; esac
    log=$target_dir/coverage-$target.log
    bash -c "$cargo_fuzz"' coverage "$@"' fuzz --target-dir "$target_dir/coverage" --llvm-path "$llvm" "$target" "${inputs[@]}" \
        >"$log" 2>&1 || { cat "$log"; exit 1; }
    profiles+=("fuzz/coverage/$target/coverage.profdata")
    objects+=(-object "$(echo "$target_dir"/coverage/*/release/"$target")")
done
"$llvm/llvm-profdata" merge -o "$target_dir/all.profdata" "${profiles[@]}"
"$llvm/llvm-cov" report "${objects[@]:1:1}" "${objects[@]:2}" -instr-profile "$target_dir/all.profdata" \
    -ignore-filename-regex '/(registry|rustlib|fuzz)/' -show-region-summary=false -show-branch-summary=false
