# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# net-lib.sh - what the tests of network devices with real guests share, beside lib.sh.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

megabytes=20
# shellcheck disable=SC2034
[ "$all" != 1 ] || megabytes=100
pairs=1             # of queues, of a guest in QEMU
sent="tx-link-down tx-bad-length tx-bad-header tx-no-peer tx-peer-full tx-refused"
received="rx-link-down rx-filtered rx-too-long rx-no-buffer rx-bad-frame"

# build_netio ROWS: for guests of any kernel, and for here.
build_netio()
{
    # shellcheck disable=SC2086
    "${cc[@]}" -std=gnu11 -O2 -Wall -Wextra -static -o "$tmp/netio" "$guest/netio.c" \
        > "$tmp/cc.log" 2>&1 || give_up "cannot build netio: $(head -n 1 "$tmp/cc.log")" $1
}

# boot BED NAME [NAME=VALUE]...: a guest, BED is uml or qemu, with the device of this name. It runs
# net-io.sh, with the console in NAME.log.
boot()
{
    local bed=$1 name=$2 mac variable options=() run=()

    shift 2
    mac=$(control --json show "$name" | jq -r '.. | .mac? // empty' | head -n 1)
    for variable in "mac=$mac" "$@"; do
        options+=(--env "$variable")
    done
    case $bed in
    uml) options+=(--module ipv6); run=(--device "$dir/s/$name.sock:1") ;;
    qemu) run=(--device "virtio-net,socket=$dir/s/$name.sock,queues=$pairs,mac=$mac"
        --smp "$pairs") ;;
    esac
    "$guest/$bed/mk-initrd" "${options[@]}" --program "$tmp/netio" "$guest/net-io.sh" \
        "$dir/$name.initrd" >> "$dir/initrd.log" 2>&1
    start_guest "$name" "$guest/$bed/run" --initrd "$dir/$name.initrd" "${run[@]}"
}

# netio ARGUMENT...: on this side.
netio()
{
    timeout "$limit" "$tmp/netio" "$@" >> "$dir/netio.log" 2>&1 ||
        fail "netio $*: $(tail -n 1 "$dir/netio.log")"
}

# start_server PORT QUITS [ADDRESS]: on this side, said to be ready in server.log.
start_server()
{
    : > "$dir/server.log" # there before anybody looks into it
    "$tmp/netio" serve "$@" > "$dir/server.log" 2>&1 &
    guest_pid=$!
    server=$guest_pid
    guests+=("$server")
    wait_line "$dir/server.log" '^netio: serving'
}

finish_server()
{
    local status=0

    wait "$server" || status=$?
    [ "$status" -eq 0 ] || fail "the server: $(tail -n 1 "$dir/server.log")"
}

# check_sums ID...: each frame is counted once, and shows how many of each kind.
check_sums()
{
    local id drops

    for id; do
        control --json stats "$id" > "$dir/stats-$id.log"
        jq -e --arg sent "$sent" --arg received "$received" '.devices[0].counters as $c |
            def sum(names): [names | split(" ")[] | $c[.]] | add;
            $c["tx-frames"] > 0 and $c["rx-frames"] > 0 and
            $c["tx-frames"] == $c["tx-sent"] + sum($sent) and
            $c["rx-frames"] == $c["rx-received"] + sum($received)' \
            "$dir/stats-$id.log" > /dev/null || fail "frames of $id are missing in the counters"
        drops=$(jq -r --arg names "$sent $received" '.devices[0].counters | to_entries[] |
            select(.value > 0 and (.key | IN($names | split(" ")[]))) | "\(.key) \(.value)"' \
            "$dir/stats-$id.log" | paste -sd , | sed 's/,/, /g')
        echo "# $id: $(jq -r '.devices[0].counters |
            "\(.["tx-frames"]) frames from the guest, \(.["rx-frames"]) for it"' \
            "$dir/stats-$id.log"), drops: ${drops:-none}"
    done
}

# check_no_drops ID NAME...: none was dropped for these reasons.
check_no_drops()
{
    local id=$1 name

    shift
    for name; do
        [ "$(counter "$id" "$name")" = 0 ] || fail "$id has $name $(counter "$id" "$name")"
    done
}
