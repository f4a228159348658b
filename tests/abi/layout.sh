#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# layout - nothing that a plugin or a monitor of an earlier minor was compiled with has changed:
# every member of every public struct is where it was and declared as it was, every constant has
# its value, every hvv_ function is there. Members may be appended, behind the old end, to structs
# that say how large they are. tests/abi/1.N/layout is what the headers frozen beside it say.
#
#     layout.sh --print DIR    the table of the headers in DIR/hvv, to freeze a new minor
set -u
cd "${HVV_SOURCE:-.}" || exit 1
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
cc=${CC:-cc}

# headers DIR: all but the harness, which is linked statically and so no part of the ABI.
headers()
{
    find "$1/hvv" -name '*.h' ! -name harness.h | LC_ALL=C sort
}

include_all()
{
    headers "$1" | sed 's|.*/hvv/\(.*\)|#include <hvv/\1>|'
}

# Reads preprocessed headers, writes the lines of a C program that print the table. A struct grows
# if it starts with its size, or if the table it is in comes with a stride.
# shellcheck disable=SC2016
members='
function emit(format, args) { printf "printf(\"%s\\n\"%s);\n", format, args }
function member(name, text) {
    emit(s "." name " %zu %zu " text, ", offsetof(struct " s ", " name "), sizeof(((struct " s \
         " *)0)->" name ")")
    if (!n++)
        grows = name == "size" || s ~ /^hvv_(option|command|counter|event)$/
}
BEGIN { RS = ";" }
{
    gsub(/[ \t\n]+/, " ")
    if (match($0, /enum( hvv_[a-z_]+)? \{ ?HVV_[^}]*\}/)) {
        body = substr($0, RSTART, RLENGTH)
        gsub(/.*\{|\}/, "", body)
        k = split(body, values, ",")
        for (i = 1; i <= k; i++)
            if (match(values[i], /HVV_[A-Z0-9_]+/))
                value(substr(values[i], RSTART, RLENGTH))
    }
    if (match($0, /struct hvv_[a-z_]+ \{/)) {
        s = substr($0, RSTART + 7, RLENGTH - 9)
        $0 = substr($0, RSTART + RLENGTH)
        n = 0
    } else if (s && /^ ?\}/) {
        emit(s " %zu " (grows ? "grows" : "fixed"), ", sizeof(struct " s ")")
        s = ""
    }
    if (!s)
        next
    sub(/^ /, "")
    if (match($0, /\(\*[a-z0-9_]+\)/)) {
        member(substr($0, RSTART + 2, RLENGTH - 3), $0)
        next
    }
    text = $0
    k = split($0, names, ",")
    for (i = 1; i <= k; i++) {
        sub(/\[.*/, "", names[i])
        match(names[i], /[a-z0-9_]+$/)
        member(substr(names[i], RSTART, RLENGTH), text)
    }
}
function value(name) { emit(name " %llu", ", (unsigned long long)" name) }
'

# The constants that are macros; the minor is what may change.
macros()
{
    headers "$1" | xargs grep -hoE '^#define HVV_[A-Z0-9_]+ ' | awk '{ print $2 }' |
        grep -vE '^HVV_(EXPORT|ABI_MINOR)$' | LC_ALL=C sort -u |
        sed 's|.*|printf("& %llu\\n", (unsigned long long)&);|'
}

functions()
{
    headers "$1" | xargs grep -hoE '\bhvv_[a-z0-9_]+\(' | LC_ALL=C sort -u | sed 's|(|()|'
}

# table DIR: one line for each member, struct, constant and function; the last field is its text.
table()
{
    {
        include_all "$1"
        printf '#include <stdio.h>\nint main(void)\n{\n'
        macros "$1"
        include_all "$1" | $cc -std=gnu11 -E -P -I"$1" - | LC_ALL=C awk "$members"
        printf 'return 0;\n}\n'
    } >"$tmp/table.c"
    $cc -std=gnu11 -w -I"$1" -o "$tmp/table" "$tmp/table.c" && "$tmp/table" && functions "$1"
}

# compare FROZEN NEW: a sentence for each thing that old binaries would stumble over.
compare()
{
    # shellcheck disable=SC2016
    LC_ALL=C awk '
        function bad(text) { print text }
        FNR == NR {
            old[$1] = $0
            if ($1 ~ /^hvv_[a-z_]+$/) { size[$1] = $2; kind[$1] = $3 }
            next
        }
        {
            new[$1] = $0
            if (split($1, name, ".") < 2 || $1 in old || !(name[1] in size))
                next
            if (kind[name[1]] == "fixed")
                bad("struct " name[1] " has a fixed size and got the member " name[2])
            else if ($2 < size[name[1]])
                bad("struct " name[1] " got the member " name[2] " at " $2 \
                    ", inside the old size of " size[name[1]])
        }
        END {
            for (key in old) {
                if (!(key in new)) {
                    bad(key " is gone")
                    continue
                }
                split(new[key], is)
                if (!(key in size) && new[key] != old[key])
                    bad(key " changed from \"" old[key] "\" to \"" new[key] "\"")
                else if (key in size && (is[2] < size[key] || is[3] != kind[key] ||
                         (is[3] == "fixed" && is[2] != size[key])))
                    bad("struct " key " changed from \"" old[key] "\" to \"" new[key] "\"")
            }
        }' "$1" "$2" | LC_ALL=C sort
}

say()
{
    if [ -z "$2" ]; then
        echo "ok layout: $1"
    else
        echo "not ok layout: $1: $(head -n 4 <<<"$2" | sed '$!s/$/;/' | tr '\n' ' ')"
    fi
}

if [ "${1:-}" = --print ]; then
    table "$2"
    exit
fi
echo 'char lp64[sizeof(void *) == 8 && sizeof(long) == 8 ? 1 : -1];' |
    $cc -fsyntax-only -x c - 2>/dev/null || { echo "skip layout: not a 64-bit machine"; exit 0; }

table sdk/include >"$tmp/now" || { echo "not ok layout: the table cannot be made"; exit 0; }
for frozen in tests/abi/[0-9]*.[0-9]*; do
    table "$frozen" >"$tmp/frozen"
    say "the headers of ${frozen##*/} are as they were frozen" \
        "$(diff "$frozen/layout" "$tmp/frozen" | grep '^[<>]' | head -n 4)"
    say "binaries of ${frozen##*/} fit" "$(compare "$frozen/layout" "$tmp/now")"
done
minor=$(sed -n 's/^#define HVV_ABI_MINOR //p' sdk/include/hvv/abi.h)
say "what was added since 1.$minor has a new minor" \
    "$(diff "tests/abi/1.$minor/layout" "$tmp/now" 2>&1 | sed -n '/^[<>d]/p' | head -n 4)"

# ---- that this test sees what it is for ----
while IFS='|' read -r what file edit expected; do
    rm -rf "$tmp/include"
    mkdir "$tmp/include"
    cp -r sdk/include/hvv "$tmp/include/"
    sed -i "$edit" "$tmp/include/hvv/$file"
    if cmp -s "sdk/include/hvv/$file" "$tmp/include/hvv/$file"; then
        echo "not ok layout: $what: the edit of $file changes nothing"
        continue
    fi
    table "$tmp/include" >"$tmp/changed" 2>"$tmp/log"
    found=$(compare "$tmp/now" "$tmp/changed")
    if [ -z "$expected" ]; then
        say "$what is accepted" "$found"
    else
        [[ $found = *"$expected"* ]]
        # shellcheck disable=SC2181
        say "$what is noticed" "$([ $? -eq 0 ] || echo "\"$found\" does not say \"$expected\"")"
    fi
done <<'CHANGES'
an operation at the end|device.h|/^struct hvv_ops {/,/^};/s/^};/    void (*more)(void);\n};/|
a service at the end|host.h|/^struct hvv_host {/,/^};/s/^};/    void (*more)(void);\n};/|
a member of an option at the end|option.h|/^struct hvv_option {/,/^};/s/^};/    uint64_t more;\n};/|
a larger minor|abi.h|s/\(HVV_ABI_MINOR\) .*/\1 9/|
a member in the middle|device.h|s/^    void (\*destroy)(.*/&\n    void (*more)(void);/|hvv_ops.notify changed from
two members swapped|plugin.h|s/uint32_t virtio_id/uint32_t swap/;s/uint32_t threads/uint32_t virtio_id/;s/uint32_t swap/uint32_t threads/|hvv_plugin.threads changed from
a narrower argument|host.h|s/(\*complete)(struct hvv_chain \*chain, uint32_t/(*complete)(struct hvv_chain *chain, uint16_t/|hvv_host.complete changed from
a member that is gone|chain.h|/uint64_t writable_bytes;/d|hvv_chain.writable_bytes is gone
a struct without size that grows|host.h|s/^    void \*link\[2\];/&\n    void *more;/|struct hvv_task has a fixed size and got the member more
a member in what was padding|plugin.h|s/^    const char \*qemu;/    uint32_t extra;\n&/|hvv_plugin.qemu changed from
a constant with another value|host.h|s/HVV_WATCH_WRITE 2u/HVV_WATCH_WRITE 4u/|HVV_WATCH_WRITE changed from
an enumerator with another value|option.h|s/HVV_OPTION_BOOL = 2/HVV_OPTION_BOOL = 9/|HVV_OPTION_BOOL changed from
a function that is gone|iov.h|s/hvv_iov_slice/hvv_iov_part/|hvv_iov_slice() is gone
a field of the shared page|bridge.h|s/^    uint8_t mmio_avail;/    uint64_t mmio_avail;/|hvv_bridge_page.need_wakeup changed from
CHANGES
