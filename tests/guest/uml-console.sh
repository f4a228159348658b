#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# uml-console.sh - consoles of the daemon in User-mode Linux guests. See lib.sh.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"

rows="console ports flood channel"
lines=20000
bytes=108894    # of `seq 1 20000`
half=5242880    # of what goes each way through a channel
ring=4096       # bytes that are kept of a flood

# build_programs NAME...: what guests run, and this test too.
build_programs()
{
    local name

    for name; do
        # shellcheck disable=SC2086
        "${cc[@]}" -std=gnu11 -O2 -Wall -Wextra -static -o "$tmp/$name" "$guest/$name.c" \
            > "$tmp/cc.log" 2>&1 ||
            give_up "cannot build $name: $(head -n 1 "$tmp/cc.log")" $rows
    done
}

# boot_script NAME SCRIPT [NAME=VALUE]...: a guest with the device, its console in NAME.log.
boot_script()
{
    local name=$1 script=$2 variable options=()

    shift 2
    for variable; do
        options+=(--env "$variable")
    done
    "$guest/uml/mk-initrd" "${options[@]}" --program "$tmp/timergap" --program "$tmp/transfer" \
        "$guest/$script" "$dir/$name.initrd" >> "$dir/initrd.log" 2>&1
    start_guest "$name" "$guest/uml/run" --initrd "$dir/$name.initrd" --device "$dir/s/vm.sock:3"
}

# boot_guest NAME=VALUE...
boot_guest()
{
    boot_script linux console-io.sh "lines=$lines" "$@"
}

# said PATTERN: the guest has, or does in time.
said()
{
    wait_line "$dir/linux.log" "^console: $1"
}

# read_console: the lines the guest answers with, from the pty.
read_console()
{
    timeout "$limit" head -c "$bytes" "$dir/vm.tty" > "$dir/out" || fail "the console gave too little"
    [ "$(md5sum < "$dir/out")" = "$(seq 1 "$lines" | md5sum)" ] || fail "the console gave other bytes"
}

console()
{
    start_daemon
    add_device "console:pty,link=$dir/vm.tty,id=vm,ring=1M,columns=100,rows=40"
    boot_guest "new_size=50 132"
    said "size 40 100"
    said ready
    echo "a line" > "$dir/vm.tty"
    said "read a line"
    read_console
    control console-resize vm columns=132 rows=50
    said resized
    finish_guest linux
    [ "$(counter vm dropped-bytes)" = 0 ] || fail "output was dropped"
}

ports()
{
    local channel

    start_daemon
    add_device "console:pty,link=$dir/vm.tty,id=vm,ring=1M,columns=100,rows=40,port=two:console,port=agent:lossless:pty:$dir/agent.tty"
    boot_guest "new_size=50 132" second=yes channel=agent "channel_bytes=$bytes"
    said "second size 40 100"
    said ready
    echo hello > "$dir/vm.tty"
    said "read hello"
    read_console
    control console-resize vm columns=132 rows=50
    said "vport[0-9]*p2 is called agent"
    seq 1 "$lines" > "$dir/agent.tty"
    channel=$(timeout "$limit" head -c "$bytes" "$dir/agent.tty" | md5sum)
    [ "$channel" = "$(seq 1 "$lines" | md5sum)" ] || fail "the channel gave other bytes back"
    finish_guest linux
    [ "$(counter vm dropped-bytes)" = 0 ] || fail "output was dropped"
}

# ---- output without end -------------------------------------------------------------------------

# memory_of_daemon: what it has in memory, in KiB.
memory_of_daemon()
{
    awk '$1 == "VmRSS:" { print $2 }' "/proc/$daemon_pid/status"
}

# gap NUMBER: the milliseconds the timer was late in this run of the guest.
gap()
{
    sed -n 's/^timergap: \([0-9]*\) ms.*/\1/p' "$dir/linux.log" | sed -n "${1}p"
}

# flood SECONDS: nobody looks at the console. The guest runs on, and what is kept of its output has a
# limit.
flood()
{
    local before after dropped written try without with

    limit=$((limit + 2 * $1))
    start_daemon
    add_device "console:socket,path=$dir/vm.console,id=vm,ring=$ring"
    # What keeps a guest waiting may be something else on this machine, but not each time.
    for try in 1 2 3 4 5; do
        boot_script linux console-flood.sh "seconds=$1"
        wait_line "$dir/linux.log" "^flood: with$"
        before=$(memory_of_daemon)
        wait_line "$dir/linux.log" "^flood: done"
        after=$(memory_of_daemon)
        finish_guest linux
        without=$(gap 1)
        with=$(gap 2)
        echo "# flood $try: a turn took $without ms at most without, $with ms with the flood"
        [ "$((after - before))" -le 1024 ] ||
            fail "the daemon's memory grew by $((after - before)) KiB"
        [ "$with" -gt "$((without + 100))" ] || break
    done
    [ "$with" -le "$((without + 100))" ] ||
        fail "a task in the guest waited for $with ms, and for $without ms without the output"
    written=$(counter vm output-bytes)
    dropped=$(counter vm dropped-bytes)
    echo "# flood: $written bytes of output, $dropped of them dropped"
    [ "$dropped" -eq "$((written - ring))" ] ||
        fail "$dropped bytes of $written are counted as dropped, and the ring has $ring"
    control stats vm > "$dir/stats"
    grep -q "dropped-bytes.*$dropped" "$dir/stats" || fail "stats does not show the $dropped bytes"
}

# ---- a channel, across resets -------------------------------------------------------------------

# start_answer OPTION...: the host's end of transfers; what it says is in answer.log.
start_answer()
{
    "$tmp/transfer" --answer "$@" "$dir/agent.sock" "$half" > "$dir/answer.log" 2>&1 &
    answer=$!
    guests+=("$answer")
}

# finish_answer: it ends by itself, with all that it wanted.
finish_answer()
{
    local status=0

    wait "$answer" || status=$?
    [ "$status" -eq 0 ] || fail "the host's end: $(tail -n 1 "$dir/answer.log")"
}

# same_crc NUMBER LOG: the other way round at the two ends.
same_crc()
{
    local crcs ours theirs

    crcs="s/^transfer: $1 is whole.*sent \(crc [0-9a-f]*\), received \(crc [0-9a-f]*\).*"
    ours=$(sed -n "$crcs/\1 \2/p" "$dir/answer.log")
    theirs=$(sed -n "$crcs/\2 \1/p" "$2")
    [ -n "$ours" ] || fail "transfer $1 was not whole"
    [ "$ours" = "$theirs" ] || fail "transfer $1: '$ours' here, '$theirs' there"
}

# 10 MiB each way with a new guest after half of it, and the same client. Then a guest that ends in
# the middle of a transfer, whose rest is skipped, and one whose transfer is whole again.
channel()
{
    local name="channel=agent" size="bytes=$half"

    start_daemon
    add_device "console:pty,id=vm,port=agent:lossless:socket:$dir/agent.sock"
    start_answer --count 2 --stall 1500
    boot_script one console-transfer.sh "$name" "$size" "options=--number 1 --stall 1500"
    finish_guest one
    boot_script two console-transfer.sh "$name" "$size" "options=--number 2 --stall 1500"
    finish_guest two
    finish_answer
    same_crc 1 "$dir/one.log"
    same_crc 2 "$dir/two.log"
    start_answer --number 3
    boot_script three console-transfer.sh "$name" "$size" "options=--number 3" hold=yes
    finish_guest three
    kill -TERM "$answer"
    wait "$answer" || true
    start_answer --number 4 --skip
    boot_script four console-transfer.sh "$name" "$size" "options=--number 4 --skip"
    finish_guest four
    finish_answer
    same_crc 4 "$dir/four.log"
    grep -h skipped "$dir/four.log" "$dir/answer.log" | sed 's/^/# /'
    [ "$(counter vm dropped-bytes)" = 0 ] || fail "output was dropped"
    [ "$(counter vm missed-bytes)" = 0 ] || fail "output was missed"
}

need "$rows" linux.uml busybox cpio jq
build_programs timergap transfer

row console console
row ports ports
row flood flood "$([ "$all" = 1 ] && echo 60 || echo 10)"
row channel channel
finish
