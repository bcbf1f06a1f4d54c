#!/usr/bin/env bash
# Compiles the kernels of vectors, codes, checksums and the encoder for 64-bit ARM, and runs their C++ tests in an emulator:
# once as a processor with the instructions on bfloat16 values, once as one without. It says nothing of speed.
#
#   tools/emulate_arm.sh          (Debian: apt-get install g++-aarch64-linux-gnu qemu-user doctest-dev)
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install g++-aarch64-linux-gnu qemu-user" >&2 && exit 2; }
done
build=build/arm
mkdir -p "$build/include"
doctest=$(dirname "$(dirname "$(find /usr/include /usr/local/include -path '*doctest/doctest.h' | head -1)")")
ln -sfn "$doctest/doctest" "$build/include/doctest"
src=vendor/sqlite-vss/src
flags=(-std=c++20 -O2 -Wall -Wextra -Werror -ffp-contract=off -DVSS_HAVE_NEON=1 -DVSS_HAVE_NEONBF16=1
    -Ivendor/sqlite-vss/include -I$src -Isrc -I$build/include)

compile() { # sources: prints their objects
    local source object
    for source in "$@"; do
        object=$build/$(echo "$source" | tr / _).o
        local own=()
        [[ $source == *_neonbf16.cpp ]] && own=(-march=armv8.2-a+bf16)
        [[ $source == */code_kernels_neon.cpp ]] && own=(-ffp-contract=fast)
        [ "$object" -nt "$source" ] || aarch64-linux-gnu-g++ "${flags[@]}" "${own[@]}" -c "$source" -o "$object"
        echo "$object"
    done
}

# The extension says which level it chose; here its one function that the encoder asks stands alone.
echo '#include "kernels/cpu.h"
#include "vss0.h"
extern "C" const char* vss0_simd_level() { return vss::name_of(vss::simd_level()).data(); }' >"$build/level.cpp"

kernels=$(compile $src/kernels/*.cpp $src/base/*.cpp)
codes=$(compile $src/index/cells/codes.cpp)
encoder=$(compile src/embedding/*.cpp "$build/level.cpp")
for test in tests/emulated/test_{encoder,team}.cpp vendor/sqlite-vss/tests/test_{crc32c,vector_value,rare_metrics,code_kernels,kernels}.cpp; do
    name=$(basename "$test" .cpp)
    objects=$kernels
    [[ $test == tests/emulated/* ]] && objects="$kernels $encoder"
    [ "$name" = test_code_kernels ] && objects="$kernels $codes"
    # shellcheck disable=SC2086
    aarch64-linux-gnu-g++ -o "$build/$name" $(compile "$test") $objects -ldl -pthread
    for cpu in max cortex-a72; do
        expected=neon
        [ "$cpu" = max ] && expected=neonbf16
        echo "== $name on $cpu"
        EXPECTED_LEVEL=$expected qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "$cpu" "$build/$name"
    done
done
