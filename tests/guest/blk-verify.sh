#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# blk-verify.sh - in a guest: checks what a virtio disk says about itself, then writes and reads the
# raw disk in many sizes. It overwrites the start and the end of the disk.
#
# The first 8 MiB of the disk have a model in guest memory. Every write goes to both, and the two
# are compared in whole with the page cache dropped, so a write that lands in the wrong place, or is
# too long, is found as well as one that is lost. The last line tells the md5 of that part, for the
# host to compare with the image.
#
# From the environment, all but disk checked only when set: disk (/dev/vda), sectors (of 512 bytes),
# queues, serial, logical (sector size), read_only (1: the disk is to refuse writes; 0 if not set).
set -eu

disk=${disk:-/dev/vda}
read_only=${read_only:-0}
sys=/sys/block/${disk##*/}
model=/tmp/model.${disk##*/}
data=/tmp/data.${disk##*/}
back=/tmp/back.${disk##*/}

fail()
{
    echo "blk: $*"
    exit 1
}

# expect NAME WANTED FOUND: an empty WANTED means nobody asked.
expect()
{
    [ -z "$2" ] || [ "$2" = "$3" ] || fail "$1 is '$3', expected '$2'"
    echo "blk: $1 $3${2:+, as expected}"
}

drop_cache()
{
    sync
    echo 3 > /proc/sys/vm/drop_caches
}

# check_model WHAT: reads the disk, not the page cache of the guest.
check_model()
{
    drop_cache
    if ! cmp -s -n "$bytes" "$model" "$disk"; then
        # With -n, this cmp would go on to name every byte.
        cmp -n "$bytes" "$model" "$disk" | head -n 1
        fail "the disk differs from the model after: $1"
    fi
    echo "blk: $1, all $bytes bytes as they should be"
}

# put OFFSET LENGTH BLOCK [FLAG]: random bytes to disk and model, in requests of up to BLOCK bytes.
put()
{
    head -c "$2" /dev/urandom > "$data"
    dd if="$data" of="$model" bs="$3" seek="$1" oflag=seek_bytes conv=notrunc status=none
    # shellcheck disable=SC2086
    dd if="$data" of="$disk" bs="$3" seek="$1" oflag="seek_bytes${4:+,$4}" conv=notrunc,fsync \
        status=none || fail "cannot write $2 bytes at $1"
}

check_facts()
{
    expect sectors "${sectors:-}" "$(cat "$sys/size")"
    expect queues "${queues:-}" "$(find "$sys/mq" -mindepth 1 -maxdepth 1 | wc -l)"
    expect serial "${serial:-}" "$(cat "$sys/serial")"
    expect "logical block size" "${logical:-}" "$(cat "$sys/queue/logical_block_size")"
    expect read-only "$read_only" "$(cat "$sys/ro")"
    echo "blk: cache $(cat "$sys/queue/write_cache"), largest request" \
        "$(cat "$sys/queue/max_sectors_kb") KiB in $(cat "$sys/queue/max_segments") segments"
}

# Nothing may change on a read-only disk, and the guest is to be told.
check_refusal()
{
    head -c 65536 "$disk" | md5sum > /tmp/before
    if dd if=/dev/urandom of="$disk" bs=4096 count=16 conv=notrunc,fsync status=none 2> /tmp/error
    then
        fail "a write to the read-only disk was taken"
    fi
    drop_cache
    head -c 65536 "$disk" | md5sum > /tmp/after
    cmp /tmp/before /tmp/after || fail "a refused write changed the disk"
    echo "blk: a write is refused ($(sed 's/.*: //' /tmp/error)) and changes nothing"
}

check_sizes()
{
    for size in 512 1024 1536 4096 12288 65536 196608 1048576; do
        [ $((size % unit)) -eq 0 ] || continue
        put $((7 * unit)) "$size" "$size" direct
        put $((1048576 + 3 * unit)) "$size" 1048576
    done
    check_model "writes of 512 bytes to 1 MiB, direct and cached"

    put 2097152 4194304 4194304 direct
    put 6291456 524288 "$unit" direct
    check_model "4 MiB in one write, 512 KiB in single sectors"
}

check_reads()
{
    for size in "$unit" 4096 65536 1048576; do
        head -c $((size * 8)) "$model" > "$data"
        dd if="$disk" of="$back" bs="$size" count=8 iflag=direct status=none
        cmp "$data" "$back" || fail "8 direct reads of $size bytes differ"
    done
    echo "blk: direct reads of $unit bytes to 1 MiB"
}

# Four writers at once on neighbouring areas.
check_parallel()
{
    head -c 2097152 /dev/urandom > "$data"
    dd if="$data" of="$model" bs=1M seek=6 conv=notrunc status=none
    writers=
    for part in 0 1 2 3; do
        dd if="$data" of="$disk" bs=16384 count=32 skip=$((part * 32)) \
            seek=$((384 + part * 32)) oflag=direct conv=notrunc status=none &
        writers="$writers $!"
    done
    for writer in $writers; do
        wait "$writer" || fail "one of four writers at once failed"
    done
    check_model "four writers at once"
}

# What was there may stay or turn to zeroes; what is beside it must stay.
check_discard()
{
    [ "$(cat "$sys/queue/discard_max_bytes")" -gt 0 ] || { echo "blk: no discard"; return 0; }
    blkdiscard -o 3145728 -l 1048576 "$disk" || fail "discard is offered but fails"
    put 3145728 1048576 65536 direct
    check_model "discard of 1 MiB and a write over it"
}

check_end()
{
    last=$(($(cat "$sys/size") * 512 - unit))
    head -c "$unit" /dev/urandom > "$data"
    dd if="$data" of="$disk" bs="$unit" seek="$last" oflag=seek_bytes,direct conv=notrunc \
        status=none
    drop_cache
    dd if="$disk" of="$back" bs="$unit" skip="$last" iflag=skip_bytes status=none
    [ "$(md5sum < "$data")" = "$(md5sum < "$back")" ] || fail "the last sector does not read back"
    dd if="$disk" of="$back" bs="$unit" skip=$((last + unit)) iflag=skip_bytes status=none || true
    [ ! -s "$back" ] || fail "there is data behind the last sector"
    echo "blk: the last sector is the last"
}

[ -b "$disk" ] || fail "there is no disk $disk"
check_facts
if [ "$read_only" = 1 ]; then
    check_refusal
    exit 0
fi

unit=$(cat "$sys/queue/logical_block_size")
bytes=$(($(cat "$sys/size") * 512))
[ "$bytes" -ge 8388608 ] || fail "the disk has $bytes bytes, this test needs 8388608"
bytes=8388608
head -c "$bytes" "$disk" > "$model"
check_model "reading"
check_sizes
check_reads
check_parallel
check_discard
check_end
[ "$(cat "$sys/size")" = 16384 ] || check_model "the end of the disk written"
echo "blk: md5 of the first $bytes bytes $(head -c "$bytes" "$disk" | md5sum | cut -d' ' -f1)"
