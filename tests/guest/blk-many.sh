#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# blk-many.sh - in a guest: uses several virtio disks at once, each as blk-verify.sh does, and one
# whose content does not last, which is only read and written. It overwrites the disks.
#
# From the environment: disks (names such as `vda vdb`), null_disk (its name, none if not set).
set -u

: "${disks:?}"

jobs=
for name in $disks; do
    disk=/dev/$name blk-verify.sh > "/tmp/said.$name" 2>&1 &
    jobs="$jobs $!"
done

status=0
if [ -n "${null_disk:-}" ]; then
    dd if="/dev/$null_disk" of=/dev/null bs=4096 count=2000 iflag=direct status=none &&
        dd if=/dev/zero of="/dev/$null_disk" bs=65536 count=500 oflag=direct conv=notrunc,fsync \
            status=none || status=1
    echo "many: $null_disk read and written, status $status"
fi

# shellcheck disable=SC2086
set -- $disks
for job in $jobs; do
    wait "$job" || status=1
    sed "s/^/$1 /" "/tmp/said.$1"
    shift
done
exit $status
