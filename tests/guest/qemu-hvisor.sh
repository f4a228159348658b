#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# qemu-hvisor.sh - the daemon on hvisor's device file, in one QEMU guest: a kernel module of ours
# (hvisor-module) stands there for hvisor and its kernel module, and lets the kernel's own virtio
# drivers have the daemon's devices. The guest runs the rows, rows-hvisor.sh. See lib.sh.
# shellcheck disable=SC2154    # guest and others come from lib.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"

module=$guest/hvisor-module
rows=$(sed -n 's/^row \(hvisor-[a-z-]*\) .*/\1/p' "$module/rows-hvisor.sh")
seconds=900         # for the whole guest, on a machine that is busy with other things
options=()

# put_program PATH PROGRAM: without its debugging information, at this path in the guest, and its
# libraries.
put_program()
{
    local file

    strip -o "$tmp/${2##*/}" "$2"
    options+=(--file "$1=$tmp/${2##*/}")
    for file in $(ldd "$2" | sed -n 's/^.* => \(\/.*\) (.*$/\1/p; s/^\t\(\/.*\) (.*$/\1/p'); do
        options+=(--file "$file=$file")
    done
}

make_root()
{
    local program

    "$module/build" "$tmp/module"
    "${cc[@]}" -std=gnu11 -O2 -Wall -Wextra -Werror -static -o "$tmp/zonectl" "$module/zonectl.c"
    put_program /lab/hvisor-vhost "$build/hvisor-vhost"
    put_program /bin/hvisor-vhost-ctl "$build/hvisor-vhost-ctl"
    for program in "$build"/plugins.d/*.so; do
        put_program "/lab/plugins/${program##*/}" "$program"
    done
    for program in "$tmp/ioverify" "$tmp/zonectl" "$guest"/{blk-verify,blk-io,console-io}.sh; do
        options+=(--program "$program")
    done
    "$guest/qemu/mk-initrd" "${options[@]}" --module loop --env kernel_complaints=allowed \
        --file "/lab/hvisor_standin.ko=$tmp/module/hvisor_standin.ko" \
        --file "/lab/rows-hvisor.sh=$module/rows-hvisor.sh" \
        "$guest/arm64/root.sh" "$tmp/root.initrd"
}

if [ "$all" != 1 ]; then
    for name in $rows; do
        echo "skip $name: slow, runs with HVV_TEST_ALL=1 or scripts/test --all"
    done
    exit 0
fi
# shellcheck disable=SC2086
need "${rows//$'\n'/ }" qemu-system-x86_64 busybox cpio
# shellcheck disable=SC2086
"$guest/qemu/kernel" --headers > "$tmp/kernel.log" 2>&1 ||
    give_up "$(tail -n 1 "$tmp/kernel.log")" $rows
build_ioverify "$rows"
# shellcheck disable=SC2086
(set -e; make_root) > "$tmp/make.log" 2>&1 ||
    give_up "the guest cannot be made: $(grep -m 1 -i error "$tmp/make.log" ||
        tail -n 1 "$tmp/make.log")" $rows

"$guest/qemu/run" --initrd "$tmp/root.initrd" --smp 4 --mem 512M --timeout "$seconds" \
    --log "$tmp/console.log" 2> "$tmp/run.log" < /dev/null &
child=$!
wait "$child"
child=
grep -E '^(ok|not ok|skip|#) ' "$tmp/console.log"
for name in $rows; do
    grep -qE "^(not )?ok $name(:|\$)" "$tmp/console.log" ||
        echo "not ok $name: the guest ended before: $(tail -n 1 "$tmp/run.log")"
done
grep -qx 'guest: ok' "$tmp/console.log"
