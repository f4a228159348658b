# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# rows-unit.sh - the unit tests, built for arm64. In the root guest, see root.sh.
# shellcheck disable=SC2154    # limit comes from root.sh, source from mk-root

# Debian's busybox has no mountpoint.
is_mounted()
{
    grep -q " $1 " /proc/mounts
}

# What the tests want of a system: shared memory, and a file system that has direct I/O, which the
# tmpfs in /tmp has not.
prepare()
{
    mkdir -p /dev/shm /disk
    is_mounted /dev/shm || mount -t tmpfs shm /dev/shm
    if ! is_mounted /disk; then
        modprobe loop
        zcat /lab/empty.img.gz > /disk.img
        mount -o loop -t ext4 /disk.img /disk
    fi
}

# unit PROGRAM: for it the disk is /tmp, and the sources are where they were when it was built, which
# may be in /tmp as well.
unit()
{
    prepare
    # shellcheck disable=SC2016
    HVV_TEST_PLUGINS=/lab/test-plugins timeout "$limit" unshare -m \
        sh -c 'mount --bind /disk /tmp && mkdir -p "$2" && mount --bind /lab/source "$2" &&
            cd /tmp && exec "$1"' unit "$1" "$source" > unit.log 2>&1 ||
        fail "status $?: $(grep -h -m 1 'Assertion Failed\|^not ok' unit.log)"
}

for program in /lab/units/*; do
    slow_row "${program##*/}" unit "$program"
done
