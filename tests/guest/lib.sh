# shellcheck shell=bash disable=SC2030,SC2031    # a row is a process of its own on purpose
# SPDX-License-Identifier: BSD-3-Clause
#
# lib.sh - what the tests with real guests share. A test sources this, then calls row for each case,
# which prints `ok NAME` or `not ok NAME: why`, and ends with finish.
#
# A row is a function that runs in a process of its own with a directory, $dir, and a daemon of its
# own in it. Whatever happens, end_row ends what the row started, each by its pid; after a failure
# the end of every log is shown. Commands that take long run in the background and are waited for,
# since the shell looks at signals only between commands or while it waits.
set -uo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin    # Debian keeps mke2fs in the latter

source=${HVV_SOURCE:?is the source directory, set by make check}
build=${HVV_BUILD:?is the build directory, set by make check}
all=${HVV_TEST_ALL:-0}
read -ra cc <<< "${CC:-gcc}"
# shellcheck disable=SC2034
guest=$source/tests/guest
limit=180           # seconds for anything to happen
tmp=
child=              # the row under way
failed=0

# ---- rows ---------------------------------------------------------------------------------------

# row NAME FUNCTION [ARGUMENT]...
row()
{
    local name=$1 status=0

    shift
    dir=$tmp/$name
    mkdir -p "$dir/s"
    (
        set -eE
        daemon_pid=
        reader=         # of the log of a guest, while somebody waits for a line
        guests=()
        trap 'echo "line $LINENO: $BASH_COMMAND" >> "$dir/error"' ERR
        trap end_row EXIT
        trap 'exit 1' HUP INT TERM
        "$@"
        stop_daemon
    ) &
    child=$!
    wait "$child" || status=$?
    child=
    if [ "$status" -eq 0 ]; then
        echo "ok $name"
    else
        failed=1
        echo "not ok $name: $(head -q -n 1 "$dir/reason" "$dir/error" 2> /dev/null | head -n 1)"
        show_logs
    fi
    rm -rf "$dir"
}

# slow_row NAME FUNCTION [ARGUMENT]...: a row that runs only when all are wanted.
slow_row()
{
    if [ "$all" = 1 ]; then
        row "$@"
    else
        echo "skip $1: slow, runs with HVV_TEST_ALL=1 or scripts/test --all"
    fi
}

# give_up WHY NAME...: these rows cannot run here; who wants all of them must not miss it.
give_up()
{
    local why=$1 word=skip name

    shift
    [ "$all" != 1 ] || word="not ok"
    for name; do
        echo "$word $name: $why"
    done
    [ "$all" != 1 ]
    exit
}

# need ROWS TOOL...: gives up on the rows, names in one word, if one of the programs is not there.
need()
{
    local rows=$1 tool

    shift
    for tool; do
        # shellcheck disable=SC2086
        command -v "$tool" > /dev/null ||
            give_up "$tool is not installed, on Debian run scripts/deps test" $rows
    done
}

# fail TEXT: ends the row.
fail()
{
    echo "$*" >> "$dir/reason"
    exit 1
}

show_logs()
{
    local log

    for log in "$dir"/*.log; do
        [ -s "$log" ] || continue
        echo "# the end of ${log##*/}:"
        tail -n 25 "$log" | sed 's/^/#     /'
    done
}

end_row()
{
    local pid

    trap '' HUP INT TERM
    trap - ERR
    set +e
    [ -z "$reader" ] || kill -TERM "$reader" 2> /dev/null
    for pid in "${guests[@]}"; do
        kill -TERM "$pid" 2> /dev/null
        wait "$pid" 2> /dev/null
    done
    if [ -n "$daemon_pid" ]; then
        kill -TERM "$daemon_pid" 2> /dev/null
        wait_gone "$daemon_pid" 5 || kill -KILL "$daemon_pid" 2> /dev/null
        wait "$daemon_pid" 2> /dev/null
    fi
}

clean_up()
{
    trap '' HUP INT TERM
    if [ -n "$child" ]; then
        kill -TERM "$child" 2> /dev/null
        wait "$child" 2> /dev/null
    fi
    [ -z "$tmp" ] || rm -rf "$tmp"
}

finish()
{
    exit "$failed"
}

# ---- waiting ------------------------------------------------------------------------------------

# wait_gone PID SECONDS
wait_gone()
{
    "$guest/wait-gone" "$2" "$1"
}

# wait_lines FIRST COUNT LOG PATTERN: until the guest started last has printed so many lines with
# the pattern, counted from line FIRST of its log (+1), or from now on (0). A guest that ends or
# fails before that ends the row with its own reason.
wait_lines()
{
    local status=0

    # tail ends with the guest, at the deadline, or when nobody reads any more.
    count_lines "$2" "$4" "${3##*/}" \
        < <(exec timeout "$limit" tail -n "$1" -f --pid="$guest_pid" "$3" 2> /dev/null) &
    reader=$!
    wait "$reader" || status=$?
    reader=
    [ "$status" -eq 0 ] || exit 1
}

# count_lines COUNT PATTERN LOG: of the lines on stdin; LOG is for the reason if there are too few.
count_lines()
{
    local count=$1 line

    while IFS= read -r line; do
        [[ ! $line =~ not\ ok:|^guest:\ failed ]] || fail "$line"
        [[ ! $line =~ $2 ]] || count=$((count - 1))
        [ "$count" -gt 0 ] || exit 0
    done
    fail "no '$2' in $3 when the guest had ended or $limit s were over"
}

# wait_line LOG PATTERN: also if the guest has said it already.
wait_line()
{
    wait_lines +1 1 "$@"
}

# ---- the daemon ---------------------------------------------------------------------------------

control()
{
    timeout 20 "$build/hvisor-vhost-ctl" --control "$dir/control" "$@" 2>> "$dir/ctl.log"
}

# Whichever comes first: the daemon's first answer, or its end.
wait_answer()
{
    local asker first='' status=0

    timeout "$limit" "$build/hvisor-vhost-ctl" --control "$dir/control" --wait "$limit" list \
        > /dev/null 2>> "$dir/ctl.log" &
    asker=$!
    wait -n -p first "$asker" "$daemon_pid" || status=$?
    [ "$first" = "$asker" ] || kill -TERM "$asker" 2> /dev/null || true
    if [ "$first" = "$daemon_pid" ]; then
        daemon_pid=
        fail "the daemon ended at once with status $status"
    fi
    [ "$status" -eq 0 ] || fail "the daemon did not answer: $(tail -n 1 "$dir/ctl.log")"
}

start_daemon()
{
    "$build/hvisor-vhost" --plugin-dir "$build/plugins.d" --control "$dir/control" \
        --socket-dir "$dir/s" "$@" < /dev/null >> "$dir/daemon.log" 2>&1 &
    daemon_pid=$!
    wait_answer
}

# It is to drain, leave no socket behind and exit 0.
stop_daemon()
{
    local pid=$daemon_pid status=0

    kill -TERM "$pid"
    wait_gone "$pid" 20 || fail "the daemon still runs 20 s after SIGTERM"
    daemon_pid=
    wait "$pid" || status=$?
    [ "$status" -eq 0 ] || fail "the daemon ended with status $status"
    [ -z "$(ls "$dir/s")" ] || fail "the daemon left $(ls "$dir/s") behind"
}

# make_disk NAME SIZE
make_disk()
{
    truncate -s "$2" "$dir/$1.img"
}

# add_device SPEC: the id is in the spec, the socket is $dir/s/ID.sock.
add_device()
{
    control add "$1" > "$dir/added"
}

# counter ID NAME: the plugin's.
counter()
{
    control --json stats "$1" | jq ".devices[0].counters[\"$2\"]"
}

# The md5 blk-verify.sh told must be that of the image.
check_md5()
{
    local told found

    told=$(sed -n 's/^blk: md5 of the first 8388608 bytes //p' "$2")
    found=$(head -c 8388608 "$1" | md5sum | cut -d' ' -f1)
    [ "$told" = "$found" ] || fail "the guest saw md5 '$told', the image has $found"
}

# ---- guests -------------------------------------------------------------------------------------

# build_ioverify ROWS: the verifier guests run, for any kernel.
build_ioverify()
{
    # shellcheck disable=SC2086
    "${cc[@]}" -std=gnu11 -O2 -Wall -Wextra -static -o "$tmp/ioverify" "$guest/ioverify.c" \
        > "$tmp/cc.log" 2>&1 ||
        give_up "cannot build ioverify: $(head -n 1 "$tmp/cc.log")" $1
}

# make_initrd BED NAME SCRIPT [NAME=VALUE]...: NAME.initrd for a guest that runs SCRIPT; BED is uml
# or qemu.
make_initrd()
{
    local bed=$1 name=$2 script=$3 variable options=()

    shift 3
    for variable; do
        options+=(--env "$variable")
    done
    "$guest/$bed/mk-initrd" "${options[@]}" --program "$tmp/ioverify" \
        --program "$guest/blk-verify.sh" "$guest/$script" "$dir/$name.initrd" \
        >> "$dir/initrd.log" 2>&1
}

# start_guest NAME RUN ARGUMENT...: console in NAME.log; sets guest_pid.
start_guest()
{
    local name=$1

    shift
    : > "$dir/$name.log"
    "$@" --log "$dir/$name.log" --timeout "$limit" > "$dir/run-$name.log" 2>&1 < /dev/null &
    guest_pid=$!
    guests+=("$guest_pid")
}

# finish_guest NAME [PID]: it must have said that all went well.
finish_guest()
{
    local pid=${2:-$guest_pid} status=0 i

    wait "$pid" || status=$?
    for i in "${!guests[@]}"; do
        [ "${guests[i]}" != "$pid" ] || unset "guests[$i]"
    done
    [ "$status" -eq 0 ] ||
        fail "guest $1: $(grep -h -m 1 'not ok:\|^io: \|^blk: .* is \|^guest: failed' \
            "$dir/$1.log" || tail -n 1 "$dir/run-$1.log")"
}

trap clean_up EXIT
trap 'exit 1' HUP INT TERM
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hvv.XXXXXX") || exit 99
