# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# rows-net.sh - network devices in zones whose accesses are trapped: on a tap, and on a switch
# together with a guest of vhost-user, which is a network namespace behind nettap. In the root
# guest, see root.sh; zones run net-io.sh.
# shellcheck disable=SC2034,SC2094,SC2154    # tmp, said and others come from root.sh

bytes=4000000       # of TCP, each way, for each pair of addresses
datagrams=1000
rate=500

# netio ARGUMENT...: on this side.
run_netio()
{
    netio "$@" >> netio.log 2>&1 || fail "netio $*: $(tail -n 1 netio.log)"
}

# start_server QUITS: on this side.
start_server()
{
    netio serve 7000 "$1" > server.log 2>&1 &
    server=$!
}

finish_server()
{
    wait "$server" || fail "our server: $(tail -n 1 server.log)"
}

# zone_says LINE: net-io.sh does, sooner or later.
zone_says()
{
    while hear "$1"; do
        case $said in
        "$1") return 0 ;;
        "net: not ok"* | "netio: not ok"* | zone:*) fail "the zone says: $said" ;;
        esac
    done
}

# counted NAME...: the sum of these counters of the plugin, in the file `stats`.
counted()
{
    sum=0
    for name; do
        sum=$((sum + $(sed -n "s/.*\"$name\": *\([0-9]*\).*/\1/p" stats)))
    done
    echo "$sum"
}

tx_drops="tx-link-down tx-bad-length tx-bad-header tx-no-peer tx-peer-full tx-refused"
rx_drops="rx-link-down rx-too-long rx-no-buffer rx-bad-frame"

# check_sums ID: each frame is counted once. Its guest is quiet.
# shellcheck disable=SC2086
check_sums()
{
    control --json stats "$1" > stats
    taken=$(counted tx-frames)
    offered=$(counted rx-frames)
    sent=$(counted tx-sent $tx_drops)
    received=$(counted rx-received rx-filtered $rx_drops)
    [ "$taken" = "$sent" ] || fail "$1: tx-frames is $taken, the rest is $sent"
    [ "$offered" = "$received" ] || fail "$1: rx-frames is $offered, the rest is $received"
    echo "# $1: $taken frames from the guest, $offered for it, filtered $(counted rx-filtered)," \
        "other drops $(counted $tx_drops $rx_drops)"
}

# our_address INTERFACE
our_address()
{
    echo 0 > "/proc/sys/net/ipv6/conf/$1/accept_dad"
    ip addr add 10.9.0.1/24 dev "$1"
    ip addr add fd09::1/64 dev "$1"
    ip link set "$1" up
}

# Both ways, asked for from both ends; the link goes and comes.
tap()
{
    modprobe tun
    ip link set lo up
    start_zone_1
    control add "net:tap=hvvtap0,create,zone=1,mtu=1500,id=net" > added
    our_address hvvtap0
    control capture net "path=$tmp/net.pcap" snaplen=64 > captured
    start_server 1
    boot
    tell "addresses='10.9.0.2/24 fd09::2/64' offloads=on mtu_told=yes bytes=$bytes" \
        "datagrams=$datagrams rate=$rate peers='10.9.0.1 fd09::1' dismiss=fd09::1 visitors=1" \
        "carrier=yes net-io.sh"
    zone_says "net: done"
    finish_server
    for address in 10.9.0.2 fd09::2; do
        run_netio tcp-send "$address" 7000 "$bytes"
        run_netio tcp-receive "$address" 7000 "$bytes"
        run_netio udp-send "$address" 7000 "$datagrams" 1000 "$rate"
        run_netio udp-receive "$address" 7000 "$datagrams" 1000 "$rate"
    done
    check_large
    run_netio quit 10.9.0.2 7000
    zone_says "net: carrier is 1"
    control link net state=down > told
    zone_says "net: carrier is 0"
    control link net state=up > told
    zone_says "net: carrier is 1"
    answered
    power_off
    check_sums net
    [ "$(counted tx-bad-header rx-bad-frame tx-bad-length rx-no-buffer tx-refused)" = 0 ] ||
        fail "frames were dropped"
    sed -n 's/^netio: udp/# net-tap: udp/p' netio.log
}

# Large segments went through.
check_large()
{
    control capture-stop net > captured
    netio pcap net.pcap > frames
    sed 's/^netio: /# net-tap: captured /' frames
    largest=$(sed -n 's/.*largest of \([0-9]*\) bytes/\1/p' frames)
    [ "$largest" -gt 10000 ] || fail "the largest frame has $largest bytes"
}

# start_vhost_guest SOCKET: a namespace with eth0, 10.9.0.1 and fd09::1, that serves until it is
# told that we are done. It goes with its last process.
start_vhost_guest()
{
    cat > vhost-guest << 'SCRIPT'
set -e
ip link set lo up
nettap "$1" eth0 > nettap.log 2>&1 &
nettap=$!
trap 'kill $nettap' EXIT
until [ -e /proc/sys/net/ipv6/conf/eth0 ]; do
    kill -0 $nettap
    usleep 20000
done
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip addr add 10.9.0.1/24 dev eth0
ip addr add fd09::1/64 dev eth0
ip link set eth0 up
netio serve 7000 1 > server.log 2>&1
SCRIPT
    unshare -n sh vhost-guest "$1" >> vhost.log 2>&1 &
    server=$!
}

# Two zones, and a guest of vhost-user, on one switch: the second zone talks to both others.
switch()
{
    start_daemon
    for number in 1 2; do
        control zone add "$number" platform=trap slot=0xa000000,0x200,48 > added
        control add "net:switch=lan,zone=$number,mtu=9000,id=zone$number" > added
    done
    control add "net:switch=lan,mtu=9000,socket=$tmp/vhost.sock,id=vhost" > added
    start_vhost_guest "$tmp/vhost.sock"
    boot 1
    tell "addresses='10.9.0.2/24 fd09::2/64' mtu=9000 mtu_told=yes visitors=1 net-io.sh"
    zone_says "net: ready"
    other_monitor_pid=$monitor_pid
    exec 7>&5 8<&6
    boot 2
    zone "addresses='10.9.0.3/24 fd09::3/64' offloads=on mtu=9000 mtu_told=yes bytes=$bytes" \
        "datagrams=$datagrams rate=$rate peers='10.9.0.1 fd09::1 10.9.0.2 fd09::2'" \
        "dismiss='10.9.0.1 10.9.0.2' net-io.sh"
    sed -n 's/^netio: /# net-switch: /p' answer
    finish_server
    power_off
    for id in zone1 zone2 vhost; do
        check_sums "$id"
    done
}

row net-tap tap
row net-switch switch
