#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# uml-blk.sh - disks of the daemon in User-mode Linux guests. See lib.sh.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"

rows="disk read-only backends again meanwhile"

# boot NAME ID...: starts a guest with these devices.
boot()
{
    local name=$1 id devices=()

    shift
    for id; do
        devices+=(--device "$dir/s/$id.sock:2")
    done
    start_guest "$name" "$guest/uml/run" --initrd "$dir/$name.initrd" --mem 192M "${devices[@]}"
}

disk()
{
    make_disk disk 32M
    start_daemon
    add_device "blk:$dir/disk.img,id=disk,serial=uml-disk-1,queues=2"
    make_initrd uml linux blk-verify.sh sectors=65536 serial=uml-disk-1 logical=512 queues=1
    boot linux disk
    finish_guest linux
    check_md5 "$dir/disk.img" "$dir/linux.log"
    [ "$(counter disk io-errors)" = 0 ] || fail "the daemon counts I/O errors"
}

read_only()
{
    local before

    head -c 9M /dev/urandom > "$dir/disk.img"
    before=$(md5sum < "$dir/disk.img")
    start_daemon
    add_device "blk:$dir/disk.img,id=disk,ro,block-size=4096"
    make_initrd uml linux blk-verify.sh sectors=18432 logical=4096 read_only=1 \
        kernel_complaints=allowed
    boot linux disk
    finish_guest linux
    [ "$(md5sum < "$dir/disk.img")" = "$before" ] || fail "the read-only image changed"
}

backends()
{
    make_disk disk 16M
    start_daemon
    add_device "blk:$dir/disk.img,id=file"
    control add "blk:backend=mem,size=16M,id=mem" "blk:backend=null,size=64M,id=null" > /dev/null
    make_initrd uml linux blk-many.sh "disks=vda vdb" null_disk=vdc
    boot linux file mem null
    finish_guest linux
    [ "$(grep -c '^vd[ab] blk: md5' "$dir/linux.log")" -eq 2 ] || fail "not both disks were tested"
    sed -n 's/^vda //p' "$dir/linux.log" > "$dir/vda"
    check_md5 "$dir/disk.img" "$dir/vda"
}

# What the first guest wrote is there for the second, on the same socket.
again()
{
    mke2fs -q -t ext4 "$dir/disk.img" 16M > "$dir/mke2fs.log" 2>&1
    start_daemon
    add_device "blk:$dir/disk.img,id=disk"
    make_initrd uml first blk-ext4.sh write_file=one "write_text=the first was here"
    make_initrd uml second blk-ext4.sh read_file=one "read_text=the first was here" \
        write_file=two "write_text=the second too"
    boot first disk
    finish_guest first
    boot second disk
    finish_guest second
    e2fsck -fn "$dir/disk.img" >> "$dir/mke2fs.log" 2>&1
    [ "$(debugfs -R 'cat /two' "$dir/disk.img" 2> /dev/null)" = "the second too" ] ||
        fail "the image does not hold what the second guest wrote"
}

# A disk is added, used by a second guest and removed while a first guest does verified I/O; that
# one ends when it sees that its disk has grown.
meanwhile()
{
    local first

    make_disk first 16M
    make_disk second 16M
    start_daemon
    add_device "blk:$dir/first.img,id=first"
    make_initrd uml first blk-io.sh depths= new_sectors=34816
    make_initrd uml second blk-verify.sh sectors=32768
    boot first first
    first=$guest_pid
    wait_line "$dir/first.log" '^ioverify: [1-9]'
    add_device "blk:$dir/second.img,id=second"
    boot second second
    finish_guest second
    check_md5 "$dir/second.img" "$dir/second.log"
    control remove second > /dev/null
    control resize first size=17M > /dev/null
    finish_guest first "$first"
}

need "$rows" linux.uml busybox cpio jq mke2fs debugfs
build_ioverify "$rows"

row disk disk
row read-only read_only
slow_row backends backends
slow_row again again
slow_row meanwhile meanwhile
finish
