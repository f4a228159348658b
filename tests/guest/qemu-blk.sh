#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# qemu-blk.sh - disks of the daemon in QEMU guests, without KVM. See lib.sh. On q35 SeaBIOS drives
# the disk before Linux does, on the same connection.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"

rows="verified queue-size-64 large microvm seabios resize stop-cont restart remove-refused"
sectors=131072      # of the disk, and after it has grown
grown=133120

# serve_disk [DAEMON-OPTION]...: a daemon with one disk in four queues.
serve_disk()
{
    start_daemon "$@"
    add_device "blk:$dir/disk.img,id=disk,queues=4"
}

# boot NAME PROPERTIES RUN-ARGUMENT...
boot()
{
    local name=$1 properties=$2

    shift 2
    start_guest "$name" "$guest/qemu/run" --initrd "$dir/$name.initrd" --smp 2 \
        --device "vhost-user-blk,socket=$dir/s/disk.sock,num-queues=4$properties" "$@"
}

# verified PROPERTIES RUN-ARGUMENT... -- VARIABLE...: verified I/O and nothing else.
verified()
{
    local properties=$1 arguments=()

    shift
    while [ "$1" != -- ]; do
        arguments+=("$1")
        shift
    done
    shift
    make_disk disk 64M
    serve_disk
    make_initrd qemu linux blk-io.sh sectors=$sectors queues=2 "$@"
    boot linux "$properties" "${arguments[@]}"
    finish_guest linux
    check_traffic
}

# What ioverify says about itself is not all: two queues were used, and no request failed.
check_traffic()
{
    control --json stats disk > "$dir/stats.log"
    jq -e '.devices[0] | .queues[0].chains > 0 and .queues[1].chains > 0 and
        .counters["io-errors"] == 0 and ([.queues[].errors] | add) == 0 and
        .counters.writes > 1000 and .counters.flushes > 0' "$dir/stats.log" > /dev/null ||
        fail "the counters of the daemon are not those of a guest with two busy queues"
}

# The firmware alone, with real data: it loads a boot sector, which has it read another sector, which
# holds the line that run waits for.
seabios()
{
    make_disk disk 64M
    "${cc[@]}" -c -m32 -o "$dir/boot.o" "$guest/qemu/boot.S" >> "$dir/cc.log" 2>&1
    objcopy -O binary -j .text "$dir/boot.o" "$dir/boot" >> "$dir/cc.log" 2>&1
    dd if="$dir/boot" of="$dir/disk.img" conv=notrunc status=none
    printf 'guest: ok\n' | dd of="$dir/disk.img" bs=512 seek=70000 conv=notrunc status=none
    serve_disk
    start_guest bios "$guest/qemu/run" --no-kernel \
        --device "vhost-user-blk,socket=$dir/s/disk.sock,num-queues=4"
    finish_guest bios
}

# ---- rows in which something happens during verified I/O, ended by a resize the guest must see ---

# start_busy QUEUE-SIZE PROPERTIES [RUN-ARGUMENT]...
start_busy()
{
    local size=$1

    shift
    if [ -z "$daemon_pid" ]; then
        make_disk disk 64M
        serve_disk
    fi
    make_initrd qemu linux blk-io.sh depths= sectors=$sectors new_sectors=$grown
    boot linux "$@"
    wait_progress
    control --json show disk |
        jq -e "[.queues[] | .size] == [$size, $size, 0, 0]" > /dev/null ||
        fail "the guest does not use two queues of $size"
}

# Several lines more, which the guest prints only as requests go through.
wait_progress()
{
    wait_lines 0 3 "$dir/linux.log" '^ioverify: [1-9][0-9]* requests'
}

grow_and_finish()
{
    control resize disk size=65M > /dev/null
    finish_guest linux
    control remove disk > /dev/null
}

resize()
{
    start_busy 128 ''
    grow_and_finish
}

queues_are()
{
    control --json show disk | jq -e ".queues | map(select(.state == \"$1\")) | length == $2" \
        > /dev/null
}

stop_cont()
{
    local before after round

    make_disk disk 64M
    serve_disk --workers 2
    start_busy 128 '' --qmp "$dir/qmp"
    for round in 1 2 3; do
        "$guest/qemu/qmp" "$dir/qmp" stop >> "$dir/qmp.log" 2>&1
        # QEMU answers once the device has confirmed the end of each queue.
        queues_are stopped 4 || fail "stop $round did not stop the queues"
        before=$(control --json stats disk)
        after=$(control --json stats disk)
        [ "$before" = "$after" ] || fail "the device goes on although all queues are stopped"
        "$guest/qemu/qmp" "$dir/qmp" cont >> "$dir/qmp.log" 2>&1
        wait_progress
    done
    grow_and_finish
}

restart()
{
    local round

    start_busy 128 ,reconnect=1
    for round in 1 2; do
        stop_daemon
        serve_disk
        wait_progress
    done
    grow_and_finish
}

remove_refused()
{
    local status=0

    start_busy 64 ,queue-size=64
    control remove disk > "$dir/remove.log" || status=$?
    [ "$status" -eq 1 ] || fail "remove ended with status $status while the guest uses the disk"
    grep -q 'device disk is in use' "$dir/ctl.log" ||
        fail "remove did not say why: $(cat "$dir/ctl.log")"
    wait_progress
    grow_and_finish
}

# Only who wants all rows gets something from the network.
cached=--cached
[ "$all" != 1 ] || cached=
need "$rows" qemu-system-x86_64 busybox cpio jq
# shellcheck disable=SC2086
"$guest/qemu/kernel" $cached > "$tmp/kernel.log" 2>&1 ||
    give_up "$(tail -n 1 "$tmp/kernel.log")" $rows
build_ioverify "$rows"

row verified verified '' --
slow_row queue-size-64 verified ,queue-size=64 --
slow_row large verified ,queue-size=64 -- depths="1 8" blocks=256 requests=800
slow_row microvm verified '' --machine microvm --
slow_row seabios seabios
slow_row resize resize
slow_row stop-cont stop_cont
slow_row restart restart
slow_row remove-refused remove_refused
finish
