#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# rng-read.sh - in a guest: reads from its entropy device twice through /dev/hwrng, and looks at
# what came. From the environment: kib, how much to read at once.
set -eu

class=/sys/class/misc/hw_random
kib=${kib:?is how many KiB to read at once}

fail()
{
    echo "rng: $*"
    exit 1
}

# read_some FILE: as much as was asked for, and all sorts of bytes in it.
read_some()
{
    dd if=/dev/hwrng of="$1" bs=1024 count="$kib" iflag=fullblock status=none ||
        fail "$name cannot be read"
    size=$(wc -c < "$1")
    [ "$size" -eq $((kib * 1024)) ] || fail "$name gave $size bytes, not $kib KiB"
    values=$(od -An -v -tu1 -w1 "$1" | sort -u | wc -l)
    [ "$values" -ge 200 ] || fail "$name gave only $values of the 256 values a byte has"
}

[ -c /dev/hwrng ] || fail "there is no /dev/hwrng"
name=$(cat $class/rng_current)
case $name in
virtio_rng*) ;;
*) fail "rng_current is '$name', of $(cat $class/rng_available)" ;;
esac
read_some /tmp/first
read_some /tmp/second
! cmp -s /tmp/first /tmp/second || fail "$name gave the same bytes twice"
echo "rng: twice $kib KiB from $name, $values values"
