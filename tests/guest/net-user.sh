#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# net-user.sh - a guest on a network of its own, which needs no privilege: DHCP, TCP and UDP to this
# side through 10.0.2.2, and TCP from here through hostfwd. See lib.sh, net-lib.sh and net-io.sh,
# which the guest runs.
# shellcheck disable=SC2154    # dir, guest and others come from lib.sh

# shellcheck source=/dev/null
. "${HVV_SOURCE:?is the source directory, set by make check}/tests/guest/lib.sh"
# shellcheck source=/dev/null
. "$guest/net-lib.sh"

rows="user"

# add_user: device vm, with a port of this side that nobody has. Somebody may take it before us.
add_user()
{
    local try

    for try in 1 2 3 4 5; do
        forwarded=$((20000 + (RANDOM + $$) % 12000))
        if add_device "net:user,hostfwd=tcp:127.0.0.1:$forwarded-:7000,id=vm"; then
            return
        fi
        grep -q 'in use' "$dir/ctl.log" || break
    done
    fail "no device after $try tries: $(tail -n 1 "$dir/ctl.log")"
}

user()
{
    local forwarded port bytes=$((megabytes * 1000000))

    start_server 0 1 127.0.0.1
    port=$(sed -n 's/^netio: serving at port //p' "$dir/server.log")
    start_daemon
    add_user
    boot uml vm addresses=dhcp offloads=off peers=10.0.2.2 dismiss=10.0.2.2 port="$port" \
        bytes="$bytes" visitors=1 datagrams=1000 rate=500
    wait_line "$dir/vm.log" '^net: done'
    finish_server
    netio tcp-send 127.0.0.1 "$forwarded" "$bytes"
    netio tcp-receive 127.0.0.1 "$forwarded" "$bytes"
    netio quit 127.0.0.1 "$forwarded"
    finish_guest vm
    grep -q '^net: leased 10.0.2.15/24 by 10.0.2.2, name server 10.0.2.3' \
        "$dir/vm.log" || fail "not the lease of libslirp: $(grep leased "$dir/vm.log")"
    check_sums vm
    check_no_drops vm tx-bad-header tx-bad-length rx-bad-frame rx-too-long
    grep -h '^netio: tcp' "$dir/vm.log" | sed 's/sum .*, /at /; s/^/# vm: /'
}

need "$rows" linux.uml busybox cpio jq
build_netio "$rows"
if ! grep -q libslirp <<< "$(ldd "$build/plugins.d/net.so")"; then
    echo "skip user: this build is without libslirp, configure --disable-slirp"
    exit 0
fi

row user user
finish
