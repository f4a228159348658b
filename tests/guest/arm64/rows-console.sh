# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# rows-console.sh - consoles in a zone whose accesses are trapped. In the root guest, see root.sh.
# shellcheck disable=SC2154,SC3045    # tmp and others come from root.sh; busybox has read -t

# A line each way, in a zone that gets its console while it runs, and gets it again when it boots.
console()
{
    [ -e /dev/pts/ptmx ] || { mkdir -p /dev/pts && mount -t devpts pts /dev/pts; }
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

row console console
