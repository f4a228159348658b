# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# rows-sdk.sh - plugins that somebody else has built, see mk-sdk, come while the daemon runs, and
# serve a zone whose accesses are trapped. In the root guest, see root.sh.
# shellcheck disable=SC2034,SC2154    # tmp, said and others come from root.sh

virtio_mmio=/sys/bus/platform/drivers/virtio-mmio

# start_without NAME: a daemon that has the plugins we bring, without this one.
start_without()
{
    "/lab/sdk/test-$1" > test.log 2>&1 || fail "test-$1: $(grep '^not ok' test.log)"
    mkdir plugins
    cp /lab/plugins/*.so plugins/
    PLUGINS=$tmp/plugins
    start_zone_1
}

# bring NAME: it is not known before, and known afterwards.
bring()
{
    refused "no plugin is called $1" plugins "$1"
    cp "/lab/sdk/$1.so" plugins/
    control plugins --rescan > answer
    control plugins "$1" > answer
    grep -q "$1" answer || fail "plugin $1 is not there after it was looked for: $(cat answer)"
}

# counter ID NAME: of the plugin.
counter()
{
    control --json stats "$1" | sed -n "s/.*\"$2\": *\([0-9]*\).*/\1/p"
}

# wait_counter ID NAME VALUE: until it has this value.
wait_counter()
{
    deadline=$(($(seconds_up) + limit))
    until [ "$(counter "$1" "$2")" = "$3" ]; do
        [ "$(seconds_up)" -lt "$deadline" ] || fail "$1: $2 is $(counter "$1" "$2"), not $3"
        usleep 20000 # between the looks
    done
}

# ---- random bytes -------------------------------------------------------------------------------

# read_hwrng FILE: 4096 bytes, as the zone sees them.
read_hwrng()
{
    zone 'dd if=/dev/hwrng bs=512 count=8 2> /dev/null > /tmp/bytes; wc -c < /tmp/bytes'
    [ "$(cat answer)" = 4096 ] || fail "/dev/hwrng gives $(cat answer) bytes in place of 4096"
    zone 'md5sum < /tmp/bytes'
    cp answer "$1"
}

# The plugin and the device come to a zone that runs. Linux reads some bytes for itself.
rng()
{
    start_without rng
    boot
    bring rng
    control add rng:zone=1,addr=0xa000000,id=rng > added
    zone modprobe virtio_rng
    zone "echo a000000.virtio_mmio > $virtio_mmio/bind"
    zone 'cat /sys/class/misc/hw_random/rng_current'
    [ "$(cat answer)" = virtio_rng.0 ] || fail "the zone's generator is '$(cat answer)'"
    before=$(counter rng bytes)
    read_hwrng first
    between=$(counter rng bytes)
    read_hwrng second
    after=$(counter rng bytes)
    echo "# sdk-rng: $(cat first) and $(cat second), $before, $between and $after bytes"
    ! cmp -s first second || fail "/dev/hwrng gives the same bytes twice"
    # One buffer that is asked for ahead may be counted before or after.
    if [ "$before" -ge 4096 ] || [ "$between" -lt 4096 ] || [ $((after - between)) -lt 4000 ]; then
        fail "the device counts $before, $between, $after bytes around two reads of 4096"
    fi
    power_off
    control remove rng > removed
}

# ---- keys ---------------------------------------------------------------------------------------

keyboard="keyboard of root"

# make_keyboard: a new one of the root guest's. Sets event to its name below /dev/input.
make_keyboard()
{
    rm -f typist typist.log
    mkfifo typist
    inputio make "$keyboard" < typist > typist.log 2>&1 &
    typist_pid=$!
    exec 4> typist
    wait_line typist.log 'inputio: made'
    event=$(sed -n 's/^inputio: made //p' typist.log)
    event=$(basename /sys/class/input/"$event"/event*)
    [ -c "/dev/input/$event" ] || fail "the keyboard has no event device: $(cat typist.log)"
}

unplug_keyboard()
{
    echo quit >&4
    wait "$typist_pid" || fail "inputio make: $(tail -n 1 typist.log)"
}

# wait_line FILE TEXT: until a line of it has this text.
wait_line()
{
    deadline=$(($(seconds_up) + limit))
    until grep -qs "$2" "$1"; do
        [ "$(seconds_up)" -lt "$deadline" ] || fail "no '$2' in ${1##*/}: $(tail -n 1 "$1")"
        usleep 20000 # between the looks
    done
}

# zone_reads TEXT: inputio in the zone says so, sooner or later.
zone_reads()
{
    while hear "$1"; do
        case $said in
        *"inputio: not ok"* | zone:*) fail "the zone says: $said" ;;
        *"$1"*) return 0 ;;
        esac
    done
}

# type_through NAME FROM COUNT COMMAND...: what the command types when it is given two more words,
# the first number and how many, comes out of the zone's device of that name. An event device keeps
# 64 events for whoever reads it, so the next are typed when the zone has read these.
type_through()
{
    device=$1
    from=$2
    end=$((from + $3))
    shift 3
    tell "inputio check '$device' $from $((end - from)) 16"
    zone_reads "inputio: reading"
    while [ "$from" -lt "$end" ]; do
        "$@" "$from" 16
        from=$((from + 16))
        zone_reads "inputio: read up to $((from - 1))"
    done
    answered
}

type_on_keyboard()
{
    echo "type $*" >&4
}

# key CODE VALUE: on the keyboard.
key()
{
    echo "key $1 $2" >&4
}

# zone_keys CODE...: these are down in the zone, sooner or later, and no other.
zone_keys()
{
    zone "inputio keys '$keyboard' $*"
}

# what_is FILE: the keyboard in a /proc/bus/input/devices, without where it is plugged in.
what_is()
{
    awk -v name="$keyboard" 'BEGIN { RS = "" } index($0, "\"" name "\"")' "$1" |
        grep '^[INUB]:' | sort
}

# The zone sees the keyboard as it is.
same_keyboard()
{
    what_is /proc/bus/input/devices > ours
    zone cat /proc/bus/input/devices
    what_is answer > theirs
    [ "$(grep -c . ours)" -ge 7 ] || fail "our own keyboard has only: $(cat ours)"
    cmp -s ours theirs || fail "a keyboard differs: $(diff ours theirs | tr '\n' ' ')"
    sed 's/^/# sdk-input: /' theirs
}

# The zone's LEDs are set on the keyboard, and not told to the zone again.
leds()
{
    zone "inputio led '$keyboard' 1 1"
    wait_line typist.log 'LED 1 is 1'
    zone "inputio led '$keyboard' 1 0"
    wait_line typist.log 'LED 1 is 0'
    zone "inputio led '$keyboard' 2 1"
    wait_line typist.log 'LED 2 is 1'
    wait_counter keyboard status 3
    [ "$(grep -c LED typist.log)" = 3 ] || fail "LEDs: $(grep LED typist.log | tr '\n' ' ')"
}

# More is typed than the event device keeps while the daemon cannot read it. The zone knows of key
# 30, is not told that it is released, and in the end only key 31 is down.
overrun()
{
    key 30 1
    zone_keys 30
    kill -STOP "$daemon_pid"
    key 30 0
    type_on_keyboard 0 64
    key 31 1
    key 32 1
    key 32 0
    wait_line typist.log 'did key 32 0'
    kill -CONT "$daemon_pid"
    zone_keys 31
    [ "$(counter keyboard dropped)" -ge 1 ] || fail "nothing was dropped"
    key 31 0
    zone_keys
}

# used_ticks: of the daemon, in hundredths of a second.
used_ticks()
{
    sed 's/.*) //' "/proc/$daemon_pid/stat" | awk '{ print $12 + $13 }'
}

# gone_lines: what the daemon says about keyboards that have gone.
gone_lines()
{
    grep -c 'no more events come from /dev/input' daemon.log
}

# The keyboard is unplugged while a key is down, whose release the daemon comes too late for. The
# zone, and its driver, go on without it, and the daemon has nothing to do.
unplug()
{
    key 30 1
    zone_keys 30
    kill -STOP "$daemon_pid"
    unplug_keyboard
    kill -CONT "$daemon_pid"
    zone_keys
    [ "$(gone_lines)" = 1 ] || fail "the daemon says $(gone_lines) times that it has gone"
    before=$(used_ticks)
    zone "usleep 1000000" # this is the measurement: nothing is to happen
    after=$(used_ticks)
    echo "# sdk-input: the daemon took $((after - before)) ticks in a second without a keyboard"
    [ $((after - before)) -lt 30 ] || fail "the daemon does not rest after the keyboard has gone"
    zone "inputio led '$keyboard' 1 1"
    zone "echo virtio1 > /sys/bus/virtio/drivers/virtio_input/unbind"
    zone "echo virtio1 > /sys/bus/virtio/drivers/virtio_input/bind"
    zone_keys
    [ "$(gone_lines)" = 1 ] || fail "the daemon says $(gone_lines) times that it has gone"
}

# A FIFO in place of a keyboard, and a keyboard; another one in its place when it has gone.
input()
{
    modprobe uinput
    modprobe evdev
    mount_pts
    start_without input
    bring input
    mkfifo keys
    make_keyboard
    control add "input:$tmp/keys,zone=1,id=fifo" > added
    control add "input:/dev/input/$event,zone=1,id=keyboard" > added
    refused "taken by somebody else" add "input:/dev/input/$event,socket=$tmp/other.sock"
    boot
    zone modprobe evdev
    same_keyboard
    leds
    type_through "hvisor-vhost keyboard" 0 496 inputio type keys
    # The zone's console has seen Num Lock, and there is one lamp for it on every keyboard.
    wait_line typist.log 'LED 0 is 1'
    type_through "$keyboard" 0 496 type_on_keyboard
    counted="$(counter keyboard events) $(counter keyboard packets) $(counter keyboard dropped)"
    [ "$counted" = "1488 496 0" ] || fail "$counted events, packets, and dropped ones for 496"
    overrun
    unplug
    make_keyboard
    control remove --force keyboard > removed
    control add "input:/dev/input/$event,zone=1,addr=0xa000200,id=keyboard" > added
    zone "echo a000200.virtio_mmio > $virtio_mmio/unbind"
    zone "echo a000200.virtio_mmio > $virtio_mmio/bind"
    type_through "$keyboard" 496 32 type_on_keyboard
    power_off
    unplug_keyboard
    control remove fifo keyboard > removed
}

row sdk-rng rng
row sdk-input input
