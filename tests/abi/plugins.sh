#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# plugins - plugins of other minors of the ABI on the daemon of today. An old one, built with the
# headers frozen in tests/abi/1.N, works: in the daemon, and under its test on today's harness. One
# of the next minor, built with headers made here, works without what is new, or is refused if it
# says that it needs it. And abidiff finds no change that sdk/HISTORY does not have.
# (tests/unit/loader.c has what is refused for its tables.)
set -u
tmp=$(mktemp -d) || exit 99
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "${HVV_SOURCE:-.}" || exit 1
build=${HVV_BUILD:-.}
cc=${CC:-cc}
read -ra sanitize <<<"${HVV_SANITIZE:-}"
plugin_flags=(-std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -g -O1 -fPIC -fvisibility=hidden)

# say NAME LOG: ok if the last command was.
say()
{
    # shellcheck disable=SC2181
    if [ $? -eq 0 ]; then
        echo "ok abi: $1"
    else
        echo "not ok abi: $1: $(tail -n 4 "$2" | tr '\n' ' ')"
        return 1
    fi
}

minor_of()
{
    sed -n 's/^#define HVV_ABI_MINOR //p' "$1/hvv/abi.h"
}

now=$(minor_of sdk/include)

# ---- old plugins: the examples, which use most of the ABI ----
# When an example comes to need a newer minor, its text of today moves to tests/abi/1.N.
for frozen in tests/abi/[0-9]*.[0-9]*; do
    version=${frozen##*/} plugins=$tmp/plugins-${frozen##*/}
    mkdir "$plugins"
    for name in rng echo; do
        source=sdk/examples/$name
        [ -d "$frozen/$name" ] && source=$frozen/$name
        $cc "${plugin_flags[@]}" -I"$frozen" -c -o "$tmp/old.o" "$source/$name.c" 2>"$tmp/log" &&
            $cc -shared -Wl,-z,defs -o "$plugins/$name.so" "$tmp/old.o" 2>>"$tmp/log"
        say "$name is built with the headers of $version" "$tmp/log" || continue
        $cc -std=gnu11 -D_GNU_SOURCE -g "${sanitize[@]}" -Isdk/include -o "$tmp/test-old" \
            "$source/test-$name.c" "$tmp/old.o" "$build/libhvv-harness.a" >"$tmp/log" 2>&1 &&
            "$tmp/test-old" >"$tmp/log" 2>&1
        say "its test passes on the harness of today" "$tmp/log"
    done
done

# ---- a new plugin: every struct that may grow has grown ----
mkdir "$tmp/next" "$tmp/newer"
cp -r sdk/include/hvv "$tmp/next/"
sed -i "s/^#define HVV_ABI_MINOR .*/#define HVV_ABI_MINOR $((now + 1))/" "$tmp/next/hvv/abi.h"
sed -i 's/^#define HVV_CAP_MAP .*/&\n#define HVV_CAP_MORE (1ull << 63)/' "$tmp/next/hvv/host.h"
# grow HEADER STRUCT MEMBER: appends the member.
grow()
{
    sed -i "/^struct $2 {/,/^};/s/^};/    $3;\n};/" "$tmp/next/hvv/$1"
}
grow plugin.h hvv_plugin 'uint64_t more'
grow device.h hvv_ops 'void (*more)(struct hvv_device *dev)'
grow device.h hvv_device 'uint64_t more'
grow host.h hvv_host 'void (*more)(struct hvv_device *dev)'
grow option.h hvv_option 'uint64_t more'
grow command.h hvv_command 'uint64_t more'
grow command.h hvv_counter 'uint64_t more'
grow command.h hvv_event 'uint64_t more'
for variant in newer newer-needs; do
    define=-UNEEDED
    [ $variant = newer ] || define=-DNEEDED
    $cc "${plugin_flags[@]}" -I"$tmp/next" $define -shared -Wl,-z,defs -o "$tmp/newer/$variant.so" \
        tests/abi/newer.c 2>"$tmp/log"
    say "$variant is built with headers of the next minor" "$tmp/log"
done

# ---- all of them in the daemon ----
# start DIR: a daemon with the plugins there.
start()
{
    "$build/hvisor-vhost" -p "$1" --control "$tmp/c" --socket-dir "$tmp" 2>"$tmp/daemon.log" &
    pid=$!
    ctl --wait 15 list
    say "the daemon starts with ${1##*/}" "$tmp/daemon.log"
}
stop()
{
    kill "$pid" && wait "$pid"
    say "it ends" "$tmp/daemon.log"
    pid=
}
ctl()
{
    "$build/hvisor-vhost-ctl" --control "$tmp/c" "$@" >"$tmp/ctl.log" 2>&1
}
has()
{
    ctl "${@:2}" && grep -qF -- "$1" "$tmp/ctl.log"
}
for dir in "$tmp"/plugins-*; do
    version=${dir##*-}
    start "$dir"
    for name in rng echo; do
        ctl add "$name:id=old-$name"
        say "$name of $version: a device is added" "$tmp/ctl.log"
        has "old-$name" list
        say "$name of $version: it is listed" "$tmp/ctl.log"
    done
    has yes shout old-echo on=yes
    say "echo of $version: its command runs" "$tmp/ctl.log"
    ctl remove old-rng && ctl remove old-echo
    say "both are removed" "$tmp/ctl.log"
    stop
done
start "$tmp/newer"
ctl add newer:id=new,size=12,text=long
say "newer: a device is added" "$tmp/ctl.log"
has 'does without' show new
say "newer: it does without what this host does not have" "$tmp/ctl.log"
has 12 tell new
say "newer: the second command of its table runs, with both options" "$tmp/ctl.log"
has second plugins newer
say "newer: the second counter of its table is listed" "$tmp/ctl.log"
ctl remove new
say "newer: it is removed" "$tmp/ctl.log"
! ctl add newer-needs
say "newer-needs: no device is added" "$tmp/ctl.log"
grep -F 'needs services that this host does not have (HVV_CAP bit 63)' "$tmp/ctl.log" |
    grep -qF 'use a newer hvisor-vhost'
say "newer-needs: what is missing and what to do is said" "$tmp/ctl.log"
stop

# ---- abidiff: cannot tell an addition from a break (layout.sh can), but sees all of both ----
grep -q "^## 1\.$now\$" sdk/HISTORY
say "sdk/HISTORY has the minor of today" sdk/HISTORY
latest=tests/abi/1.$now
[ -d "$latest" ]
say "the headers of the minor of today are frozen" <(echo "there is no $latest")
if ! command -v abidiff >/dev/null; then
    echo "skip abi: abidiff: abidiff is not installed"
    exit 0
fi
# probe DIR NAME: a plugin of these headers, with all types in its debug information
probe()
{
    $cc "${plugin_flags[@]}" -I"$1" -shared -o "$tmp/$2.so" sdk/examples/echo/echo.c
}
probe "$latest" before && probe sdk/include after && probe "$tmp/next" next
abidiff "$tmp/before.so" "$tmp/after.so" >"$tmp/log" 2>&1
say "abidiff: nothing changed since 1.$now was frozen" "$tmp/log"
! abidiff "$tmp/after.so" "$tmp/next.so" >"$tmp/log" 2>&1 && grep -q hvv_ops "$tmp/log"
say "abidiff: members of the next minor are seen" "$tmp/log"
