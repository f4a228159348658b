#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# check-plugin - what hvisor-vhost-check-plugin says: nothing against our plugins, the examples and
# the template, and for each rule just that rule against a plugin in which one line breaks it.
set -u
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
check=$HVV_BUILD/hvisor-vhost-check-plugin
bad=$HVV_SOURCE/tests/sdk/bad
cd "$tmp" || exit 1

if [ -n "${HVV_SANITIZE:-}" ]; then
    echo "skip check-plugin: with sanitizers the checker cannot have a malloc of its own"
    exit 0
fi

# build FILE.c FILE.so [MORE.c]
build()
{
    ${CC:-cc} -std=gnu11 -D_GNU_SOURCE -g -O1 -fPIC -shared -fvisibility=hidden \
        -I"$HVV_SOURCE/sdk/include" -w -o "$2" "$1" "${@:3}"
}

# passes NAME FILE [OPTION...]
passes()
{
    local name=$1
    shift
    if "$check" "$@" >passes.log 2>&1; then
        echo "ok check-plugin: $name keeps all rules"
    else
        echo "not ok check-plugin: $name: $(grep '^not ok' passes.log | tr '\n' ' ')"
    fi
}

# breaks RULE NAME FILE [OPTION...]: says one line, so that some can run at once
breaks()
{
    local rule=$1 name=$2 said failed
    shift 2
    said=$("$check" --limit 20 --patience 1500 "$@" 2>&1)
    [ $? -eq 1 ] || said="status: $said"
    failed=$(sed -n 's/^not ok \([^:]*\):.*/\1/p' <<<"$said" | tr '\n' ' ')
    if [ "$failed" = "$rule " ]; then
        echo "ok check-plugin: $rule: $name"
    else
        echo "not ok check-plugin: $rule: $name: $(grep -v '^ok\|^skip' <<<"$said" | tr '\n' ' ')"
    fi
}

# ---- what is right ----
plugins=$HVV_BUILD/plugins.d
truncate -s 4M disk.img
if [ -e "$plugins/blk.so" ]; then
    passes "blk with backend=null" "$plugins/blk.so" backend=null
    passes "blk with an image" "$plugins/blk.so" disk.img locking=off
fi
[ -e "$plugins/console.so" ] && passes "console" "$plugins/console.so"
if [ -e "$plugins/net.so" ]; then
    passes "net with backend=null" "$plugins/net.so" backend=null
    passes "net with backend=loop" "$plugins/net.so" backend=loop
    passes "net on a switch" "$plugins/net.so" switch=lan
fi
for example in rng echo; do
    build "$HVV_SOURCE/sdk/examples/$example/$example.c" $example.so
    passes "the example $example" ./$example.so
done
mkfifo events # in place of an event device
build "$HVV_SOURCE/sdk/examples/input/input.c" input.so "$HVV_SOURCE/sdk/examples/input/source.c"
passes "the example input" ./input.so events
passes "the example input, a tablet" ./input.so path=events kind=tablet
sed -e 's/%NAME%/my-dice/g' -e 's/%IDENT%/my_dice/g' "$HVV_SOURCE/sdk/template/device.c.in" >dice.c
build dice.c dice.so
passes "the template" ./dice.so fill=3
build "$bad/good.c" good.so
passes "the good plugin" ./good.so

# ---- what is not ----
head -c 4000 good.so >cut.so
breaks file "half a file" ./cut.so
breaks create "an option that is not there" ./good.so nothing=1
sed 's/^    hvv_complete(chain, n);/&\n    hvv_complete(chain, n);/' \
    "$HVV_SOURCE/sdk/examples/rng/rng.c" >twice.c
build twice.c twice.so
breaks chain-once "the example rng, completing twice" ./twice.so

# line NUMBER RULE EDIT
line()
{
    mkdir "$1"
    sed "$3" "$bad/good.c" >"$1/bad.c"
    if [ "$(diff "$bad/good.c" "$1/bad.c" | grep -c '^>')" -gt 1 ] ||
        cmp -s "$bad/good.c" "$1/bad.c" || ! build "$1/bad.c" "$1/bad.so" >"$1/cc.log" 2>&1; then
        echo "not ok check-plugin: $2: $3 is not one line: $(head -n 3 "$1/cc.log" | tr '\n' ' ')"
    else
        breaks "$2" "$3" "$1/bad.so"
    fi
}

number=0
while IFS=$'\t' read -r rule edit; do
    case $rule in '#'* | '') continue ;; esac
    number=$((number + 1))
    line $number "$rule" "$edit" >"$number.out" &
    while [ "$(jobs -rp | wc -l)" -ge 4 ]; do
        wait -n
    done
done <"$bad/lines"
wait
for ((i = 1; i <= number; i++)); do
    cat "$i.out"
done

# ---- no rule without a plugin that breaks it ----
"$check" ./good.so | sed -n 's/^ok //p' | sort >rules
{ cut -f1 "$bad/lines"; echo file; } | sort -u >broken
missing=$(comm -23 rules broken | tr '\n' ' ')
if [ -z "$missing" ]; then
    echo "ok check-plugin: each rule can be broken"
else
    echo "not ok check-plugin: each rule can be broken: $missing"
fi

# ---- usage ----
"$check" >/dev/null 2>&1
[ $? -eq 2 ] && echo "ok check-plugin: no file" || echo "not ok check-plugin: no file"
"$check" nothing.so >/dev/null 2>&1
[ $? -eq 2 ] && echo "ok check-plugin: a file that is not there" ||
    echo "not ok check-plugin: a file that is not there"
