# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# rows-console.sh - consoles in a zone whose accesses are trapped. In the root guest, see root.sh.
# shellcheck disable=SC2154,SC3045    # tmp and others come from root.sh; busybox has read -t

mount_pts()
{
    [ -e /dev/pts/ptmx ] || { mkdir -p /dev/pts && mount -t devpts pts /dev/pts; }
}

# A line each way, in a zone that gets its console while it runs, and gets it again when it boots.
console()
{
    mount_pts
    start_daemon
    boot
    control add "console:pty,link=$tmp/zone.tty,zone=1,addr=0xa000000,id=console" > added
    zone modprobe virtio_console
    zone "echo a000000.virtio_mmio > /sys/bus/platform/drivers/virtio-mmio/bind"
    talk
    power_off
    boot
    talk
    power_off
    control remove console > removed
}

# Whoever closes a terminal last throws away how it was set up, so the zone keeps it open.
talk()
{
    tell 'exec 4<> /dev/hvc0 && stty raw -echo <&4 && echo "from the zone" >&4 && head -n 1 <&4'
    line=
    read -r -t "$limit" line < zone.tty || fail "nothing comes out of the console"
    [ "$line" = "from the zone" ] || fail "'$line' comes out of the console"
    echo "for the zone" > zone.tty
    answered
    [ "$(cat answer)" = "for the zone" ] || fail "the zone reads '$(cat answer)'"
}

# ---- somebody logs in ---------------------------------------------------------------------------

# with_image DO: runs it with the file system of ext4.img mounted in ./mnt.
with_image()
{
    modprobe loop
    mkdir -p mnt
    mount -o loop -t ext4 ext4.img mnt
    "$@" || fail "$*: status $?"
    umount mnt
}

# random_file NAME
random_file()
{
    head -c 3000000 /dev/urandom > "$1"
}

sum_of()
{
    md5sum < "$1" | cut -d' ' -f1
}

# offer_login NAME: on the zone's console, with this name in the prompt, as an init would.
offer_login()
{
    zone "hostname $1 && mkdir -p /etc"
    # shellcheck disable=SC2016
    zone 'echo "root:$(mkpasswd -m sha512 open-sesame):0:0::/:/bin/sh" > /etc/passwd'
    zone 'while :; do setsid getty -L 115200 hvc0 vt100; done > /dev/null 2>&1 &'
}

# at_login LOG NAME PASSWORD STEP...: somebody with a terminal and the ctl, see onpty.c, gives this
# password at the zone's prompt and goes on; all that is seen goes to LOG. What was said before is
# not shown, so Return asks for a new prompt.
at_login()
{
    log=$1
    name=$2
    password=$3
    shift 3
    onpty --timeout "$limit" wait 'leaves]' send '\r' wait "$name login: " send 'root\r' \
        wait 'Password: ' send "$password\r" "$@" send '\x1d' wait '[console: left]' \
        -- hvisor-vhost-ctl --control control console console replay=off > "$log" 2>&1 ||
        fail "status $? of the log-in: $(tail -n 1 "$log")"
}

# log_in NAME STEP...: the zone is off afterwards; NAME.log has what is seen.
log_in()
{
    zone_name=$1
    shift
    at_login "$zone_name.log" "$zone_name" open-sesame wait '# ' "$@" \
        send 'poweroff -f\r' wait 'poweroff -f'
    monitor_ends 0
}

# seen NAME FILE: the checksum that was seen of this file.
seen()
{
    sed -n "s|^\([0-9a-f]\{32\}\)  $2.*|\1|p" "$1.log" | head -n 1
}

# No device at start, then a disk and a console with one request, and a zone that knows only them.
# It is used and turned off through its console, and once more, with the same daemon.
login()
{
    mount_pts
    zcat /lab/ext4.img.gz > ext4.img
    with_image random_file mnt/from-root
    with_image sum_of mnt/from-root > from-root
    start_zone_1
    [ "$(control --json list | grep -c '"id"')" = 0 ] || fail "there are devices at start"
    control add "blk:$tmp/ext4.img,zone=1,id=disk" "console:pty,zone=1,id=console" > added
    boot
    offer_login first
    at_login wrong.log first wrong wait incorrect
    log_in first send 'mount -t ext4 /dev/vda /mnt && md5sum /mnt/from-root\r' \
        wait '  /mnt/from-root' wait '# ' send 'head -c 3000000 /dev/urandom > /mnt/from-zone\r' \
        wait '# ' send 'md5sum /mnt/from-zone\r' wait '  /mnt/from-zone' wait '# ' \
        send 'umount /mnt && echo unmount""ed\r' wait unmounted
    [ "$(seen first /mnt/from-root)" = "$(cat from-root)" ] ||
        fail "the zone saw '$(seen first /mnt/from-root)' in the file, it holds $(cat from-root)"
    with_image sum_of mnt/from-zone > from-zone
    [ "$(seen first /mnt/from-zone)" = "$(cat from-zone)" ] ||
        fail "the zone wrote '$(seen first /mnt/from-zone)', the image holds $(cat from-zone)"
    boot
    offer_login second
    log_in second send 'mount -t ext4 /dev/vda /mnt && md5sum /mnt/from-zone && umount /mnt\r' \
        wait '  /mnt/from-zone' wait '# '
    [ "$(seen second /mnt/from-zone)" = "$(cat from-zone)" ] ||
        fail "the zone saw '$(seen second /mnt/from-zone)' after it was off"
    control remove disk console > removed
}

# ---- a request that fails -----------------------------------------------------------------------

# holdings: what there is of ptys, and what the daemon has and made.
holdings()
{
    ls /dev/pts
    for fd in /proc/"$daemon_pid"/fd/*; do
        readlink "$fd" | sed 's/[0-9]*]$/]/'
    done | sort
    cat /proc/"$daemon_pid"/task/*/comm | grep -v '^iou-' | sort
    find "$tmp" -type s -o -type l -o -name '*.lock'
    hvisor-vhost-ctl --control control list
    hvisor-vhost-ctl --control control zones
}

# A console and a disk that is not there in one request: nothing stays of the console. Then with the
# disk, and both work.
wrong_disk()
{
    mount_pts
    make_disk raw.img 8
    start_zone_1
    control add "blk:$tmp/raw.img,zone=1,id=disk" "console:pty,zone=1,id=console" > added
    control remove disk console > removed
    holdings > before
    refused 'none.img' add "console:pty,link=$tmp/zone.tty,zone=1,addr=0xa000000,id=console" \
        "blk:$tmp/none.img,zone=1,id=disk"
    deadline=$(($(seconds_up) + limit))
    while holdings > after && ! cmp -s before after; do
        [ "$(seconds_up)" -lt "$deadline" ] || fail "left behind: $(diff before after | tail -n 1)"
        usleep 50000
    done
    control add "console:pty,link=$tmp/zone.tty,zone=1,addr=0xa000000,id=console" \
        "blk:$tmp/raw.img,zone=1,id=disk" > added
    boot
    talk
    same_disk raw.img /dev/vda
    power_off
}

# ---- output without end -------------------------------------------------------------------------

# gap NUMBER: the milliseconds the timer was late in this run.
gap()
{
    sed -n 's/^timergap: \([0-9]*\) ms.*/\1/p' answer | sed -n "${1}p"
}

# plugin_counter NAME: of device console.
plugin_counter()
{
    control --json stats console | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"
}

# Nobody looks at the console: the zone runs on, also a task on the same CPU.
flood()
{
    start_zone_1
    control add "console:socket,path=$tmp/console.sock,ring=4096,zone=1,id=console" > added
    boot
    for try in 1 2 3 4 5; do
        zone "seconds=$([ "${all:-0}" = 1 ] && echo 60 || echo 10)" cpu=1 console-flood.sh
        echo "# flood $try: a turn took $(gap 1) ms at most without, $(gap 2) ms with the flood"
        [ "$(gap 2)" -gt "$(($(gap 1) + 100))" ] || break
    done
    [ "$(gap 2)" -le "$(($(gap 1) + 100))" ] ||
        fail "a task in the zone waited for $(gap 2) ms, and for $(gap 1) ms without the output"
    written=$(plugin_counter output-bytes)
    dropped=$(plugin_counter dropped-bytes)
    echo "# flood: $written bytes of output, $dropped of them dropped"
    [ "$dropped" = "$((written - 4096))" ] || fail "$dropped bytes of $written were dropped"
    power_off
}

# ---- a channel, across resets -------------------------------------------------------------------

half=5242880    # of what goes each way through the channel

# start_answer OPTION...: our end of transfers, see transfer.c.
start_answer()
{
    transfer --answer "$@" agent.sock "$half" > answer.log 2>&1 &
    answerer=$!
}

# finish_answer: it ends by itself, with all that it wanted.
finish_answer()
{
    wait "$answerer" || fail "our end: $(tail -n 1 answer.log)"
}

# transfer_in_zone OPTION...
transfer_in_zone()
{
    zone channel=agent "bytes=$half" "options='$*'" "$hold" console-transfer.sh
}

# same_crc NUMBER: the other way round at the two ends.
same_crc()
{
    crcs="s/^transfer: $1 is whole.*sent \(crc [0-9a-f]*\), received \(crc [0-9a-f]*\).*"
    ours=$(sed -n "$crcs/\1 \2/p" answer.log)
    theirs=$(sed -n "$crcs/\2 \1/p" answer)
    [ -n "$ours" ] || fail "transfer $1 was not whole"
    [ "$ours" = "$theirs" ] || fail "transfer $1: '$ours' here, '$theirs' there"
}

# rebind unbind | bind: the driver of the zone's only device.
rebind()
{
    zone "echo virtio0 > /sys/bus/virtio/drivers/virtio_console/$1"
}

# 10 MiB each way, and the driver leaves and comes back after half of it. Then it leaves in the
# middle of a transfer, whose rest is skipped, and the next one is whole.
channel()
{
    hold=
    mount_pts
    start_zone_1
    control add "console:pty,zone=1,id=console,port=agent:lossless:socket:$tmp/agent.sock" > added
    boot
    start_answer --count 2 --stall 1500
    transfer_in_zone --number 1 --stall 1500
    grep whole answer > first
    rebind unbind
    rebind bind
    transfer_in_zone --number 2 --stall 1500
    finish_answer
    same_crc 2
    mv first answer
    same_crc 1
    start_answer --number 3
    hold="hold=yes"
    transfer_in_zone --number 3
    hold=
    rebind unbind
    zone killall transfer
    kill -TERM "$answerer"
    wait "$answerer" || true
    rebind bind
    start_answer --number 4 --skip
    transfer_in_zone --number 4 --skip
    finish_answer
    same_crc 4
    [ "$(plugin_counter dropped-bytes)" = 0 ] || fail "output was dropped"
    power_off
}

row console console
row console-login login
row console-wrong-disk wrong_disk
row console-flood flood
row console-channel channel
