#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# root.sh - in the root guest, which is to the daemon what hvisor's root zone is: runs each row with
# a daemon of its own and zones of its own, and says `ok NAME` or `not ok NAME: why`. mk-root puts
# it there together with the files of rows, rows-*.sh.
#
# From the environment: rows, the names of those to run, all of them if it is empty; all, 1 for the
# slow ones too; verbose, 1 to show the logs of rows that are ok too.
# shellcheck disable=SC2030,SC2031    # a row is a process of its own on purpose
# shellcheck disable=SC2317,SC3045    # rows call all this; the shell is busybox, which has read -t
set -u

export LC_ALL=C PLUGINS=/lab/plugins
limit=180           # seconds for anything to happen, on a machine that is busy with other things
failed=0
tmp=/tmp/lab

# ---- rows ---------------------------------------------------------------------------------------

# row NAME FUNCTION [ARGUMENT]...: in a shell of its own, in an empty directory.
row()
{
    name=$1
    shift
    case " ${rows:-$name} " in
    *" $name "*) ;;
    *) return 0 ;;
    esac
    rm -rf "$tmp"
    mkdir -p "$tmp"
    started=$(seconds_up)
    (
        cd "$tmp"
        daemon_pid=
        monitor_pid=
        other_monitor_pid=
        trap end_row EXIT
        set -e
        "$@"
        [ -z "$daemon_pid" ] || stop_daemon
    ) &
    if wait $!; then
        echo "ok $name"
        [ "${verbose:-0}" = 0 ] || show_logs
    else
        failed=1
        echo "not ok $name: $(head -n 1 "$tmp/reason" 2> /dev/null || echo 'a command failed')"
        show_logs
    fi
    echo "# $name took $(($(seconds_up) - started)) s"
}

seconds_up()
{
    cut -d. -f1 /proc/uptime
}

# slow_row NAME FUNCTION [ARGUMENT]...: only if it is named, or all are wanted.
slow_row()
{
    if [ -z "${rows:-}" ] && [ "${all:-0}" = 0 ]; then
        echo "skip $1: slow, runs with scripts/lab --all"
    else
        row "$@"
    fi
}

# fail TEXT: ends the row.
fail()
{
    echo "$*" >> "$tmp/reason"
    exit 1
}

show_logs()
{
    for log in "$tmp"/*.log; do
        [ -s "$log" ] || continue
        echo "# the end of ${log##*/}:"
        tail -n 30 "$log" | sed 's/^/#     /'
    done
}

end_row()
{
    set +e
    for pid in $monitor_pid $other_monitor_pid $daemon_pid; do
        kill -KILL "$pid" 2> /dev/null
        wait "$pid" 2> /dev/null
    done
}

# ---- the daemon ---------------------------------------------------------------------------------

start_daemon()
{
    hvisor-vhost --plugin-dir "$PLUGINS" --control control --trap trap --socket-dir "$tmp" "$@" \
        < /dev/null >> daemon.log 2>&1 &
    daemon_pid=$!
    control --wait "$limit" list > /dev/null
}

# It is to drain and to exit 0.
stop_daemon()
{
    pid=$daemon_pid
    status=0
    kill -TERM "$pid"
    wait "$pid" || status=$?
    daemon_pid=
    [ "$status" = 0 ] || fail "the daemon ended with status $status"
}

control()
{
    hvisor-vhost-ctl --control control "$@" 2>> ctl.log ||
        fail "hvisor-vhost-ctl $*: $(tail -n 1 ctl.log)"
}

# refused PATTERN WORD...: the ctl is to fail, and to say why.
refused()
{
    pattern=$1
    shift
    if hvisor-vhost-ctl --control control "$@" > answer 2>&1; then
        fail "hvisor-vhost-ctl $* is not refused"
    fi
    cat answer >> ctl.log
    grep -q "$pattern" answer || fail "hvisor-vhost-ctl $* does not say '$pattern': $(cat answer)"
}

# ---- a zone -------------------------------------------------------------------------------------

# boot [ZONE]: until it takes commands. Its console is two fifos. Nobody else may hold their ends,
# so that each side sees the end of the other.
boot()
{
    rm -f in out
    mkfifo in out
    monitor --trap trap --zone "${1:-1}" --kernel /lab/kernel --initrd /lab/zone.initrd \
        --dtb /lab/zone.dtb < in > out 2>> monitor.log &
    monitor_pid=$!
    exec 5> in 6< out
    number=0
    said=
    while [ "$said" != "zone: ready" ]; do
        hear "zone: ready"
    done
}

# Sets said to the next line of the console; WHAT is what it is expected to say sooner or later.
hear()
{
    read -r -t "$limit" said <&6 ||
        fail "no '$1' from the zone: $(tail -n 1 monitor.log)"
    echo "$said" >> console.log
}

# zone COMMAND: runs it in the zone, which prints to the file `answer`; it is to end with status 0.
zone()
{
    tell "$*"
    answered
}

# tell COMMAND: the zone starts it, and nobody waits.
tell()
{
    command=$*
    number=$((number + 1))
    echo "# $(cut -d' ' -f1 /proc/uptime) $number $*" >> console.log
    echo "$number $*" >&5
}

# What was told last has ended, with status 0.
answered()
{
    : > answer
    while hear "status of '$command'"; do
        case $said in
        "zone: $number status 0") return 0 ;;
        "zone: $number status "*) fail "$command: ${said#zone: "$number" }: $(tail -n 1 answer)" ;;
        esac
        echo "$said" >> answer
    done
}

# The zone syncs, says whether its kernel complained, and powers off.
power_off()
{
    tell end
    while hear "guest: ok"; do
        case $said in
        "guest: ok") break ;;
        guest:*) fail "the zone says: $said" ;;
        esac
    done
    monitor_ends 0
}

# monitor_ends STATUS: by itself.
monitor_ends()
{
    ended=0
    wait "$monitor_pid" || ended=$?
    monitor_pid=
    exec 5>&- 6<&-
    [ "$ended" = "$1" ] || fail "the monitor ended with status $ended: $(tail -n 1 monitor.log)"
}

kill_monitor()
{
    kill -KILL "$monitor_pid"
    monitor_ends 137 2> /dev/null
}

# Nothing of the kernel's is to be in the middle of a line of ours; /init looks at it in the end.
dmesg -n 1
# What the kernel would load by itself if it found a modprobe where it looks for one.
modprobe -q crc32c_generic
modprobe -q ext4
for file in /lab/rows-*.sh; do
    # shellcheck source=/dev/null
    . "$file"
done
exit "$failed"
