#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# docs - the man pages say what the programs do. Every page is clean for mandoc; every option,
# default, command, counter and event of a plugin's table is in its page, and every option in the
# page is in the table. Every function of the SDK has a page that describes it, with its prototype,
# and every function in a page exists. The tutorial has the steps of the example it is about. (The
# daemon's and the ctl's own pages are checked by their unit tests.)
set -u
tmp=$(mktemp -d) || exit 99
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$tmp"' EXIT

say()
{
    if [ -z "$2" ]; then echo "ok $1"; else echo "not ok $1: ${2//$'\n'/; }"; fi
}

command -v mandoc >/dev/null || { echo "skip docs: mandoc is not installed"; exit 0; }
command -v jq >/dev/null || { echo "skip docs: jq is not installed"; exit 0; }

for page in "$HVV_SOURCE"/host/man/*.[1-8] "$HVV_SOURCE"/plugins/*/*.7 \
    "$HVV_SOURCE"/sdk/man/*.[1-8]; do
    say "docs: mandoc ${page##*/}" "$(mandoc -Tlint -W warning "$page" 2>&1)"
done

# ---- the functions of the SDK ----
# Prototypes as "type name(arguments)" without spaces, from headers and from pages.
prototypes_of()
{
    cat "$@" | tr -s '\n ' '  ' | grep -oE 'static inline [^;{]*\bhvv_[a-z0-9_]+\([^;{]*\) \{' |
        sed 's/static inline//; s/{//' | tr -d ' ' | LC_ALL=C sort
}
prototypes_in()
{
    awk '/^\.Ft / { sub(/^\.Ft /, ""); type = $0 }
         /^\.Fo hvv_/ { line = type $2 "("; comma = "" }
         /^\.Fa "/ { sub(/^\.Fa /, ""); line = line comma $0; comma = "," }
         /^\.Fc/ { print line ")" }' "$@" | tr -d ' "' | LC_ALL=C sort
}
include=$HVV_SOURCE/sdk/include/hvv
prototypes_of "$include/host.h" "$include/iov.h" >"$tmp/of"
say "docs: there are functions" "$([ "$(wc -l <"$tmp/of")" -gt 40 ] || cat "$tmp/of")"
prototypes_in "$HVV_SOURCE"/sdk/man/*.3 >"$tmp/in"
say "docs: functions that no page in sdk/man has the prototype of" \
    "$(LC_ALL=C comm -23 "$tmp/of" "$tmp/in")"
awk '/^\.Sh / { on = /SYNOPSIS/ } on && /^\.F[no] hvv_/ { print $2 }' "$HVV_SOURCE"/sdk/man/*.3 |
    LC_ALL=C sort >"$tmp/described"
say "docs: functions that have two prototypes in sdk/man" "$(uniq -d "$tmp/described")"
grep -E '^[a-z]' "$include/harness.h" | grep -oE '\bhvv_harness_[a-z_]+\(' | tr -d '(' |
    LC_ALL=C sort >"$tmp/harness"
say "docs: functions of the harness that its page does not have" \
    "$(LC_ALL=C comm -23 "$tmp/harness" "$tmp/described")"
grep -hoE '\bhvv_[a-z0-9_]+\(' "$include"/*.h | tr -d '(' | LC_ALL=C sort -u >"$tmp/names"
for page in "$HVV_SOURCE"/sdk/man/*.[1-8]; do
    found=$(sed -nE '/^\.(Fn|Fo|Nm) hvv_/{s/"[^"]*"//g;p}' "$page" | grep -oE '\bhvv_[a-z0-9_]+' |
        grep -vxE 'hvv_(harness|plugin)' | LC_ALL=C sort -u | LC_ALL=C comm -23 - "$tmp/names")
    say "docs: functions that only ${page##*/} knows" "$found"
done

# ---- the tutorial: its steps have the numbers of the comments in the example ----
steps_in_echo=$(grep -oE '^(/\*| \*)( ----)? [0-9]+\. ' "$HVV_SOURCE/sdk/examples/echo/echo.c" |
    grep -oE '[0-9]+' | tr '\n' ' ')
steps_in_page=$(awk '/^\.Sh / { on = /AN AFTERNOON/; done = 0 }
    on && !done && /^\.It$/ { printf "%d ", ++n }
    on && /^\.El/ { done = 1 }' "$HVV_SOURCE/sdk/man/hvv_plugin.7")
differ=
[ "$steps_in_echo" = "$steps_in_page" ] && [ "${steps_in_echo% }" != "" ] ||
    differ="the page has $steps_in_page, echo.c has $steps_in_echo"
say "docs: steps of the tutorial in hvv_plugin.7" "$differ"

# item PAGE NAME: the text below `.It Cm NAME` in the page, as one line.
item()
{
    awk -v name="$2" '
        /^\.It / { on = 0; for (i = 2; i <= NF; i++) if ($i == name && $(i-1) != "Oo") on = 1
                   if (on && $3 != name && $0 !~ ("[ ,]" name "( |$)")) on = 0 }
        /^\.S[hs] / { on = 0 }
        on { sub(/^\.[A-Z][a-z] /, ""); printf "%s ", $0 }' "$1"
}

# in_page PAGE WHAT FILTER...: every name the jq filter gives has an item in the page.
in_page()
{
    local page=$1 what=$2 missing='' name
    while read -r name; do
        [ -n "$(item "$page" "$name")" ] || missing="$missing $name"
    done < <(jq -r ".plugins[0].$3" "$tmp/plugin.json")
    say "docs: $what of ${page##*/}" "$missing"
}

defaults()
{
    local page=$1 wrong='' name value
    while IFS=$'\t' read -r name value; do
        item "$page" "$name" | grep -qE "Default[a-zA-Z ]* $value( |\.|\$)" ||
            wrong="$wrong $name=$value"
    done < <(jq -r '.plugins[0].options[] | select(.default != null) | [.name, .default] | @tsv' \
        "$tmp/plugin.json")
    say "docs: defaults in ${page##*/}" "$wrong"
}

unknown_options()
{
    local page=$1 known extra
    known=$(jq -r '.plugins[0].options[].name' "$tmp/plugin.json")
    extra=$(awk '/^\.Ss Options/ { on = 1; next } /^\.S[hs]/ { on = 0 }
                 on && /^\.It Cm/ { print $3 }' "$page" | grep -vxF "$known")
    say "docs: options only ${page##*/} knows" "$extra"
}

"$HVV_BUILD/hvisor-vhost" -p "$HVV_BUILD/plugins.d" --control "$tmp/c" --socket-dir "$tmp" \
    2>"$tmp/log" &
pid=$!
"$HVV_BUILD/hvisor-vhost-ctl" --control "$tmp/c" --wait 15 list >/dev/null || cat "$tmp/log"
for page in "$HVV_SOURCE"/plugins/*/hvv-*.7; do
    plugin=${page##*/hvv-}
    [ -e "$HVV_BUILD/plugins.d/${plugin%.7}.so" ] ||
        { echo "skip docs: ${plugin%.7} is not built"; continue; }
    "$HVV_BUILD/hvisor-vhost-ctl" --control "$tmp/c" --json plugins "${plugin%.7}" \
        >"$tmp/plugin.json" 2>"$tmp/err" || { say "docs: ${plugin%.7}" "$(cat "$tmp/err")"; continue; }
    in_page "$page" options 'options[].name'
    in_page "$page" commands 'commands[].name'
    in_page "$page" counters 'counters[].name'
    in_page "$page" events 'events[].name'
    defaults "$page"
    unknown_options "$page"
done
