# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# rows-hvisor.sh - the daemon on /dev/hvisor, and the kernel's own drivers behind it. In a guest,
# with ../arm64/root.sh. Zone 1 is this kernel, with its memory; zone 2 is zonectl, with a piece of
# memory that it sees at another address.
# shellcheck disable=SC2034,SC2154,SC3045    # tmp and others come from root.sh; busybox has read -t

parameters=/sys/module/hvisor_standin/parameters
drivers=/sys/bus/virtio/drivers
blk=0xf0003c00      # the slots of both zones
blk_irq=78
console=0xf0003800
console_irq=76
spare=0xf0003400
spare_irq=74
mounted=/disk       # a file system that has direct I/O, which the tmpfs in /tmp has not

# ---- preparation --------------------------------------------------------------------------------

# CPUs are the root zone's or the zones', as with hvisor. The driver of consoles spins until the
# daemon has taken its output, so it must not be in the way of that.
part_cpus()
{
    taskset -p 3 $$ > /dev/null
    echo 3 > /sys/devices/virtual/workqueue/cpumask
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nexec taskset c /lab/hvisor-vhost "$@"\n' > /bin/hvisor-vhost
    chmod 755 /bin/hvisor-vhost
}

load_module()
{
    modprobe -a virtio_blk virtio_console loop &&
        insmod /lab/hvisor_standin.ko &&
        mkdir -p /dev/pts "$mounted" &&
        mount -t devpts pts /dev/pts &&
        truncate -s 48M /disk.img &&
        mke2fs -F /disk.img > /dev/null &&
        mount -o loop -t ext4 /disk.img "$mounted"
}

# slot_json TYPE ADDRESS IRQ: a slot with nothing in it.
slot_json()
{
    printf '{"type": "%s", "addr": "%s", "len": "0x200", "irq": %s, "status": "disable"}' "$@"
}

# zone_json ID HOST-ADDRESS ADDRESS SIZE
zone_json()
{
    printf '{"id": %s, "memory_region": [{"zone0_ipa": "%s", "zonex_ipa": "%s", "size": "%s"}], ' \
        "$@"
    printf '"devices": [%s, %s, %s]}' "$(slot_json blk $blk $blk_irq)" \
        "$(slot_json console $console $console_irq)" "$(slot_json net $spare $spare_irq)"
}

# The kernel's memory is the last piece there is; the one before is small and not used.
make_json()
{
    ram=$(sed -n 's/^\([0-9a-f]*-[0-9a-f]*\) : System RAM$/\1/p' /proc/iomem | tail -n 1)
    start=$((0x${ram%-*}))
    memory=$(zonectl memory)
    printf '{"zones": [%s, %s]}\n' \
        "$(zone_json 1 $start $start $((0x${ram#*-} + 1 - start)))" \
        "$(zone_json 2 "${memory% *}" 0x80000000 "${memory#* }")" > /lab/zones.json
}

# ---- what rows do -------------------------------------------------------------------------------

# What a row that failed has left is not to matter.
serve()
{
    echo 0 > $parameters/no_irq
    echo 0 > $parameters/no_wakeup
    start_daemon --hvisor --virtio-json /lab/zones.json
}

# add_disk IMAGE ID ADDRESS [OPTION]...: to zone 1, 8 MiB.
add_disk()
{
    image=$1
    spec="blk:$1,id=$2,zone=1,addr=$3"
    shift 3
    for option; do
        spec=$spec,$option
    done
    dd if=/dev/urandom of="$image" bs=1M count=8 2> /dev/null
    control add "$spec" > added
}

# plug ADDRESS IRQ DEVICE-ID: a driver gets what is in the slot of zone 1.
plug()
{
    found=$(zonectl plug 1 4 "$1" "$2") || fail "$found"
    [ "$found" = "$3" ] || fail "the slot $1 has device $found, not $3"
}

unplug()
{
    zonectl unplug 1 "$1" > unplugged || fail "$(cat unplugged)"
}

# counter NAME: of the module.
counter()
{
    zonectl counters | sed -n "s/^$1=//p"
}

# disk_counter NAME: of disk `disk`.
disk_counter()
{
    control --json stats disk | sed -n "s/.*\"counters\":{[^}]*\"$1\":\\([0-9]*\\).*/\\1/p"
}

# same_disk IMAGE DEVICE
same_disk()
{
    echo 3 > /proc/sys/vm/drop_caches
    ours=$(md5sum < "$1")
    theirs=$(md5sum < "$2")
    [ "$ours" = "$theirs" ] || fail "$2 holds $theirs, its image $ours"
}

# verify DEVICE IMAGE SCRIPT: verified I/O, and nothing but that is in the image.
verify()
{
    disk=$1 requests=300 seconds=$limit depths="1 16" "$3" > verify.log ||
        fail "$(tail -n 1 verify.log)"
    same_disk "$2" "$1"
}

# rebind DRIVER: of its only device.
rebind()
{
    for link in "$drivers/$1"/virtio*; do
        device=${link##*/}
        echo "$device" > "$drivers/$1/unbind"
        echo "$device" > "$drivers/$1/bind"
        [ -e "$link" ] || fail "$1 does not take $device again"
    done
}

kill_daemon()
{
    kill -KILL "$daemon_pid"
    wait "$daemon_pid" 2> /dev/null || true
    daemon_pid=
}

# wait_waiting CPU: until that vCPU waits for an answer.
wait_waiting()
{
    deadline=$(($(seconds_up) + limit))
    while [ $(($(counter waiting) >> $1 & 1)) = 0 ]; do
        [ "$(seconds_up)" -lt "$deadline" ] || fail "vCPU $1 does not wait for an answer"
    done
}

# wait_notifies COUNT: until the zones have handed over more notifications than that.
wait_notifies()
{
    deadline=$(($(seconds_up) + limit))
    while [ "$(counter notifies)" -le "$1" ]; do
        [ "$(seconds_up)" -lt "$deadline" ] || fail "no more than $1 notifications"
    done
}

# refused_daemon PATTERN [OPTION]...: it is to end at once, and to say why.
refused_daemon()
{
    pattern=$1
    shift
    status=0
    timeout "$limit" hvisor-vhost --plugin-dir "$PLUGINS" --control other --socket-dir "$tmp" \
        "$@" > refused.log 2>&1 || status=$?
    [ "$status" = 1 ] || fail "the daemon that is to be refused ended with status $status"
    grep -q "$pattern" refused.log || fail "the daemon does not say '$pattern': $(cat refused.log)"
}

# ---- rows ---------------------------------------------------------------------------------------

# The ioctls, the page, the eventfd.
device()
{
    if zonectl read 1 3 $blk > read.log; then
        fail "an access is answered before there was a daemon"
    fi
    echo 1 > $parameters/no_irq
    refused_daemon "has the root zone's device tree hvisor's virtio interrupt" --hvisor
    echo 0 > $parameters/no_irq
    refused_daemon "is hvisor.ko loaded" --hvisor=/dev/absent
    serve
    [ "$(counter inits)" = 1 ] || fail "INIT_VIRTIO came $(counter inits) times"
    add_disk raw.img disk $blk
    before=$(counter wakeups)
    zonectl check 1 3 $blk > check.log || fail "$(cat check.log)"
    after=$(counter wakeups)
    [ "$after" -gt "$before" ] || fail "the daemon was not woken up"
    echo 1 > $parameters/no_wakeup
    zonectl check 1 3 $blk > check.log || fail "without wake-ups: $(cat check.log)"
    echo 0 > $parameters/no_wakeup
    [ "$(counter wakeups)" = "$after" ] || fail "the daemon was woken up although that is off"
}

# disk SCRIPT IMAGE [OPTION]...: of the kernel's own driver, verified.
disk()
{
    script=$1
    image=$2
    shift 2
    serve
    add_disk "$image" disk $blk "$@"
    plug $blk $blk_irq 2
    verify /dev/vda "$image" "$script"
    [ "$(disk_counter io-errors)" = 0 ] || fail "$(disk_counter io-errors) requests failed"
    case $* in
    *direct*)
        [ "$(disk_counter bounced)" -gt 300 ] ||
            fail "only $(disk_counter bounced) transfers were bounced: is the memory no PFNMAP?"
        ;;
    *) [ "$(disk_counter bounced)" = 0 ] || fail "$(disk_counter bounced) transfers were bounced" ;;
    esac
    unplug $blk
    control remove disk > removed
    rm -f "$image"
}

# Driven by hand, in memory that zone and host see at different addresses.
other_addresses()
{
    serve
    dd if=/dev/zero of=raw.img bs=1M count=8 2> /dev/null
    control add "blk:raw.img,id=disk,zone=2,addr=$blk" > added
    for round in 1 2; do
        zonectl disk 2 9 $blk $blk_irq 0x80000000 > disk.log || fail "$(cat disk.log)"
    done
    control remove disk > removed
}

# A console with the kernel's own driver: lines in, many lines out, another size.
console()
{
    lines=3000
    wanted=$(seq 1 $lines | md5sum)
    serve
    options=ring=1M,columns=100,rows=40
    control add "console:pty,link=$tmp/zone.tty,id=console,zone=1,addr=$console,$options" > added
    plug $console $console_irq 3
    taskset -p 3 "$(pidof khvcd)" > /dev/null
    lines=$lines new_size="50 132" console-io.sh > console.log 2>&1 &
    guest_pid=$!
    # What it is sent before that is echoed.
    deadline=$(($(seconds_up) + limit))
    until grep -qx 'console: ready' console.log; do
        [ "$(seconds_up)" -lt "$deadline" ] || fail "the driver's side is not ready"
    done
    echo "a line" > zone.tty
    timeout "$limit" head -c "$(seq 1 $lines | wc -c)" zone.tty > out || fail "it gave too little"
    [ "$(md5sum < out)" = "$wanted" ] || fail "it gave other bytes"
    control console-resize console columns=132 rows=50 > resized
    wait "$guest_pid" || fail "the driver's side failed: $(tail -n 1 console.log)"
    for line in "size 40 100" "read a line" resized; do
        grep -qx "console: $line" console.log || fail "the driver's side did not say: $line"
    done
    refused 'in use' remove console
    unplug $console
    control remove console > removed
}

# start_load DEVICE: verified I/O that goes on until it is ended.
start_load()
{
    ioverify --depth 8 --requests 10000000 --seconds 3600 "$1" > load.log 2>&1 &
    load_pid=$!
    wait_load
}

# Until the disk has written a hundred times more.
wait_load()
{
    wanted=$(($(disk_counter writes) + 100))
    deadline=$(($(seconds_up) + limit))
    while [ "$(disk_counter writes)" -lt "$wanted" ]; do
        [ -d "/proc/$load_pid" ] || fail "the load ended: $(tail -n 1 load.log)"
        [ "$(seconds_up)" -lt "$deadline" ] ||
            fail "the disk has written $(disk_counter writes) times, not $wanted"
    done
}

# It is ended by a signal, and had no complaint.
end_load()
{
    kill -TERM "$load_pid"
    wait "$load_pid" 2> /dev/null || true
    if grep -q 'not ok' load.log; then
        fail "$(grep 'not ok' load.log)"
    fi
}

# Another disk comes and goes while one is busy.
add_remove()
{
    serve
    add_disk raw.img disk $blk
    plug $blk $blk_irq 2
    start_load /dev/vda
    for round in 1 2 3; do
        add_disk other.img other $spare
        plug $spare $spare_irq 2
        same_disk other.img /dev/vdb
        refused 'in use' remove other
        if [ "$round" = 2 ]; then
            control remove --force other > removed
            unplug $spare
        else
            unplug $spare
            control remove other > removed
        fi
        if zonectl plug 1 4 $spare $spare_irq > plugged; then
            fail "something is in the slot of the device that was removed"
        fi
        wait_load
    done
    end_load
    same_disk raw.img /dev/vda
    unplug $blk
}

# One daemon after the other, each with the bridge anew; the drivers are there before and after.
again()
{
    serve
    add_disk raw.img disk $blk
    control add "console:pty,link=$tmp/zone.tty,id=console,zone=1,addr=$console" > added
    plug $blk $blk_irq 2
    plug $console $console_irq 3
    control save saved.conf > saved
    for round in 1 2; do
        same_disk raw.img /dev/vda
        inits=$(counter inits)
        stop_daemon
        start_daemon --config saved.conf
        [ "$(counter inits)" = $((inits + 1)) ] || fail "INIT_VIRTIO was not called once"
        rebind virtio_blk
        rebind virtio_console
        dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2> /dev/null
    done
    same_disk raw.img /dev/vda
    unplug $blk
    unplug $console
}

second_daemon()
{
    serve
    add_disk raw.img disk $blk
    plug $blk $blk_irq 2
    start_load /dev/vda
    inits=$(counter inits)
    for round in 1 2 3; do
        refused_daemon "hvisor's device .* is used by another daemon: stop that first" --hvisor
        [ ! -e other ] || fail "the second daemon left its control socket"
        wait_load
    done
    [ "$(counter inits)" = "$inits" ] || fail "the second daemon took the bridge"
    end_load
    same_disk raw.img /dev/vda
    unplug $blk
}

# Nothing is under way. A vCPU that accesses a register meanwhile waits for the next daemon.
killed()
{
    serve
    add_disk raw.img disk $blk
    control save saved.conf > saved
    plug $blk $blk_irq 2
    for round in 1 2 3; do
        zonectl read 1 8 $blk > read.log || fail "$(cat read.log)"
        verify_little
        renewed=$(counter renewed)
        kill_daemon
        # The page of a daemon that does not get far has no flag that would let it go.
        [ "$round" != 2 ] || zonectl init
        zonectl read 1 8 $blk > read.log &
        reader=$!
        wait_waiting 8
        start_daemon --config saved.conf
        wait "$reader" || fail "$(cat read.log)"
        [ "$(cat read.log)" = 0x0 ] || fail "the vCPU that waited read $(cat read.log)"
        [ "$(counter renewed)" -gt "$renewed" ] || fail "the vCPU did not wait"
        rebind virtio_blk
    done
    verify_little
    unplug $blk
}

verify_little()
{
    dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2> /dev/null
    same_disk raw.img /dev/vda
}

# It goes with slots in use, and comes again.
unload()
{
    serve
    add_disk raw.img disk $blk
    plug $blk $blk_irq 2
    if rmmod hvisor_standin 2> /dev/null; then
        fail "the module goes although the daemon uses it"
    fi
    unplug $blk
    stop_daemon
    rmmod hvisor_standin
    insmod /lab/hvisor_standin.ko
    serve
    zonectl read 1 4 $blk > read.log || fail "$(cat read.log)"
}

# More notifications than there is room for while the daemon does not look; a read has to wait too.
full()
{
    serve
    add_disk raw.img disk $blk
    plug $blk $blk_irq 2
    handed_over=$(counter notifies)
    kill -STOP "$daemon_pid"
    zonectl flood 1 10 $blk > flood.log &
    flood=$!
    zonectl read 1 11 $blk > read.log &
    reader=$!
    wait_notifies $((handed_over + 20))
    kill -CONT "$daemon_pid"
    wait "$flood" || fail "$(cat flood.log)"
    wait "$reader" || fail "$(cat read.log)"
    [ "$(cat read.log)" = 0x74726976 ] || fail "the magic reads $(cat read.log)"
    same_disk raw.img /dev/vda
    unplug $blk
}

# Requests are under way, and lost: Linux waits for them for ever, also when the driver is unbound.
# What was idle works again, and the daemon has its hands free.
killed_busy()
{
    serve
    add_disk raw.img disk $blk
    add_disk other.img other $spare
    control save saved.conf > saved
    plug $spare $spare_irq 2
    plug $blk $blk_irq 2
    start_load /dev/vdb
    kill_daemon
    start_daemon --config saved.conf
    before=$(md5sum < raw.img)
    idle=$(basename "$(dirname "$(dirname /sys/devices/hvisor-zone/virtio*/block/vda)")")
    echo "$idle" > $drivers/virtio_blk/unbind
    echo "$idle" > $drivers/virtio_blk/bind
    dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2> /dev/null
    same_disk other.img /dev/vda
    control remove disk > removed
    [ "$(md5sum < raw.img)" = "$before" ] || fail "the lost requests were written later"
}

# What the kernel said is not about the module, or it would be a bug of the module.
silence()
{
    dmesg > dmesg.log
    if grep -E 'BUG:|WARNING:|Oops|hvisor_standin: .* cannot be|does not end' dmesg.log > bad; then
        fail "the kernel complained: $(head -n 1 bad)"
    fi
}

if ! part_cpus || ! load_module || ! make_json; then
    echo "not ok hvisor-device: the module cannot be loaded or used"
    exit 1
fi
row hvisor-device device
row hvisor-blk disk blk-io.sh raw.img queues=2
row hvisor-blk-direct disk blk-verify.sh "$mounted/raw.img" direct engine=uring
row hvisor-blk-threads disk blk-io.sh "$mounted/raw.img" direct engine=threads
row hvisor-console console
row hvisor-other-addresses other_addresses
row hvisor-add-remove add_remove
row hvisor-full full
row hvisor-again again
row hvisor-second-daemon second_daemon
row hvisor-killed killed
row hvisor-unload unload
row hvisor-killed-busy killed_busy
row hvisor-kernel-silent silence
# No daemon is there when the guest's end resets the disks.
echo 1 > $parameters/wait_seconds
