#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# uml-console.sh - consoles of the daemon in User-mode Linux guests. See lib.sh.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"

rows="console ports"
lines=20000
bytes=108894    # of `seq 1 20000`

# boot_guest NAME=VALUE...
boot_guest()
{
    make_initrd uml linux console-io.sh "lines=$lines" "$@"
    start_guest linux "$guest/uml/run" --initrd "$dir/linux.initrd" --device "$dir/s/vm.sock:3"
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

need "$rows" linux.uml busybox cpio jq
build_ioverify "$rows"

row console console
row ports ports
finish
