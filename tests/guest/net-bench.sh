#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# net-bench.sh - in a guest with two network devices: gives them addresses and serves whoever
# measures them from outside (netio serve, port 7000).
#
# From the environment: ours and peer (MAC addresses of the two devices), ours_address and
# peer_address (with prefixes).
set -eu

: "${ours:?}" "${peer:?}" "${ours_address:?}" "${peer_address:?}"

# set_up MAC ADDRESS: whichever of the devices has it.
set_up()
{
    for device in /sys/class/net/eth*; do
        [ "$(cat "$device/address")" = "$1" ] || continue
        ip addr add "$2" dev "${device##*/}"
        ip link set "${device##*/}" up
        netio offloads "${device##*/}"
        return 0
    done
    echo "bench: not ok: no device has the address $1"
    exit 1
}

modprobe virtio_net
ip link set lo up
set_up "$ours" "$ours_address"
set_up "$peer" "$peer_address"
netio serve 7000 1
