#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# blk-io.sh - in a guest: runs ioverify on a virtio disk, with each depth for a number of requests,
# and then, if asked to, until the host gives the disk another size. It overwrites the disk.
#
# From the environment: disk (/dev/vda), queues and sectors (checked when set), depths (1 32),
# requests (3000, for each depth), seconds (60, for each depth), blocks (8, of 4 KiB, the most in one
# request), new_sectors (go on until the disk has another size, which is to be this one).
set -eu

disk=${disk:-/dev/vda}
sys=/sys/block/${disk##*/}

fail()
{
    echo "io: $*"
    exit 1
}

# verify DEPTH OPTION...
verify()
{
    depth=$1
    shift
    ioverify --depth "$depth" --blocks "${blocks:-8}" --seconds "${seconds:-60}" "$@" "$disk"
}

[ -b "$disk" ] || fail "there is no disk $disk"
found=$(find "$sys/mq" -mindepth 1 -maxdepth 1 | wc -l)
[ "${queues:-$found}" = "$found" ] || fail "$disk has $found queues, expected $queues"
found=$(cat "$sys/size")
[ "${sectors:-$found}" = "$found" ] || fail "$disk has $found sectors, expected $sectors"

for depth in ${depths-1 32}; do
    verify "$depth" --requests "${requests:-3000}"
done

[ -n "${new_sectors:-}" ] || exit 0
echo "io: waiting for another size than $found"
verify 16 --until-resized --seconds 60
found=$(cat "$sys/size")
[ "$found" = "$new_sectors" ] || fail "$disk has $found sectors now, expected $new_sectors"
# The new end is there to be used.
dd if=/dev/urandom of=/tmp/end bs=4096 count=1 status=none
dd if=/tmp/end of="$disk" bs=512 seek=$((new_sectors - 8)) oflag=direct conv=notrunc status=none
dd if="$disk" of=/tmp/back bs=512 skip=$((new_sectors - 8)) count=8 iflag=direct status=none
cmp -s /tmp/end /tmp/back || fail "the new end of the disk does not hold what was written there"
echo "io: $disk has $found sectors, as expected"
