#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# ctl.sh - runs hvisor-vhost-ctl against ctl-daemon: what it sends, prints and returns; and compares
# its help with the man page and the completion. Prints TAP.
# CTL and CTL_DAEMON name the two programs, srcdir the top of the source.
set -u

ctl=${CTL:-./hvisor-vhost-ctl}
daemon=${CTL_DAEMON:-./tests/unit/ctl-daemon}
srcdir=$(cd "${srcdir:-.}" && pwd) || exit 99
case $ctl in /*) ;; *) ctl=$PWD/$ctl ;; esac
case $daemon in /*) ;; *) daemon=$PWD/$daemon ;; esac
man=$srcdir/host/man/hvisor-vhost-ctl.1
completion=$srcdir/host/ctl/completion.bash

dir=$(mktemp -d "${TMPDIR:-/tmp}/test-ctl.XXXXXX") || exit 99
daemon_pid=
events_pid=
clean_up()
{
    [ -z "$events_pid" ] || kill "$events_pid" 2> /dev/null
    [ -z "$daemon_pid" ] || kill "$daemon_pid" 2> /dev/null
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

tests=0
failed=0

# result NAME CONDITION...: one TAP line
result()
{
    tests=$((tests + 1))
    name=$1
    shift
    if "$@"; then
        echo "ok $tests - $name"
    else
        echo "not ok $tests - $name"
        sed 's/^/# out: /' "$dir/out"
        sed 's/^/# err: /' "$dir/err"
        failed=$((failed + 1))
    fi
}

# run WORDS...: runs the program; its results are in $code, out and err
run()
{
    code=0
    "$ctl" "$@" > "$dir/out" 2> "$dir/err" < "$dir/in" || code=$?
}

# gave CODE OUT ERR: compares with the last run
gave()
{
    [ "$code" -eq "$1" ] && [ "$(cat "$dir/out")" = "$2" ] && [ "$(cat "$dir/err")" = "$3" ]
}

# says CODE WORDS: nothing on stdout, one sentence with the words on stderr
says()
{
    [ "$code" -eq "$1" ] && [ ! -s "$dir/out" ] && [ "$(wc -l < "$dir/err")" -eq 1 ] &&
        grep -q '^hvisor-vhost-ctl: ' "$dir/err" && grep -qF -- "$2" "$dir/err"
}

# sent LINE: the last request was this one
sent()
{
    [ "$(tail -n 1 "$dir/log")" = "$1" ]
}

start_daemon()
{
    "$daemon" "$dir/s" "$dir/log" > "$dir/ready" &
    daemon_pid=$!
    read -r ready < "$dir/ready" && [ "$ready" = ready ] || exit 99
}

stop_daemon()
{
    wait "$daemon_pid"
    daemon_code=$?
    daemon_pid=
}

mkfifo "$dir/ready" "$dir/event.pipe" || exit 99
: > "$dir/in"
HVISOR_VHOST_CONTROL=$dir/s
export HVISOR_VHOST_CONTROL
TZ=UTC
export TZ
cd "$dir" || exit 99

# ---- without a daemon ---------------------------------------------------------------------------

run list
result "no daemon" says 3 \
    "no daemon at $dir/s: start hvisor-vhost, or name its socket with --control"
run --control /nowhere/at/all list
result "no daemon at the path given" says 3 "no daemon at /nowhere/at/all"
run --control "/$(printf '%0110d' 0)" list
result "path too long" says 2 "it must have 1 to 107"
run
result "no command" says 2 "a command is missing"
run list extra
result "too many words" says 2 "too many words after list: it is hvisor-vhost-ctl list"
run show
result "too few words" says 2 "it is hvisor-vhost-ctl show ID"
run list --force
result "an option of another command" says 2 "list does not take --force"
run --fast list
result "unknown option" says 2 "there is no option --fast"
run lst
result "unknown command without a device" says 2 "there is no command lst"
run list --control
result "option without its value" says 2 "--control needs"
run console vm --escape
result "an escape key that is missing" says 2 "--escape needs ^ and one of"
run console vm --escape q
result "an escape key that is a letter" says 2 "--escape needs ^ and one of"
run console vm -e '^1'
result "an escape key that does not exist" says 2 "such as ^], or none"
run list --escape=none
result "an escape key for what is no terminal" says 2 "list does not take --escape"
run plugins --retire blk
result "retire needs two words" says 2 "plugins --retire NAME VERSION"
run resize blk0 size=1 size=2
result "a parameter given twice" says 2 "size is given twice"
run resize blk0 =2
result "a parameter without name" says 2 "has no name"
run add "$(printf 'blk:/\377')"
result "not UTF-8" says 2 "is not UTF-8"
run --version
result "version" [ "$code" -eq 0 ]

# ---- files, which need no daemon ----------------------------------------------------------------

data=$srcdir/tests/data/hvisor
run check "$data/qemu-aarch64.json"
result "check a file" gave 0 "$data/qemu-aarch64.json: 1 zone, 3 devices, 1 disabled" ""
run check "$data/qemu-aarch64.json" "$data/qemu-aarch64-zone1.json"
result "check two files that agree" gave 0 \
    "$data/qemu-aarch64-zone1.json: zone 1 agrees: 3 devices, 1 memory region" ""
run check --json "$data/qemu-x86_64.json" "$data/qemu-x86_64-zone1.json"
result "check --json of files that agree" gave 0 "[]" ""
cp "$data/qemu-aarch64.json" v.json
sed 's/0x9000000/0x50001000/g; s/, 78\]/]/; s/"0xa003c00"/"0xa004000"/' \
    "$data/qemu-aarch64-zone1.json" > z.json
run check v.json z.json "$data/qemu-aarch64-zone1.json"
result "check prints everything" gave 1 \
    "z.json: memory_regions[1]: the io region 0x50001000-0x50001fff overlaps the ram region \
0x50000000-0x7fffffff (memory_regions[0])
v.json: zones[0].devices[0]: 0xa003c00-0xa003dff is in no region of the zone: add a virtio region \
with this physical_start
v.json: zones[0].devices[0]: irq 78 is not in interrupts: add it there
$data/qemu-aarch64-zone1.json: zone 1 agrees: 3 devices, 1 memory region" ""
run --json check v.json z.json
result "check --json prints everything" [ "$code $(grep -o '"message"' out | wc -l)" = "1 3" ]
run check "$data/board-rk3588-scmi.json"
result "check a file that is wrong" says 1 "zones[0].devices[0].type is \"scmi\""
run check z.json
result "check with the files confused" says 1 "z.json: this is the configuration of a zone"
run check v.json v.json
result "check with no file of a zone" says 1 "v.json: zone_id is missing"
run check nothing.json
result "check without a file" says 1 "cannot open nothing.json: No such file"
run check "$data/odd.json"
result "check warns" [ "$code $(grep -c '^hvisor-vhost-ctl: warning: ' err)" = "0 5" ]
sed 's/"0xa003400", "virtual_start": "0xa003400"/"0xa003800", "virtual_start": "0xa003800"/;
    s/0x600/0x200/; s/75, //' "$data/qemu-aarch64-zone1.json" > z.json
sed '/"gpu"/,/enable/s/enable/disable/' v.json > w.json
run check w.json z.json
result "a spare slot that is none is only a warning" \
    [ "$code $(grep -c 'is disabled and is no spare slot' err)" = "0 3" ]

# ---- with one -----------------------------------------------------------------------------------

start_daemon

run add blk:/a blk:b,ro
result "add" gave 0 "blk0: vhost-user /run/x/blk0.sock
blk1: vhost-user /run/x/blk1.sock" ""
result "add sends all and the directory" \
    sent "device.add {\"devices\":[\"blk:/a\",\"blk:b,ro\"],\"cwd\":\"$dir\"}"
run add blk:/a blk:/missing
result "add refused" gave 1 "" \
    "hvisor-vhost-ctl: blk1: cannot open /missing: no such file (option path)"
run add --json blk:/a
result "add --json" gave 0 '{"devices":[{"id":"blk0","plugin":"blk","version":"1.0.0","transport":"vhost-user","socket":"/run/x/blk0.sock"}]}' ""

run remove blk0 blk1
result "remove" gave 0 "removed blk0
removed blk1" ""
result "remove sends ids" sent 'device.remove {"ids":["blk0","blk1"],"force":false}'
run remove --force -- --odd
result "remove --force, and words after --" sent 'device.remove {"ids":["--odd"],"force":true}'

run list
result "list" gave 0 "ID           PLUGIN     STATE              CONNECTED  TRANSPORT   WHERE
blk0         blk 1.0.0  published          yes        vhost-user  /run/x/blk0.sock
a-long-name  blk 1.0.0  published, broken  no         vhost-user  /run/x/l.sock
a-long-name is broken: head 300 >= size ?[31m256" ""
run --json list
result "list --json is one line" [ "$(wc -l < out)" -eq 1 ]

run show blk0
result "show" gave 0 "id                 blk0
plugin             blk
version            1.0.0
virtio_id          2
state              published
transport          vhost-user
socket             /run/x/blk0.sock
connected          yes
spec               blk:/x,ro
config_generation  7
options
  NAME    VALUE
  path    /x
  ro      yes
  queues  2
  tag     a, b
features
  NAME        VALUE
  offered     0x130000000
  negotiated  0x0
queues
  QUEUE  SIZE  MAX  STATE    WORKER
      0   128  256  running       1
for QEMU: -chardev x" ""
result "show sends the id" sent 'device.show {"id":"blk0"}'

run plugins
result "plugins" gave 0 "blk 1.0.0: disks
  virtio device id 2, in use by 1 device(s)
  /p/blk.so
  options
    NAME    TYPE    DEFAULT   RANGE    HELP
    path    path    required  -        the image; the name may be left out
    queues  number  1         1 to 16  number of queues
  commands
    resize ID [size=...]: take the new size of the image
      NAME  TYPE  DEFAULT  RANGE  HELP
      size  size  -        -      grow to this first
    attach ID: use it
  counters
    NAME     HELP
    flushes  flush requests
  events
    NAME     HELP
    resized  has a new size

refused: /p/bad.so: not an ELF file" ""
run plugins blk
result "plugins NAME" sent 'plugin.list {"name":"blk"}'
run plugins --rescan
result "plugins --rescan" sent 'plugin.rescan {}'
run plugins --retire blk 1.0.0
result "plugins --retire" gave 0 "" ""
result "plugins --retire sends both" sent 'plugin.retire {"name":"blk","version":"1.0.0"}'

run stats
result "stats" gave 0 "ID    QUEUE  NOTIFICATIONS  CHAINS      IN      OUT  INTERRUPTS  ERRORS  HELD
blk0      0             10      20  1023 B  1.5 GiB           5       0     3

ID    COUNTER  VALUE
blk0  flushes      3" ""
run stats blk0
result "stats ID" sent 'stats {"ids":["blk0"]}'
run log debug
result "log" gave 0 "log level debug, was info" ""
result "log sends the level" sent 'log.set {"level":"debug"}'
run zones
result "zones" gave 0 "no zones" ""

run resize blk0 size=2M now
result "a plugin's command" gave 0 "size: 1048576
unit: bytes" ""
result "a plugin's command sends its parameters" sent \
    "device.command {\"id\":\"blk0\",\"command\":\"resize\",\"params\":{\"size\":\"2M\",\"now\":true},\"cwd\":\"$dir\"}"
run nosuch blk0
result "a command the plugin has not" says 1 'plugin blk has no command "nosuch"; it has: resize'
printf 'to and fro\n' > in
run attach blk0
result "a stream is connected to stdin and stdout" gave 0 "to and fro" "note: connected"
head -c 1000000 /dev/zero > in
run attach blk0
result "a long stream" cmp -s in out
: > in
run --json attach blk0
result "a stream with --json" gave 0 '{"result":{"note":"connected"}}' ""

"$ctl" events > event.pipe 2> err < /dev/null &
events_pid=$!
{ read -r one; read -r two; } < event.pipe
kill "$events_pid"
wait "$events_pid" 2> /dev/null
events_pid=
result "events" [ "${one#* * }" = "device.published blk0" ]
result "events with more to say" [ "${two#* * }" = "device.broken blk0 reason=bad chain" ]

"$ctl" --json list > /dev/full 2> err
code=$?
: > out
result "a full disk is noticed" says 1 "cannot write to stdout"

# ---- help, man page, completion -----------------------------------------------------------------

run help
result "help" [ "$code" -eq 0 ]
sed -n '/^commands:/,/^options:/s/^  \([a-zA-Z]\{1,\}\).*/\1/p' out | sort > help.words
run help add
result "help COMMAND" grep -q '^usage: hvisor-vhost-ctl add SPEC' out
run help nothing
result "help of nothing" says 2 "there is no help for nothing"
sed -n 's/^\.It Ic \([a-zA-Z]*\).*/\1/p' "$man" | sort > man.words
result "the man page has the commands of the help" cmp -s help.words man.words
if command -v bash > /dev/null; then
    cat > complete.bash << 'BASH'
. "$1"
PATH=$2:$PATH
shift 2
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_hvisor_vhost_ctl
printf '%s\n' "${COMPREPLY[@]}"
BASH
    mkdir bin
    ln -s "$ctl" bin/hvisor-vhost-ctl
    press_tab()
    {
        bash complete.bash "$completion" "$dir/bin" hvisor-vhost-ctl "$@" | tr '\n' ' ' > out
        code=$?
    }
    press_tab sh
    result "completion of a command" gave 0 "show shutdown " "$(cat err)"
    press_tab ""
    tr ' ' '\n' < out | sed '/^-/d; /^resize$/d; /^attach$/d; /^$/d' | sort > completion.words
    grep -v VERB help.words > own.words
    result "completion has the commands of the help" cmp -s own.words completion.words
    press_tab re
    result "completion of plugin commands" gave 0 "remove resize " "$(cat err)"
    press_tab show ""
    result "completion of ids" gave 0 "blk0 a-long-name " "$(cat err)"
    press_tab --control "$dir/s" remove blk0 a
    result "completion with an option before" gave 0 "a-long-name " "$(cat err)"
    press_tab add ""
    result "completion of what to add" gave 0 "blk: " "$(cat err)"
    press_tab plugins b
    result "completion of plugins" gave 0 "blk " "$(cat err)"
fi

# ---- the end ------------------------------------------------------------------------------------

run shutdown
result "shutdown" gave 0 "" ""
result "shutdown sends force" sent 'shutdown {"force":false}'
stop_daemon
result "the daemon ended well" [ "$daemon_code" -eq 0 ]
start_daemon
run shutdown --force
result "the connection breaks before the answer" says 4 "closed the connection before it answered"
stop_daemon

echo "1..$tests"
[ "$failed" -eq 0 ]
