#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# check - the front-end's rows against our daemon in several configurations, and the well-formed
# ones against qemu-storage-daemon in the same run, so that the front-end cannot be wrong in our
# favour. Every row of every configuration counts.
set -u
tmp=$(mktemp -d) || exit 99
trap 'kill ${pids[@]+"${pids[@]}"} 2>/dev/null; wait; rm -rf "$tmp"' EXIT
pids=()
all=${HVV_TEST_ALL:-0}

# rows NAME SOCKET ARGS...: runs the check and puts NAME in front of each row.
rows()
{
    local name=$1
    shift
    "$HVV_BUILD/vhost-blk-check" "$@" 2>&1 |
        sed -nE "s/^(ok|not ok|skip) /\1 $name: /p" | sed -E 's/^skip ([^:]*: [^:]*):/skip \1 -/'
}

# ours NAME DAEMON-OPTIONS SPEC: a daemon of its own for each configuration.
ours()
{
    local name=$1 options spec=$3 dir=$tmp/$1
    read -ra options <<<"$2"
    mkdir "$dir"
    "$HVV_BUILD/hvisor-vhost" -p "$HVV_BUILD/plugins.d" --control "$dir/c" --socket-dir "$dir" \
        --log-level error ${options[@]+"${options[@]}"} 2>"$dir/log" &
    local pid=$!
    pids+=("$pid")
    if "$HVV_BUILD/hvisor-vhost-ctl" --control "$dir/c" --wait 15 add "$spec,id=d" >/dev/null; then
        case $spec in
        *backend=mem* | *,ro*) rows "$name" "$dir/d.sock" ;; # these cannot be resized
        *) rows "$name" "$dir/d.sock" --resize-command \
            "$HVV_BUILD/hvisor-vhost-ctl --control $dir/c resize d size=96M" ;;
        esac
    else
        echo "not ok $name: the device was not added"
    fi
    kill "$pid"
    if wait "$pid"; then echo "ok $name: daemon ends"; else echo "not ok $name: $(tail -n 3 "$dir/log")"; fi
}

image()
{
    truncate -s 64M "$tmp/$1.img"
    echo "$tmp/$1.img"
}

peer()
{
    command -v qemu-storage-daemon >/dev/null ||
        { echo "skip peer: qemu-storage-daemon is not installed"; return; }
    qemu-storage-daemon --object iothread,id=t0 \
        --blockdev "driver=file,node-name=d0,filename=$(image peer),aio=io_uring" \
        --export "type=vhost-user-blk,id=e0,node-name=d0,addr.type=unix,addr.path=$tmp/peer.sock,writable=on,num-queues=4,iothread=t0" &
    pids+=("$!")
    rows peer "$tmp/peer.sock" --well-formed
}

ours file "" "blk:$(image file),queues=4"
ours mem-2-workers "--workers 2" "blk:backend=mem,size=64M,queues=4"
[ "$all" != 1 ] || {
    ours worker-each "--workers each" "blk:$(image each),queues=4"
    ours no-polling "--poll-us 0" "blk:$(image nopoll),queues=4"
    ours direct "" "blk:$(image direct),queues=4,direct"
    ours threads "--workers 2" "blk:$(image threads),queues=4,engine=threads"
    ours read-only "" "blk:$(image ro),ro"
    ours inband "" "blk:$(image inband),queues=2,inband"
}
peer
