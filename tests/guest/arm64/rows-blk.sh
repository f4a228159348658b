# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# rows-blk.sh - disks in a zone whose accesses are trapped. In the root guest, see root.sh.
# shellcheck disable=SC2034,SC2154    # tmp, said and others come from root.sh

platform=/sys/bus/platform/drivers/virtio-mmio

# make_disk NAME MEGABYTES: random bytes.
make_disk()
{
    dd if=/dev/urandom of="$1" bs=1M count="$2" 2> /dev/null
}

# same_disk FILE DEVICE: the file here and the device in the zone hold the same.
same_disk()
{
    ours=$(md5sum < "$1" | cut -d' ' -f1)
    zone "md5sum < $2"
    theirs=$(cut -d' ' -f1 answer)
    [ "$ours" = "$theirs" ] || fail "$2 holds $theirs in the zone, $1 holds $ours"
}

# Everything is declared and nothing is there.
placeholders()
{
    start_daemon
    boot
    control zones > list
    [ "$(grep -c 0xa000 list)" = 4 ] || fail "not the four slots of the zone: $(cat list)"
    zone 'ls /sys/bus/virtio/devices | wc -l'
    [ "$(cat answer)" = 0 ] || fail "the zone sees $(cat answer) devices where none are"
    zone 'grep -c processor /proc/cpuinfo'
    [ "$(cat answer)" = 2 ] || fail "the zone has $(cat answer) CPUs"
    power_off
}

# The disk of hvisor's users: a file system, written to, and there after the zone was off.
again()
{
    zcat /lab/ext4.img.gz > ext4.img
    make_disk raw.img 8
    start_zone_1
    control add "blk:$tmp/ext4.img,zone=1,id=ext4" "blk:$tmp/raw.img,zone=1,id=raw" > added
    boot
    zone read_file=from-host read_text=hello write_file=first write_text=one blk-ext4.sh
    same_disk raw.img /dev/vdb
    zone disk=/dev/vdb blk-verify.sh
    same_disk raw.img /dev/vdb
    power_off
    boot
    zone read_file=first read_text=one write_file=second write_text=two blk-ext4.sh
    same_disk raw.img /dev/vdb
    power_off
    control remove ext4 raw > removed
}

# A zone that runs gets a disk, in a slot that was there from the start, and loses it.
hot()
{
    make_disk raw.img 8
    start_daemon
    boot
    zone modprobe virtio_blk
    for round in 1 2 3; do
        control add "blk:$tmp/raw.img,zone=1,addr=0xa000400,id=hot" > added
        zone "echo a000400.virtio_mmio > $platform/bind"
        same_disk raw.img /dev/vda
        zone "dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2> /dev/null"
        same_disk raw.img /dev/vda
        refused 'in use' remove hot
        case $round in
        2) zone "echo a000400.virtio_mmio > $platform/unbind"; control remove hot > removed ;;
        *) control remove --force hot > removed
           zone "echo a000400.virtio_mmio > $platform/unbind" ;;
        esac
    done
    power_off
}

# wait_last LOG: in the zone, until the writer there has told what came to its end.
wait_last()
{
    zone "while ! grep -q 'never ended\|: not ok' $1; do usleep 50000; done"
}

# The disk is used when it goes away: refused at first, and by force the requests the daemon has
# taken are carried out, and the zone hears of each one, the last ones too. What it has sent and the
# daemon has not taken never ends, so each time the disk is in another slot.
hot_busy()
{
    start_daemon
    boot
    zone modprobe virtio_blk
    for round in 0 2 4; do
        truncate -s 64M "hot$round.img"
        control add "blk:$tmp/hot$round.img,zone=1,addr=0xa000${round}00,id=hot" > added
        zone "echo a000${round}00.virtio_mmio > $platform/bind"
        zone "ls /sys/bus/platform/devices/a000${round}00.virtio_mmio/virtio*/block"
        zone "lastio --depth 32 /dev/$(cat answer) > /tmp/last$round 2>&1 &"
        wait_writes_of hot
        refused 'in use' remove hot
        control remove --force hot > removed
        zone killall -TERM lastio
        wait_last "/tmp/last$round"
        zone "cat /tmp/last$round"
        lastio --count "hot$round.img" > ours
        echo "# blk-hot-busy: $(grep sectors answer); $(grep ended answer)"
        [ "$(grep sectors answer)" = "$(cat ours)" ] ||
            fail "the zone says '$(grep sectors answer)', the image '$(cat ours)'"
    done
    kill_monitor
}

# The whole zone is verified I/O in two queues, one for each vCPU, and no request fails.
busy()
{
    make_disk raw.img 16
    start_zone_1
    control add "blk:$tmp/raw.img,zone=1,id=raw,queues=2" > added
    boot
    zone "seconds=$limit" queues=2 requests=500 depths="'1 16'" blk-io.sh
    same_disk raw.img /dev/vda
    power_off
}

# The slots of zone 1 are declared before its monitor comes.
start_zone_1()
{
    start_daemon
    control zone add 1 platform=trap slot=0xa000000,0x200,48 slot=0xa000200,0x200,49 > added
}

# count_writes ID: sets writes to what the daemon has counted for this disk.
count_writes()
{
    control --json stats "$1" > told
    writes=$(sed -n 's/.*"writes": *\([0-9]*\).*/\1/p' told)
    [ -n "$writes" ] || fail "no writes in the statistics: $(cat told)"
}

# wait_writes_of ID: comes back once the zone has written to this disk a hundred times more.
wait_writes_of()
{
    count_writes "$1"
    wanted=$((writes + 100))
    deadline=$(($(seconds_up) + limit))
    while [ "$writes" -lt "$wanted" ]; do
        [ "$(seconds_up)" -lt "$deadline" ] ||
            fail "the zone has written $writes times, not $wanted"
        count_writes "$1"
    done
}

# It writes until the zone ends, or nothing goes through any more.
start_writing()
{
    zone "ioverify --depth 16 --requests 10000000 --seconds 3600 /dev/vda > /dev/null 2>&1 &"
    wait_writes_of raw
}

# The zone reboots, and its monitor dies while requests are under way. The daemon and its disk are
# there for the next zone.
ends()
{
    make_disk raw.img 8
    start_zone_1
    control add "blk:$tmp/raw.img,zone=1,id=raw" > added
    boot
    start_writing
    tell "reboot -f"
    monitor_ends 3
    boot
    start_writing
    kill_monitor
    boot
    same_disk raw.img /dev/vda
    zone "dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2> /dev/null"
    same_disk raw.img /dev/vda
    power_off
}

# By force, while requests are under way: what the daemon took comes to its end, and the disk is no
# longer written to. The zone lives on, but whatever uses the disk waits for ever.
remove_busy()
{
    make_disk raw.img 8
    start_zone_1
    control add "blk:$tmp/raw.img,zone=1,id=raw" > added
    boot
    start_writing
    control remove --force raw > removed
    before=$(md5sum < raw.img)
    zone 'cat /proc/uptime'
    [ "$(md5sum < raw.img)" = "$before" ] || fail "the disk is written to after it was removed"
    make_disk other.img 8
    control add "blk:$tmp/other.img,zone=1,addr=0xa000200,id=other" > added
    zone "echo a000200.virtio_mmio > $platform/bind"
    same_disk other.img /dev/vdb
    kill_monitor
}

# Two monitors, each with a zone of its own, the same addresses and interrupts in both, and a disk.
# Commands go to the second; the first only writes.
two_zones()
{
    make_disk raw.img 8
    make_disk two.img 8
    start_zone_1
    control add "blk:$tmp/raw.img,zone=1,id=raw" > added
    boot 1
    start_writing
    other_monitor_pid=$monitor_pid
    exec 7>&5 8<&6
    boot 2
    zone modprobe virtio_blk
    control add "blk:$tmp/two.img,zone=2,addr=0xa000000,id=two" > added
    zone "echo a000000.virtio_mmio > $platform/bind"
    same_disk two.img /dev/vda
    zone "seconds=$limit" depths=16 requests=500 blk-io.sh
    same_disk two.img /dev/vda
    power_off
    wait_writes_of raw
}

row placeholders placeholders
row blk-again again
row blk-hot-add hot
row blk-hot-busy hot_busy
row blk-busy busy
row blk-ends ends
row blk-remove-busy remove_busy
row two-zones two_zones
