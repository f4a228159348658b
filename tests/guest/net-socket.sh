#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# net-socket.sh - a guest whose frames go to QEMU through a pair of Unix datagram sockets, and from
# there to this side: DHCP, TCP and UDP. QEMU has no guest, only the socket and a network of the
# user's on one hub. See lib.sh, net-lib.sh and net-io.sh, which the guest runs.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"
# shellcheck source=/dev/null
. "$guest/net-lib.sh"

rows="socket-qemu"

# start_peer: QEMU, at the other end of $dir/a.
start_peer()
{
    qemu-system-x86_64 -M none -nodefaults -display none -serial none -monitor none \
        -netdev "dgram,id=n,local.type=unix,local.path=$dir/b,remote.type=unix,remote.path=$dir/a" \
        -netdev user,id=u -netdev hubport,id=hn,hubid=0,netdev=n \
        -netdev hubport,id=hu,hubid=0,netdev=u > "$dir/qemu.log" 2>&1 < /dev/null &
    guests+=("$!")
}

socket()
{
    local port bytes=$((megabytes * 1000000))

    start_server 0 1 127.0.0.1
    port=$(sed -n 's/^netio: serving at port //p' "$dir/server.log")
    start_daemon
    add_device "net:socket,path=$dir/a,peer=$dir/b,id=vm"
    start_peer
    # Until QEMU is there, what the guest sends is dropped; it asks for an address again.
    boot uml vm addresses=dhcp offloads=off peers=10.0.2.2 dismiss=10.0.2.2 port="$port" \
        bytes="$bytes" datagrams=1000 rate=1000
    finish_guest vm
    finish_server
    check_sums vm
    check_no_drops vm tx-bad-header tx-bad-length tx-refused tx-peer-full rx-bad-frame \
        rx-too-long rx-no-buffer
    control remove vm > /dev/null
    [ ! -e "$dir/a" ] || fail "the socket is still there"
    grep -h '^netio: tcp' "$dir/vm.log" | sed 's/sum .*, /at /; s/^/# vm: /'
}

need "$rows" linux.uml qemu-system-x86_64 busybox cpio jq
build_netio "$rows"

row socket-qemu socket
finish
