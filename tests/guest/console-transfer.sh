#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# console-transfer.sh - in a guest: the guest's end of a transfer through a port, see transfer.c.
#
# From the environment: channel (the name of the port), bytes, options (for transfer), hold (yes: is
# done in the middle of the transfer, with the port still open).
set -u

: "${channel:?}" "${bytes:?}" "${options:=}"

# The driver hears of its ports and their names one after the other.
device=
deadline=$(($(cut -d. -f1 /proc/uptime) + 60))
while [ -z "$device" ]; do
    if [ "$(cut -d. -f1 /proc/uptime)" -ge "$deadline" ]; then
        echo "there is no port $channel"
        exit 1
    fi
    for port in /sys/class/virtio-ports/*; do
        [ -e "$port/name" ] && [ "$(cat "$port/name")" = "$channel" ] && device=/dev/${port##*/}
    done
done
if [ "${hold:-}" != yes ]; then
    # shellcheck disable=SC2086
    exec transfer $options "$device" "$bytes"
fi
mkfifo /tmp/said
# shellcheck disable=SC2086
transfer $options --hold "$device" "$bytes" > /tmp/said &
read -r line < /tmp/said
echo "$line"
case $line in
*"in the middle"*) ;;
*) exit 1 ;;
esac
