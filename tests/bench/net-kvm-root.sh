#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# net-kvm-root.sh - in the root guest of net-kvm: boots a guest under KVM with two network devices,
# ours and QEMU's own, each on a tap, and measures them in turn. Prints a line for each measurement:
# `sample WORK WHO CPU WAKE-UPS SAID`, CPU being nanoseconds of QEMU and the daemon together,
# WAKE-UPS how often QEMU's main loop woke up meanwhile, SAID what netio said.
#
# From the environment: ours and peer (MAC addresses of the two devices), rounds, bytes, trips. The
# guest itself runs net-bench.sh.
# shellcheck disable=SC2154
set -eu

die()
{
    echo "bench: not ok: $*"
    tail -n 5 /tmp/*.log
    exit 1
}

start_daemon()
{
    hvisor-vhost --plugin-dir /bench/plugins --control /tmp/c --socket-dir /tmp --log-level error \
        > /tmp/daemon.log 2>&1 < /dev/null &
    daemon=$!
    hvisor-vhost-ctl --control /tmp/c --wait 60 add "net:tap=hvvours,create,id=tap,mac=$ours" \
        > /tmp/ctl.log 2>&1 || die "the daemon does not start"
}

# The taps have addresses when QEMU, which makes the second one, is far enough to have it.
start_guest()
{
    qemu-system-aarch64 -nodefaults -no-user-config -no-reboot -display none -accel kvm -cpu host \
        -machine virt,gic-version=3,memory-backend=mem -m 256M \
        -object memory-backend-memfd,id=mem,size=256M,share=on -serial file:/tmp/guest.log \
        -kernel /bench/kernel -initrd /bench/initrd -append "console=ttyAMA0 panic=-1 quiet" \
        -chardev socket,id=c0,path=/tmp/tap.sock -netdev vhost-user,id=n0,chardev=c0 \
        -device "virtio-net-pci,netdev=n0,mac=$ours,romfile=" \
        -netdev tap,id=n1,ifname=hvvpeer,script=no,downscript=no,vhost=off \
        -device "virtio-net-pci,netdev=n1,mac=$peer,romfile=" \
        > /tmp/qemu.log 2>&1 < /dev/null &
    qemu=$!
    until grep -q '^netio: serving' /tmp/guest.log 2> /dev/null; do
        kill -0 $qemu 2> /dev/null || die "QEMU has ended"
        [ "$(cut -d. -f1 /proc/uptime)" -lt 300 ] || die "the guest is not ready"
        usleep 100000 # between the looks
    done
    ip addr add 10.9.1.1/24 dev hvvours
    ip addr add 10.9.2.1/24 dev hvvpeer
    ip link set hvvours up
    ip link set hvvpeer up
}

# Nanoseconds of QEMU and the daemon so far.
cpu()
{
    awk '{ sum += $1 } END { printf "%.0f", sum }' /proc/$daemon/task/*/schedstat \
        /proc/$qemu/task/*/schedstat
}

# How often QEMU's main loop went to sleep so far.
wake_ups()
{
    awk '/^voluntary/ { print $2 }' "/proc/$qemu/task/$qemu/status"
}

# measure WORK WHO WHAT AMOUNT [plain]
measure()
{
    work=$1 who=$2 what=$3
    shift 3
    address=10.9.1.2
    [ "$who" = ours ] || address=10.9.2.2
    cpu_before=$(cpu)
    woken_before=$(wake_ups)
    said=$(netio "$what" $address 7000 "$@") || die "$work with $who: $said"
    woken=$(wake_ups)
    echo "sample $work $who $(($(cpu) - cpu_before)) $((woken - woken_before)) $said"
}

# abba WORK WHAT AMOUNT [plain]: both in turn, first this one, then that one.
abba()
{
    work=$1
    shift
    i=0
    while [ $i -lt "$rounds" ]; do
        order="ours peer"
        [ $((i % 2)) -eq 0 ] || order="peer ours"
        for who in $order; do
            measure "$work" "$who" "$@"
        done
        i=$((i + 1))
    done
    echo "done $work"
}

# Nothing of the kernel's is to be in the middle of a line of ours; /init looks at it in the end.
dmesg -n 1
modprobe tun
ip link set lo up
start_daemon
start_guest
abba to-guest tcp-send "$bytes" plain
abba from-guest tcp-receive "$bytes" plain
abba rtt rtt "$trips"
netio quit 10.9.1.2 7000
wait $qemu || die "QEMU ended with status $?"
grep -qx 'guest: ok' /tmp/guest.log || die "the guest did not end well"
kill -TERM $daemon
wait $daemon || die "the daemon ended with status $?"
