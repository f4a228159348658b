#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# headers - every public header compiles alone, as C11 and as C++17, without a warning; and the
# harness library, which is linked into other people's tests, defines no name that could be theirs.
set -u
cd "${HVV_SOURCE:-.}" || exit 1
warnings='-Wall -Wextra -Wpedantic -Werror'

# compile HEADER NAME COMPILER OPTION...
compile()
{
    header=$1 name=$2
    shift 2
    # shellcheck disable=SC2086
    if said=$(echo "#include <hvv/$header>" |
        "$@" $warnings -fsyntax-only -Isdk/include - 2>&1); then
        echo "ok headers: $header, $name"
    else
        echo "not ok headers: $header, $name: $(echo "$said" | head -n 3 | tr '\n' ' ')"
    fi
}

for path in sdk/include/hvv/*.h; do
    header=${path##*/}
    for cc in gcc clang; do
        command -v "$cc" >/dev/null || { echo "skip headers: $cc is not installed"; continue; }
        compile "$header" "C11 with $cc" "$cc" -std=c11 -D_GNU_SOURCE -x c
        compile "$header" "C11 alone with $cc" "$cc" -std=c11 -x c
    done
    for cxx in g++ clang++; do
        command -v "$cxx" >/dev/null || { echo "skip headers: $cxx is not installed"; continue; }
        compile "$header" "C++17 with $cxx" "$cxx" -std=c++17 -x c++
    done
done

library=${HVV_BUILD:-.}/libhvv-harness.a
foreign=$(nm -g --defined-only "$library" 2>&1 | awk 'NF == 3 { print $3 }' |
    grep -vE '^(hvv_harness_|hvvh_|__asan_|__odr_asan|__tsan_)' | sort -u | tr '\n' ' ')
if [ -z "$foreign" ]; then
    echo "ok headers: names of the harness library"
else
    echo "not ok headers: names of the harness library: $foreign are to be in sdk/harness/rename.h"
fi
