# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# pack.sh - what puts dynamic programs for arm64 into the system of a root guest: for mk-root and
# tests/bench/net-kvm.
#
# From the script that sources this: out, a directory for stripped programs; libraries, the
# directories to find libraries in. What it makes is in options, those of mk-initrd.
# shellcheck disable=SC2154

options=()
programs=()
declare -A seen=()

# put_program PATH PROGRAM: without its debugging information, at this path in the guest.
put_program()
{
    programs+=("$2")
    aarch64-linux-gnu-strip -o "$out/${2##*/}" "$2"
    options+=(--file "$1=$out/${2##*/}")
}

# Prints the libraries that the files need, and those that these need, each once.
needed()
{
    local name names found

    names=$(aarch64-linux-gnu-objdump -p "$@" |
        awk '$1 == "NEEDED" && $2 !~ /^ld-linux/ { print $2 }' | sort -u)
    for name in $names; do
        [ -z "${seen[$name]:-}" ] || continue
        seen[$name]=1
        found=$(find "${libraries[@]}" -maxdepth 1 -name "$name" | head -n 1)
        [ -n "$found" ] || die "$name is not in ${libraries[*]}: run scripts/deps lab"
        echo "$found"
        needed "$found"
    done
}

# What all programs so far need, and the loader.
put_libraries()
{
    local loader=/lib/ld-linux-aarch64.so.1 found file

    found=$(needed "${programs[@]}")
    for file in $found; do
        options+=(--file "/lib/aarch64-linux-gnu/${file##*/}=$file")
    done
    [ -r "$loader" ] || die "$loader is missing: run scripts/deps lab"
    options+=(--file "$loader=$loader")
}
