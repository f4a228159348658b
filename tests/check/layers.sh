#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# layers - which folder may include which: asks the compiler (-MM), so that no -I trick helps.
# Run by `make check` with srcdir and CC set; prints one line per rule.
cd "${srcdir:-.}" || exit 1
cc=${CC:-cc}
failed=0

say()
{
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        echo "not ok $1: $(echo "$2" | tr '\n' ' ')"
        failed=1
    fi
}

# allow FOLDER PREFIX...: the files in FOLDER include, of this tree, only what is below a PREFIX.
allow()
{
    folder=$1
    shift
    pattern=$(printf '%s|' "$@")
    bad=
    read -ra flags <<<"$(flags_of "$folder")"
    while read -r file; do
        bad=$bad$($cc -std=gnu11 -D_GNU_SOURCE "${flags[@]}" -MM "$file" 2>&1 |
            grep -oE '(host|plugins|sdk|tests)/[^ ]+|.*error:.*' |
            grep -Ev "^(${pattern%|})" | sed "s|^| $file includes |")
    done < <(find "$folder" -name '*.[ch]' | sort)
    say "layers: $folder" "$bad"
}

flags_of()
{
    case $1 in
    host/*) echo "-Ihost -Isdk/include" ;;
    plugins/*) echo "-Isdk/include" ;;
    sdk/harness | sdk/checker) echo "-Ihost -Isdk/include" ;;
    sdk/*) echo "-Isdk/include" ;;
    *) echo "" ;;
    esac
}

# only PATTERN FILE: no file but FILE in host/ and plugins/ contains PATTERN.
only()
{
    say "layers: only $2 has $1" "$(grep -rlE "$1" host plugins --include='*.[ch]' | grep -vx "$2")"
}

allow sdk/include sdk/include/
allow sdk/examples/echo sdk/examples/echo/ sdk/include/
allow sdk/examples/input sdk/examples/input/ sdk/include/
allow sdk/examples/rng sdk/examples/rng/ sdk/include/
# A test sees the options an operator will see: the harness has the daemon's parser, nothing else.
allow sdk/harness sdk/harness/ 'host/conf/(option|options|path|similar|spec)\.' \
    'host/util/error\.' sdk/include/
# The checker has the host's loader, so that the two cannot differ.
allow sdk/checker sdk/checker/ 'host/plugin/(elf|loader)\.' \
    'host/conf/(host-options|option|options|spec)\.' 'host/util/error\.' sdk/include/
for plugin in plugins/*/; do
    allow "${plugin%/}" "$plugin" plugins/common/ sdk/include/
done
allow host/util host/util/ sdk/include/
allow host/loop host/loop/ host/util/ sdk/include/
allow host/memory host/memory/ host/util/
allow host/virtq host/virtq/ host/memory/ host/loop/ host/util/ sdk/include/
allow host/worker host/worker/ host/loop/ host/util/ sdk/include/
# The registers are pure: what they do is told by values, so that other transports can use them.
allow host/transport/mmio/registers.c 'host/transport/mmio/registers\.' sdk/include/
# What zones may have is data: it knows no device, and the ctl checks files with it.
plans='host/zone/(crosscheck|hvisor-json|json-read|plan)\.'
for file in crosscheck hvisor-json json-read plan; do
    allow "host/zone/$file.c" "$plans" host/conf/ host/util/ sdk/include/
done
allow host/conf host/conf/ "$plans" host/util/ sdk/include/
allow host/ctl host/ctl/ "$plans" host/conf/spec.h host/conf/text-file.h host/util/error.h
only '#include <ev\.h>' host/loop/loop.c
only '#include <libconfig\.h>' host/conf/conf-file.c
only '#include <(gelf|libelf)\.h>' host/plugin/elf.c
only '#include <liburing\.h>' plugins/blk/uring.c
only '#include <slirp/libslirp\.h>' plugins/net/user.c
say "layers: only main files exit" "$(grep -nE '(^|[^_a-z])_?exit\(' -r host plugins --include='*.c' |
    grep -vE '^host/(main|ctl/main)\.c:')"
exit $failed
