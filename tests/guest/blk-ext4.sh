#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# blk-ext4.sh - in a guest: mounts the ext4 file system on a virtio disk, reads a file the host put
# there, writes one for the host to find, and unmounts.
#
# From the environment: disk (/dev/vda), read_file and read_text (both or neither), write_file and
# write_text. File names are relative to the file system; texts are compared without final newline.
set -eu

: "${write_file:?}" "${write_text:?}" "${read_file=}" "${read_text=}"
disk=${disk:-/dev/vda}
name=${disk##*/}

[ -b "$disk" ] || { echo "ext4: there is no disk $disk"; exit 1; }
echo "ext4: $disk has $(cat "/sys/block/$name/size") sectors of 512 bytes"

mount -t ext4 "$disk" /mnt
echo "ext4: mounted, $(df -k /mnt | awk 'END { print $4 }') KiB free"

if [ -n "$read_file" ]; then
    found=$(cat "/mnt/$read_file")
    [ "$found" = "$read_text" ] || { echo "ext4: $read_file holds '$found'"; exit 1; }
    echo "ext4: $read_file holds what the host wrote"
fi

printf '%s\n' "$write_text" > "/mnt/$write_file"
sync
echo "ext4: wrote $write_file, $(wc -c < "/mnt/$write_file") bytes"

umount /mnt
! grep -q "^$disk " /proc/mounts || { echo "ext4: $disk is still mounted"; exit 1; }
echo "ext4: unmounted"
