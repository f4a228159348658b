#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# net-io.sh - in a guest with one network device: gives it addresses, serves whoever comes (netio
# serve, port 7000), and meanwhile pings the peers and sends and receives with each of them.
#
# From the environment:
#   mac         the device is to have it
#   addresses   with prefixes, such as "10.9.0.1/24 fd09::1/64"; dhcp: it asks for one
#   mtu         1500 if not set; with mtu_told=yes the device is to have it from the start
#   offloads    on or off: what the driver is to leave to the device
#   peers       addresses; port: 7000 if not set; bytes: of TCP, each way; datagrams: of UDP, 0 if
#               not set, at rate a second, 1000 if not set
#   dismiss     peers, one address each, whose netio is told that we are done
#   visitors    how many tell us that they are done, 0 if not set
#   carrier     yes: waits for the link to go down and to come back, afterwards
set -eu

mtu=${mtu:-1500}
port=${port:-7000}
bytes=${bytes:-20000000}
limit=120           # seconds, until a peer answers

fail()
{
    echo "net: not ok: $*"
    exit 1
}

# What udhcpc runs, which is this script, too.
leased()
{
    # udhcpc sets these.
    # shellcheck disable=SC2154
    [ "$1" != bound ] || {
        ip addr add "$ip/$mask" dev "$interface"
        ip route add default via "$router"
        echo "net: leased $ip/$mask by $router, name server $dns"
    }
}

set_up()
{
    modprobe -q ipv6 || true
    [ -e /sys/class/net/eth0 ] || fail "there is no eth0"
    [ "${mac:-$(cat /sys/class/net/eth0/address)}" = "$(cat /sys/class/net/eth0/address)" ] ||
        fail "eth0 has $(cat /sys/class/net/eth0/address), not $mac"
    [ "${mtu_told:-no}" = no ] || [ "$(cat /sys/class/net/eth0/mtu)" = "$mtu" ] ||
        fail "eth0 has MTU $(cat /sys/class/net/eth0/mtu), the device says $mtu"
    netio offloads eth0 > /tmp/offloads
    cat /tmp/offloads
    check_offloads
    # Addresses can be used at once.
    echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
    ip link set lo up
    ip link set eth0 mtu "$mtu" up
    for address in ${addresses:?are missing}; do
        case $address in
        dhcp) udhcpc -q -n -t 20 -T 1 -i eth0 -s /test.sh ;;
        *) ip addr add "$address" dev eth0 ;;
        esac
    done
}

check_offloads()
{
    case ${offloads:-} in
    on) ! grep -q 'checksum off\|tso off' /tmp/offloads || fail "offloads are off" ;;
    off) ! grep -q 'tx-checksum on\|tso on' /tmp/offloads || fail "offloads are on" ;;
    esac
}

# meet ADDRESS: until it answers, then packets as large as can be.
meet()
{
    case $1 in
    *:*) largest=$((mtu - 48)) ;;
    *) largest=$((mtu - 28)) ;;
    esac
    deadline=$(($(cut -d. -f1 /proc/uptime) + limit))
    until ping -q -c 1 -W 1 "$1" > /tmp/ping 2>&1; do
        [ "$(cut -d. -f1 /proc/uptime)" -lt "$deadline" ] ||
            fail "no answer from $1: $(tail -n 2 /tmp/ping)"
        usleep 100000
    done
    ping -c 3 -W 10 -s "$largest" "$1" > /tmp/ping 2>&1 ||
        fail "pings of $largest bytes to $1: $(tail -n 2 /tmp/ping)"
    echo "net: $1 answers pings of $largest bytes"
}

talk()
{
    netio tcp-send "$1" "$port" "$bytes"
    netio tcp-receive "$1" "$port" "$bytes"
    [ "${datagrams:-0}" != 0 ] || return 0
    netio udp-send "$1" "$port" "$datagrams" 1000 "${rate:-1000}"
    netio udp-receive "$1" "$port" "$datagrams" 1000 "${rate:-1000}"
}

# wait_carrier VALUE
wait_carrier()
{
    until [ "$(cat /sys/class/net/eth0/carrier)" = "$1" ]; do
        usleep 20000
    done
    echo "net: carrier is $1"
}

[ $# -eq 0 ] || { leased "$@"; exit; }
set_up
server=
if [ "${visitors:-0}" != 0 ]; then
    netio serve 7000 "$visitors" &
    server=$!
fi
echo "net: ready"
for peer in ${peers:-}; do
    meet "$peer"
    talk "$peer"
done
for peer in ${dismiss:-}; do
    netio quit "$peer" "$port"
done
echo "net: done"
[ -z "$server" ] || wait "$server" || fail "serving ended with status $?"
if [ "${carrier:-no}" = yes ]; then
    wait_carrier 1
    wait_carrier 0
    wait_carrier 1
    for peer in ${peers:-}; do
        meet "$peer"
    done
fi
