#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# net-tap.sh - guests on taps: pings, TCP and UDP with this side both ways, what is counted here and
# by the kernel, large segments, and the link. All of it is in a network namespace of its own, which
# goes with the last process in it. See lib.sh, net-lib.sh and net-io.sh, which the guests run.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

if [ "${1:-}" != --inside ] && unshare --net true 2> /dev/null; then
    exec unshare --net "$0" --inside
fi

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"
# shellcheck source=/dev/null
. "$guest/net-lib.sh"

rows="tap-uml tap-plain tap-existing tap-qemu tap-queues"
bytes=$((megabytes * 1000000))
datagrams=1500
[ "$all" != 1 ] || datagrams=5000
rate=1000

# What a row that failed left behind.
remove_links()
{
    ip link del hvvtap0 2> /dev/null || true
    ip link del hvvbr0 2> /dev/null || true
}

# add_tap OPTIONS: device vm on a tap that it makes.
add_tap()
{
    remove_links
    add_device "net:tap=hvvtap0,create,id=vm,$1"
    ip addr add 10.9.0.1/24 dev hvvtap0
    ip addr add fd09::1/64 dev hvvtap0 nodad
    ip link set hvvtap0 up
    # However long this machine lets the daemon wait.
    ip link set hvvtap0 txqueuelen 5000
}

# tap_counter rx|tx packets|dropped|errors: the kernel's; it receives what the guest sends.
tap_counter()
{
    ip -j -s link show hvvtap0 | jq ".[0].stats64.$1.$2"
}

# The kernel has counted the same frames.
check_tap()
{
    local sent received

    sent=$(counter vm tx-sent)
    received=$(counter vm rx-frames)
    [ "$(tap_counter rx packets)" = "$sent" ] ||
        fail "the kernel has $(tap_counter rx packets) frames from the guest, tx-sent is $sent"
    [ "$(tap_counter tx packets)" = "$received" ] ||
        fail "the kernel has $(tap_counter tx packets) frames for the guest, rx-frames is $received"
}

# check_no_loss DROPPED: what the tap has dropped before; since then it has not.
check_no_loss()
{
    check_no_drops vm tx-link-down tx-bad-length tx-bad-header tx-no-peer tx-peer-full tx-refused \
        rx-link-down rx-too-long rx-no-buffer rx-bad-frame
    [ "$(tap_counter tx dropped)" = "$1" ] ||
        fail "the tap dropped $(tap_counter tx dropped) frames, $1 before the guest came"
}

# Each way, asked for from here. The guest has done the same before.
talk_to()
{
    netio tcp-send "$1" 7000 "$bytes"
    netio tcp-receive "$1" 7000 "$bytes"
    netio udp-send "$1" 7000 "$datagrams" 1000 "$rate"
    netio udp-receive "$1" 7000 "$datagrams" 1000 "$rate"
}

# boot_guest BED VARIABLE...
boot_guest()
{
    local bed=$1

    shift
    boot "$bed" vm addresses="10.9.0.2/24 fd09::2/64" peers="10.9.0.1 fd09::1" \
        dismiss=10.9.0.1 visitors=1 bytes="$bytes" datagrams="$datagrams" rate="$rate" "$@"
}

# exchange BED MTU OFFLOAD [VARIABLE...]: all the traffic, and what was counted of it.
exchange()
{
    local bed=$1 mtu=$2 offload=$3 dropped

    shift 3
    start_server 7000 1
    control capture vm "path=$dir/vm.pcap" snaplen=64 > /dev/null
    boot_guest "$bed" mtu="$mtu" offloads="$offload" "$@"
    # Before, this side has its own things to say in IPv6, and nobody is there.
    wait_line "$dir/vm.log" '^net: .* answers'
    dropped=$(tap_counter tx dropped)
    wait_line "$dir/vm.log" '^net: done'
    finish_server
    talk_to 10.9.0.2
    talk_to fd09::2
    control capture-stop vm > /dev/null
    check_no_loss "$dropped"
    check_largest "$mtu" "$offload"
    grep -h '^netio: .*has\|^netio: udp sent' "$dir/vm.log" | sed 's/^/# /'
}

# check_largest MTU OFFLOAD: large segments in both directions together, or none at all.
check_largest()
{
    local largest

    "$tmp/netio" pcap "$dir/vm.pcap" > "$dir/pcap.log"
    sed 's/^netio:/# capture:/' "$dir/pcap.log"
    largest=$(sed -n 's/.*largest of \([0-9]*\) bytes/\1/p' "$dir/pcap.log")
    case $2 in
    on) [ "$largest" -gt 60000 ] || fail "no frame above 60000 bytes was captured: $largest" ;;
    off) [ "$largest" = $(($1 + 14)) ] || fail "the largest frame has $largest bytes" ;;
    esac
}

# ---- the link -----------------------------------------------------------------------------------

# answers ADDRESS: to a ping.
answers()
{
    busybox ping -q -c 1 -W 2 "$1" >> "$dir/ping.log" 2>&1
}

# wait_tap_carrier yes|no
wait_tap_carrier()
{
    local deadline=$((SECONDS + limit)) found=

    while [ "$found" != "$1" ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "the tap's carrier: $found, not $1, for $limit s"
        found=yes
        ! ip -j link show hvvtap0 | jq -e '.[0].flags | index("NO-CARRIER")' > /dev/null || found=no
    done
}

link_down()
{
    control link vm state=down > /dev/null
    wait_tap_carrier no
    ! answers 10.9.0.2 || fail "the guest answers although its link is down"
}

link_up()
{
    control link vm state=up > /dev/null
    wait_tap_carrier yes
    answers 10.9.0.2 || answers 10.9.0.2 || fail "the guest does not answer although its link is up"
}

# ---- rows ---------------------------------------------------------------------------------------

uml()
{
    start_daemon
    add_tap mtu=1500
    exchange uml 1500 on mtu_told=yes carrier=yes
    netio quit 10.9.0.2 7000
    wait_line "$dir/vm.log" '^net: carrier is 1'
    link_down
    wait_line "$dir/vm.log" '^net: carrier is 0'
    link_up
    finish_guest vm
    [ "$(grep -c '^net: carrier is 1' "$dir/vm.log")" = 2 ] || fail "the link did not come back"
    check_sums vm
    check_tap
}

# QEMU keeps what the device says of its link to itself: frames stop, and the tap's carrier goes.
qemu()
{
    start_daemon
    add_tap mtu=1500
    exchange qemu 1500 on
    link_down
    link_up
    netio quit 10.9.0.2 7000
    finish_guest vm
    check_sums vm
    check_tap
}

# No offloads, and long frames.
plain()
{
    start_daemon
    add_tap mtu=9000,offload=off
    exchange uml 9000 off mtu_told=yes
    netio quit 10.9.0.2 7000
    finish_guest vm
    check_sums vm
    check_tap
}

# Two pairs of queues in a guest with two processors, which both are used.
queues()
{
    # shellcheck disable=SC2034
    pairs=2
    start_daemon
    add_tap queues=2
    exchange qemu 1500 on
    netio quit 10.9.0.2 7000
    finish_guest vm
    check_sums vm
    check_tap
    jq -e '.devices[0].queues[:4] | map(.chains > 100) | all' "$dir/stats-vm.log" > /dev/null ||
        fail "not all four queues were used"
}

# A tap that was there before joins a bridge, and stays when the device goes, without the bridge.
existing()
{
    remove_links
    ip link add hvvbr0 type bridge
    ip tuntap add dev hvvtap0 mode tap
    start_daemon
    add_device net:hvvtap0,bridge=hvvbr0,id=vm
    ip addr add 10.9.0.1/24 dev hvvbr0
    ip addr add fd09::1/64 dev hvvbr0 nodad
    ip link set hvvbr0 up
    ip link set hvvtap0 up txqueuelen 5000
    exchange uml 1500 on
    netio quit 10.9.0.2 7000
    finish_guest vm
    check_sums vm
    control remove vm > /dev/null
    [ "$(ip -j link show hvvtap0 | jq -r '.[0].master')" = null ] ||
        fail "the tap is still in the bridge"
    ip link del hvvtap0
    ip link del hvvbr0
}

# shellcheck disable=SC2086
[ "${1:-}" = --inside ] ||
    give_up "no network namespace can be made: run it as root" $rows
# Only who wants all rows gets something from the network.
cached=--cached
[ "$all" != 1 ] || cached=
need "$rows" linux.uml busybox cpio jq ip
build_netio "$rows"
ip link set lo up

row tap-uml uml
slow_row tap-plain plain
slow_row tap-existing existing
rows="tap-qemu tap-queues"
need "$rows" qemu-system-x86_64
# shellcheck disable=SC2086
"$guest/qemu/kernel" $cached > "$tmp/kernel.log" 2>&1 ||
    give_up "$(tail -n 1 "$tmp/kernel.log")" $rows
row tap-qemu qemu
slow_row tap-queues queues
finish
