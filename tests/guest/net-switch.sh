#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# net-switch.sh - guests of different hypervisors on one switch of the daemon: pings, TCP and UDP
# between each two of them. See lib.sh, net-lib.sh and net-io.sh, which the guests run.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"
# shellcheck source=/dev/null
. "$guest/net-lib.sh"

rows="switch-1500 switch-9000 switch-plain"

# talk_all MTU OFFLOAD: a talks to b and c, b talks to c, which is in QEMU. What is too long for a
# frame shows in the captures.
talk_all()
{
    local mtu=$1 offload=$2 common a b id

    start_daemon
    for id in a b c; do
        add_device "net:switch=lan,mtu=$mtu,offload=$offload,id=$id"
        control capture "$id" "path=$dir/$id.pcap" snaplen=64 > /dev/null
    done
    common=("mtu=$mtu" "offloads=$offload" "bytes=$((megabytes * 1000000))")
    boot uml a addresses="10.9.0.1/24 fd09::1/64" mtu_told=yes "${common[@]}" \
        peers="10.9.0.2 10.9.0.3 fd09::2 fd09::3" dismiss="10.9.0.2 fd09::3"
    a=$guest_pid
    boot uml b addresses="10.9.0.2/24 fd09::2/64" mtu_told=yes "${common[@]}" visitors=1 \
        peers="10.9.0.3 fd09::3" dismiss="10.9.0.3"
    b=$guest_pid
    boot qemu c addresses="10.9.0.3/24 fd09::3/64" "${common[@]}" visitors=2
    finish_guest a "$a"
    finish_guest b "$b"
    finish_guest c
    check_sums a b c
    for id in a b c; do
        check_no_drops "$id" tx-bad-header tx-bad-length rx-bad-frame rx-too-long
        control capture-stop "$id" > /dev/null
        "$tmp/netio" pcap "$dir/$id.pcap" > "$dir/pcap-$id.log"
        check_largest "$id"
    done
    grep -h '^netio: tcp' "$dir/b.log" | sort | sed 's/sum .*, /at /; s/^/# b: /' | tail -n 4
}

# Large segments with offloads; without them nothing above the MTU, but frames as large as that.
check_largest()
{
    local largest

    largest=$(sed -n 's/.*largest of \([0-9]*\) bytes/\1/p' "$dir/pcap-$1.log")
    case $offload in
    on) [ "$largest" -gt 60000 ] || fail "$1 has no frame above 60000 bytes: $largest" ;;
    off) [ "$largest" = $((mtu + 14)) ] || fail "the largest frame of $1 has $largest bytes" ;;
    esac
}

# Only who wants all rows gets something from the network.
cached=--cached
[ "$all" != 1 ] || cached=
need "$rows" linux.uml qemu-system-x86_64 busybox cpio jq
# shellcheck disable=SC2086
"$guest/qemu/kernel" $cached > "$tmp/kernel.log" 2>&1 ||
    give_up "$(tail -n 1 "$tmp/kernel.log")" $rows
build_netio "$rows"

row switch-1500 talk_all 1500 on
row switch-9000 talk_all 9000 on
slow_row switch-plain talk_all 1500 off
finish
