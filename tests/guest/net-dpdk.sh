#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# net-dpdk.sh - DPDK's virtio-user as front-end of the net plugin: what its driver sent and received
# must be what the daemon counts, in every mode of its rings. See lib.sh and testpmd.sh.
# shellcheck disable=SC2034,SC2154    # dir, guest and others come from lib.sh, or go to testpmd.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"
# shellcheck source=/dev/null
. "$guest/testpmd.sh"

frames=200000
[ "$all" = 0 ] || frames=5000000

# begin SPEC FRONT-END-OPTIONS MODE [ARGUMENT]...: the daemon, a device, and testpmd at it.
begin()
{
    local spec=$1 options=$2

    shift 2
    testpmd_dir=$dir
    start_daemon
    add_device "$spec,id=net"
    start_pmd front 0 "net_virtio_user0,path=$dir/s/net.sock$options" "$@"
    guests+=("${pmd[front]}") # whatever happens, the row ends it
}

# wait_frames KEY...: until its counters say so many.
wait_frames()
{
    local deadline=$((SECONDS + limit))

    until [ "$(pmd_count front "$@")" -ge "$frames" ]; do
        [ "$SECONDS" -lt "$deadline" ] ||
            fail "$(pmd_count front "$@") frames within $limit s, not $frames"
    done
}

# same NAME COUNT KEY...: the daemon's counter is what the front-end has counted.
same()
{
    local ours theirs

    ours=$(counter net "$1")
    theirs=$(pmd_count front "${@:2}")
    [ "$ours" = "$theirs" ] || fail "$1 is $ours, and the front-end counts $theirs of ${*:2}"
}

# sums: each frame is counted once.
sums()
{
    control --json stats net | jq -e '.devices[0].counters |
        .["tx-frames"] == .["tx-sent"] + .["tx-link-down"] + .["tx-bad-length"]
            + .["tx-bad-header"] + .["tx-no-peer"] + .["tx-peer-full"] + .["tx-refused"] and
        .["rx-frames"] == .["rx-received"] + .["rx-link-down"] + .["rx-filtered"]
            + .["rx-too-long"] + .["rx-no-buffer"] + .["rx-bad-frame"]' > /dev/null ||
        fail "the counters do not add up: $(control stats net)"
}

leave()
{
    end_pmd front
    guests=()
}

# sends SIZE DEVICE-OPTIONS FRONT-END-OPTIONS [ARGUMENT]...: nothing gets lost on its way out. What
# the front-end has put into the ring counts for it, so the daemon has to get all of it in the end.
sends()
{
    local size=$1 device=$2 options=$3 deadline=$((SECONDS + limit)) sent

    shift 3
    begin "net:null$device" "$options" txonly --txpkts="$size" "$@"
    pmd_say front start
    wait_frames TX-packets
    pmd_say front stop
    sent=$(pmd_count front TX-packets)
    until [ "$(counter net tx-sent)" -ge "$sent" ] || [ "$SECONDS" -ge "$deadline" ]; do :; done
    same tx-sent TX-packets
    same tx-bytes TX-bytes
    sums
    leave
}

# receives SIZE DEVICE-OPTIONS FRONT-END-OPTIONS [ARGUMENT]...: it gets all that the daemon has given
# it, but for what is left in the ring when it stops.
receives()
{
    local size=$1 device=$2 options=$3 ours theirs

    shift 3
    begin "net:null,flood=$size$device" "$options" rxonly "$@"
    pmd_say front start
    wait_frames RX-packets
    pmd_say front stop
    ours=$(counter net rx-received)
    theirs=$(pmd_count front RX-packets RX-missed RX-errors)
    if [ "$ours" -lt "$theirs" ] || [ $((ours - theirs)) -gt 4096 ]; then
        fail "the daemon has given it $ours frames, and it counts $theirs"
    fi
    [ "$(pmd_count front RX-errors RX-missed)" = 0 ] || fail "the front-end counts errors"
    theirs=$(($(pmd_count front RX-bytes) / $(pmd_count front RX-packets)))
    [ "$theirs" = "$size" ] || fail "frames of $size bytes arrive with $theirs"
    sums
    leave
}

# circles DEVICE-OPTIONS FRONT-END-OPTIONS [ARGUMENT]...: frames go round between the front-end, which
# checks the checksums in each, and net:loop.
circles()
{
    local device=$1 options=$2

    shift 2
    begin "net:loop$device" "$options" csum --txpkts=512 "$@"
    pmd_say front "start tx_first 4"
    wait_frames RX-packets
    pmd_say front stop
    grep -E 'Bad-(ip|l4)csum' "$dir/front.said" > "$dir/bad" || fail "testpmd checks no checksums"
    ! grep -qE 'Bad-(ip|l4)csum: *[1-9]' "$dir/bad" || fail "checksums are wrong: $(cat "$dir/bad")"
    same tx-sent TX-packets
    [ "$(counter net tx-bad-header)" = 0 ] || fail "headers of the front-end are refused"
    sums
    leave
}

rows="tx-64 tx-1518 tx-plain tx-no-order tx-2-queues rx-64 rx-1518 rx-jumbo rx-plain"
rows="$rows rx-2-queues loop loop-plain loop-no-order"
need "$rows" dpdk-testpmd jq stdbuf

plain=,mrg_rxbuf=0,in_order=0
row tx-64 sends 64 "" ",queue_size=1024"
row tx-1518 sends 1518 "" ",queue_size=1024"
row tx-plain sends 64 "" "$plain"
row tx-no-order sends 64 "" ",in_order=0"
row tx-2-queues sends 64 ",queues=2" ",queues=2" --rxq=2 --txq=2
row rx-64 receives 64 "" ",queue_size=1024"
row rx-1518 receives 1518 "" ",queue_size=1024"
row rx-jumbo receives 9000 "" ",queue_size=1024" --max-pkt-len=9600 --enable-scatter
row rx-plain receives 64 "" "$plain"
row rx-2-queues receives 64 ",queues=2" ",queues=2" --rxq=2 --txq=2
row loop circles "" ",queue_size=1024"
row loop-plain circles "" "$plain"
row loop-no-order circles "" ",in_order=0"
finish
