#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# console-io.sh - in a guest: what a driver does with a console, and with the other ports.
#
# It tells the size of /dev/hvc0, waits for a line there, answers with many, waits for another size,
# and then copies what comes to the port called `channel`, if there is one, back to it.
#
# From the environment: lines (how many), new_size (rows and columns), channel (a name), channel_bytes,
# second (yes: there is a second console).
set -u

: "${lines:?}" "${new_size:?}" "${channel_bytes:=0}"

# sizes NAME: as stty tells it, which says nothing while it is not known.
sizes()
{
    stty -F "/dev/$1" size 2> /dev/null
}

# some_size NAME: once it is known.
some_size()
{
    while [ -z "$(sizes "$1")" ]; do
        sleep 0.05
    done
    sizes "$1"
}

# Who closes it last throws away what was typed.
exec 4<> /dev/hvc0 || exit 1
stty raw -echo <&4 || exit 1
echo "console: size $(some_size hvc0)"
[ "${second:-}" != yes ] || echo "console: second size $(some_size hvc1)"
echo "console: ready"
head -n 1 <&4 > /tmp/line
echo "console: read $(cat /tmp/line)"
seq 1 "$lines" > /tmp/out
cat /tmp/out >&4 || exit 1
echo "console: wrote md5 $(md5sum < /tmp/out | cut -d' ' -f1)"
while [ "$(sizes hvc0)" != "$new_size" ]; do
    sleep 0.05
done
echo "console: resized"

[ -n "${channel:-}" ] || exit 0
for port in /sys/class/virtio-ports/*; do
    [ -e "$port/name" ] || continue
    echo "console: ${port##*/} is called $(cat "$port/name")"
    [ "$(cat "$port/name")" = "$channel" ] && device=/dev/${port##*/}
done
exec 3<> "${device:?}" || exit 1
head -c "$channel_bytes" <&3 > /tmp/in
cat /tmp/in >&3 || exit 1
echo "console: channel md5 $(md5sum < /tmp/in | cut -d' ' -f1)"
