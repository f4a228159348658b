#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# blk-bench.sh - in a guest: measures virtio disks with iobench, one after the other, in the order
# the host has planned. The disks are only read.
#
# The host reads the CPU clocks of who serves the disks at the line `bench: ready` and at each line
# of iobench. Nothing is under way then, nor for a moment after, so it does not matter that it reads
# them a little late.
#
# From the environment: plan (words DISK:DEPTH such as vda:32), seconds (for each run), ours (names
# of the disks that must have the serial number `serial`; no other may have it), serial.
set -eu

pause=0.15    # seconds between two runs, for the host

: "${plan:?}" "${seconds:?}" "${ours:?}" "${serial:?}"

fail()
{
    echo "bench: not ok: $*"
    exit 1
}

# A disk that takes another's place would make the comparison wrong.
for disk in /sys/block/vd*; do
    name=${disk##*/}
    found=$(cat "$disk/serial")
    case " $ours " in
    *" $name "*) [ "$found" = "$serial" ] || fail "$name has serial '$found', not '$serial'" ;;
    *) [ "$found" != "$serial" ] || fail "$name has serial '$found', which is that of $ours" ;;
    esac
done

echo "bench: ready"
for run in $plan; do
    sleep "$pause"
    iobench --depth "${run#*:}" --seconds "$seconds" "/dev/${run%:*}"
done
