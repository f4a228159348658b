#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# afternoon - how long it takes from nothing to a working device, without our tree: hvisor-vhost is
# installed into a directory of its own, the source and the build tree are hidden, and what is left
# is typed by a user who is not root. A project is started, built, tested, checked and dropped into
# a daemon that runs, and a real guest uses its device; then the same with an example. Every command
# a user types goes through typed, which counts them. They are listed at the end, with the time they
# took, and hvv_plugin(7) has to have the same ones.
#
# The script runs three times, each time in place of the one before: it prepares; with --hide it
# mounts something empty over the trees, for itself alone, and gives up all rights; and with --type
# it is the user. These two get their variables from the first.
# shellcheck disable=SC2016,SC2154    # $HOME in what is typed is for the shell that is typed at
set -uo pipefail
export LC_ALL=C

rows=("nothing but what is installed" "project (autotools)" "project (meson)" drop-in guest
    "guest (example)" "the page says so")
limit=120           # seconds for one command; the longest takes some 4 s
tmp=
child=

# ---- the user -----------------------------------------------------------------------------------

# fail TEXT: ends the row.
fail()
{
    echo "$*" >> "$logs/reason"
    exit 1
}

# typed LINE: one command. What it says is in $said.
typed()
{
    local status=0

    echo "${1//"$HOME"/\$HOME}" >> "$logs/typed.$row"
    case $1 in
    'cd '* | 'export '*)
        eval "$1" || status=$?
        ;;
    *)
        setpriv --pdeathsig TERM timeout -k 5 "$limit" bash -c "$1" > "$said" 2>&1 < /dev/null &
        child=$!
        wait "$child" || status=$?
        child=
        ;;
    esac
    [ "$status" -eq 0 ] || fail "'$1' ended with status $status"
}

# says WANTED: the last command said something with this pattern.
says()
{
    grep -qE -- "$1" "$said" || fail "'$(tail -n 1 "$logs/typed.$row")' did not say '$1'"
}

milliseconds()
{
    local now=${EPOCHREALTIME/[.,]/}

    echo $((now / 1000))
}

seconds()
{
    printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100))
}

# end_process PID: with a deadline, and whatever it says to that.
end_process()
{
    kill -TERM "$1" 2> /dev/null
    timeout 30 tail -f -s 0.1 --pid="$1" /dev/null || kill -KILL "$1" 2> /dev/null
    wait "$1" 2> /dev/null
}

end_row()
{
    trap '' HUP INT TERM
    trap - ERR
    set +e
    [ -z "$child" ] || end_process "$child"
}

# row NAME FUNCTION [SKIP]: in a process of its own; SKIP is a reason not to. Sets took[NAME].
row()
{
    local status=0 began

    row=$1
    : > "$logs/reason"
    : > "$said"
    : > "$logs/typed.$row"
    passed[$row]=
    if [ -n "${3:-}" ]; then
        # Who wants all of them must not miss it.
        [ "$all" != 1 ] || failed=1
        [ "$all" = 1 ] && echo "not ok $row: $3" || echo "skip $row: $3"
        return
    fi
    began=$(milliseconds)
    (
        set -eE
        trap 'echo "line $LINENO: $BASH_COMMAND" >> "$logs/reason"' ERR
        trap end_row EXIT
        trap 'exit 1' HUP INT TERM
        cd "$HOME"
        "$2"
    ) &
    child=$!
    wait "$child" || status=$?
    child=
    took[$row]=$(($(milliseconds) - began))
    if [ "$status" -eq 0 ]; then
        echo "ok $row"
        passed[$row]=1
    else
        failed=1
        echo "not ok $row: $(head -n 1 "$logs/reason")"
        tail -n 25 "$said" | sed 's/^/#     /'
        tail -n 5 "$logs/daemon" | sed 's/^/#     daemon: /'
    fi
}

# The trees are empty, nobody is root, and what is found is what was installed.
only_installed()
{
    local dir

    [ "$(id -u)" -ne 0 ] || fail "the user is root"
    for dir in "$source" "$build"; do
        [ -z "$(ls -A "$dir" 2> /dev/null)" ] || fail "$dir is not hidden"
    done
    [ "$(command -v hvisor-vhost-new-plugin)" = "$HOME/opt/bin/hvisor-vhost-new-plugin" ] ||
        fail "hvisor-vhost-new-plugin is '$(command -v hvisor-vhost-new-plugin)'"
    [ "$(pkg-config --variable=prefix hvisor-vhost)" = "$HOME/opt" ] ||
        fail "pkg-config finds '$(pkg-config --variable=prefix hvisor-vhost)'"
}

# build_here NAME: in the directory of a project for autotools.
build_here()
{
    typed 'autoreconf -i'
    typed './configure'
    typed 'make check'
    says '^# PASS: +1$'
    typed "hvisor-vhost-check-plugin ./$1.so"
    says '^[1-9][0-9]* passed, 0 failed'
}

project_autotools()
{
    typed 'hvisor-vhost-new-plugin dice'
    typed 'cd dice'
    build_here dice
    typed 'cd ..'
}

project_meson()
{
    typed 'hvisor-vhost-new-plugin dice --meson --directory dice-meson'
    typed 'cd dice-meson'
    typed 'meson setup build'
    typed 'meson compile -C build'
    typed 'meson test -C build'
    says '^Ok: +1'
    typed 'hvisor-vhost-check-plugin build/dice.so'
    says '^[1-9][0-9]* passed, 0 failed'
    typed 'cd ..'
}

# The daemon takes what is put there while it runs: before that, it must not know it.
drop_in()
{
    local file

    [ -n "$daemon" ] || fail "$(cat "$logs/daemon.reason")"
    ! hvisor-vhost-ctl plugins dice > "$said" 2>&1 || fail "dice is known before it is there"
    says 'no plugin is called dice'
    typed 'cp dice/dice.so $HOME/plugins'
    typed 'hvisor-vhost-ctl plugins --rescan'
    for file in "$HOME"/plugins/dice.so "$HOME/$plugindir"/*.so; do
        says "^  $file$"
    done
    typed 'hvisor-vhost-ctl add dice:fill=16,id=dice'
    typed 'hvisor-vhost-ctl list'
    says '^dice +dice 0\.1 +published '
    typed 'hvisor-vhost-ctl fill dice bytes=32'
    says '^bytes: 32$'
}

# boot ID: QEMU with this device. What show prints for it is pasted behind what any guest needs.
boot()
{
    local device memory began

    device=$(sed -n 's/^for QEMU: //p' "$said")
    memory=$(sed -n 's/^for QEMU guest memory: //p' "$said")
    [ -n "$device" ] || fail "show does not tell what to give to QEMU"
    began=$(milliseconds)
    typed "qemu-system-x86_64 -nodefaults -no-reboot -display none -serial stdio \
-machine q35 -accel tcg -cpu max -m 256M -kernel \$HOME/guest/vmlinuz \
-initrd \$HOME/guest/initrd -append \"console=ttyS0 panic=-1 quiet\" ${memory/SIZE/256M} $device"
    echo $(($(milliseconds) - began)) > "$logs/guest.$row"
    grep -qx 'guest: ok' "$said" ||
        fail "the guest: $(grep -m 1 '^rng: \|^guest: failed' "$said")"
    says '^rng: twice .* from virtio_rng'
    typed "hvisor-vhost-ctl stats $1"
    counted "$1"
}

# counted ID: what the guest read went through the daemon, and that told it.
counted()
{
    local bytes

    bytes=$(awk -v id="$1" '$1 == id && $2 == "bytes" { print $3 }' "$said")
    [ "${bytes:-0}" -ge $((2 * kib * 1024)) ] ||
        fail "$1 counted ${bytes:-no} bytes, the guest read $((2 * kib * 1024))"
}

in_guest()
{
    typed 'hvisor-vhost-ctl show dice'
    boot dice
}

example_in_guest()
{
    [ -n "$daemon" ] || fail "$(cat "$logs/daemon.reason")"
    typed 'cp -r $HOME/opt/share/hvisor-vhost/examples/rng .'
    typed 'cd rng'
    build_here rng
    typed 'cp rng.so $HOME/plugins'
    typed 'hvisor-vhost-ctl plugins --rescan'
    typed 'hvisor-vhost-ctl add rng:id=rng'
    typed 'hvisor-vhost-ctl show rng'
    boot rng
}

# What hvv_plugin(7) tells to type is what was typed.
page()
{
    local name

    sed -n '/^\.Ss From nothing/,/^\.S[hs] /p' "$HOME/opt/share/man/man7/hvv_plugin.7" |
        sed -n '/^\.Bd -literal/,/^\.Ed/{/^\./d; s/\\&//; s/\\e/\\/; p}' |
        sed ':more; /\\$/{N; s/\\\n *//; b more}' > "$logs/page"
    for name in "${path[@]}"; do
        cat "$logs/typed.$name"
    done > "$logs/order"
    diff "$logs/page" "$logs/order" > "$said" ||
        fail "hvv_plugin(7) has other commands than those that were typed, < are its own"
}

# start: what is typed before all else. The daemon does not wait for the user.
start()
{
    local line="hvisor-vhost -p \$HOME/$plugindir -p \$HOME/plugins --control \$HOME/control \
--socket-dir \$HOME/sockets" asker first='' status=0

    row=start
    : > "$logs/typed.$row"
    typed 'export PATH=$HOME/opt/bin:$HOME/opt/sbin:$PATH'
    typed "export PKG_CONFIG_PATH=\$HOME/$pcdir"
    typed 'export ACLOCAL_PATH=$HOME/opt/share/aclocal'
    typed 'export HVISOR_VHOST_CONTROL=$HOME/control'
    typed 'mkdir $HOME/plugins $HOME/sockets'
    echo "$line &" >> "$logs/typed.$row"
    eval "exec setpriv --pdeathsig TERM $line" > "$logs/daemon" 2>&1 < /dev/null &
    daemon=$!
    hvisor-vhost-ctl --wait "$limit" list > "$said" 2>&1 &
    asker=$!
    wait -n -p first "$asker" "$daemon" || status=$?
    if [ "$first" = "$daemon" ]; then
        daemon=
        end_process "$asker"
    elif [ "$status" -ne 0 ]; then
        end_daemon
    fi
    [ -n "$daemon" ] ||
        echo "the daemon does not answer: $(tail -n 1 "$logs/daemon")" > "$logs/daemon.reason"
}

end_daemon()
{
    local pid=$daemon

    daemon=
    [ -z "$pid" ] || end_process "$pid"
}

# list NAME...: what was typed in these rows.
list()
{
    local name

    for name; do
        sed 's/^/#     /' "$logs/typed.$name"
    done
}

# stopwatch NAME...: the sum over these rows.
stopwatch()
{
    local name sum=0 lines=0

    for name; do
        sum=$((sum + ${took[$name]}))
        lines=$((lines + $(wc -l < "$logs/typed.$name")))
    done
    echo "$lines commands, $(seconds "$sum") seconds"
}

# also NAME TEXT: what is beside the path.
also()
{
    [ -n "${passed[$1]}" ] || return
    echo "# $2: $(stopwatch "$1")"
    list "$1"
}

report()
{
    [ -n "${passed[drop-in]}" ] || return
    if [ -n "${passed[guest]}" ]; then
        echo "# from nothing to a device in a guest: $(stopwatch "${path[@]}")" \
            "(of which $(seconds "$(cat "$logs/guest.guest")") in the guest)"
    else
        unset 'path[-1]'
        echo "# from nothing to a device: $(stopwatch "${path[@]}")"
    fi
    list "${path[@]}"
    also "${rows[2]}" "a project with meson"
    also "${rows[5]}" "an example in a guest"
}

type_all()
{
    local began no_meson='' no_page='' status=0 tool
    declare -A took passed

    said=$logs/said
    daemon=
    failed=0
    path=(start "${rows[1]}" drop-in guest)
    trap '[ -z "$child" ] || end_process "$child"; end_daemon' EXIT
    cd "$HOME" || exit 1
    began=$(milliseconds)
    start
    took[start]=$(($(milliseconds) - began))
    row "${rows[0]}" only_installed
    row "${rows[1]}" project_autotools
    for tool in meson ninja; do
        command -v $tool > /dev/null || no_meson="$tool is not installed"
    done
    row "${rows[2]}" project_meson "$no_meson"
    row "${rows[3]}" drop_in
    row "${rows[4]}" in_guest "$no_guest"
    row "${rows[5]}" example_in_guest "$no_guest"
    [ "$pcdir" = opt/lib/pkgconfig ] || no_page="libraries are not installed in lib, but in $pcdir"
    [ -n "${passed[guest]}" ] || no_page="there is nothing to compare it with"
    row "${rows[6]}" page "$no_page"
    end_daemon || status=$?
    if [ "$status" -ne 0 ]; then
        failed=1
        echo "not ok the daemon ended with status $status: $(tail -n 1 "$logs/daemon")"
    fi
    report
    exit "$failed"
}

# ---- without the trees --------------------------------------------------------------------------

# hide USER: as root of a mount namespace, and never root again; USER is a number.
hide()
{
    local dir

    for dir in "$source" "$build"; do
        if [ -d "$dir" ]; then
            mount -t tmpfs -o size=64k,mode=755 tmpfs "$dir" || exit 1
        fi
    done
    cd / || exit 1
    set -- "$1" --no-new-privs bash "$HOME/../afternoon.sh" --type
    if [ "$in_user_namespace" = 1 ]; then
        exec unshare --user --map-user="$1" --map-group="$1" setpriv "${@:2}"
    fi
    exec setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"
}

# ---- preparations -------------------------------------------------------------------------------

# skip_all WHY
skip_all()
{
    local name

    for name in "${rows[@]}"; do
        echo "skip $name: $1"
    done
    exit 0
}

clean_up()
{
    trap '' HUP INT TERM
    if [ -n "$child" ]; then
        kill -TERM "$child" 2> /dev/null
        wait "$child"
    fi
    [ -z "$tmp" ] || rm -rf "$tmp"
}

# install: into opt of the user's home directory. Sets plugindir and pcdir, which start there.
install()
{
    local pc prefix

    if ! make -C "$build" install DESTDIR="$tmp/root" > "$tmp/install.log" 2>&1; then
        echo "not ok ${rows[0]}: make install: $(tail -n 4 "$tmp/install.log" | tr '\n' ' ')"
        exit 1
    fi
    pc=$(find "$tmp/root" -name hvisor-vhost.pc)
    prefix=$(sed -n 's/^prefix=//p' "$pc")
    # It is moved, so the one line that says where.
    sed -i "s|^prefix=.*|prefix=$home/opt|" "${pc%/*}"/*.pc
    mv "$tmp/root$prefix" "$home/opt"
    pcdir=opt${pc#"$tmp/root$prefix"}
    plugindir=$(sed -n 's|^plugindir=${prefix}|opt|p' "$home/$pcdir")
    pcdir=${pcdir%/*}
    [ -n "$plugindir" ] || skip_all "plugins are installed outside of the prefix, $prefix"
}

# make_guest: a kernel and a system that reads. Sets no_guest if there is none.
make_guest()
{
    local guest=$source/tests/guest found tool cached=--cached

    [ "$all" != 1 ] || cached=          # only who wants all gets something from the network
    for tool in qemu-system-x86_64 busybox cpio; do
        command -v $tool > /dev/null || no_guest="$tool is not installed: run scripts/deps test"
    done
    [ -z "$no_guest" ] || return
    # shellcheck disable=SC2086
    found=$("$guest/qemu/kernel" $cached 2> "$tmp/kernel.log") ||
        { no_guest=$(tail -n 1 "$tmp/kernel.log"); return; }
    mkdir "$home/guest"
    cp "${found%%$'\n'*}" "$home/guest/vmlinuz"
    "$guest/qemu/mk-initrd" --env kib=$kib "$source/tests/sdk/rng-read.sh" "$home/guest/initrd" \
        > "$tmp/initrd.log" 2>&1 ||
        no_guest="cannot make an initrd: $(tail -n 1 "$tmp/initrd.log")"
}

prepare()
{
    local tool user namespace=(unshare --mount) status=0

    [ -z "${HVV_SANITIZE:-}" ] || skip_all "with sanitizers only our own build can link the harness"
    for tool in autoreconf automake pkg-config unshare setpriv mount; do
        command -v $tool > /dev/null || skip_all "$tool is not installed"
    done
    user=$(id -u)
    in_user_namespace=0
    if [ "$user" -eq 0 ]; then
        user=65534
    else
        in_user_namespace=1
        namespace+=(--user --map-root-user)
    fi
    "${namespace[@]}" mount -t tmpfs tmpfs "$tmp" 2> "$tmp/unshare.log" ||
        skip_all "the trees cannot be hidden: $(tail -n 1 "$tmp/unshare.log")"
    case $tmp/ in "$source"/* | "$build"/*)
        skip_all "$tmp would be hidden with the trees: set TMPDIR to a directory elsewhere" ;;
    esac
    home=$tmp/home
    mkdir "$home" "$tmp/logs"
    install
    no_guest=
    make_guest
    cp "$source/tests/sdk/afternoon.sh" "$tmp/"
    chmod -R a+rX "$tmp"
    [ "$in_user_namespace" -eq 1 ] || chown "$user:$user" "$home" "$tmp/logs"
    # Nothing else of the environment, which may name our trees.
    "${namespace[@]}" env -i HOME="$home" PATH="$PATH" source="$source" build="$build" \
        logs="$tmp/logs" kib="$kib" plugindir="$plugindir" pcdir="$pcdir" \
        no_guest="$no_guest" all="$all" in_user_namespace="$in_user_namespace" \
        bash "$tmp/afternoon.sh" --hide "$user" < /dev/null &
    child=$!
    wait "$child" || status=$?
    child=
    exit "$status"
}

case ${1:-} in
--hide) hide "$2" ;;
--type) type_all ;;
*)
    source=${HVV_SOURCE:?is the source directory, set by make check}
    build=${HVV_BUILD:?is the build directory, set by make check}
    source=$(cd "$source" && pwd -P) && build=$(cd "$build" && pwd -P) || exit 99
    all=${HVV_TEST_ALL:-0}
    kib=32
    trap clean_up EXIT
    trap 'exit 1' HUP INT TERM
    tmp=$(cd "${TMPDIR:-/tmp}" && pwd -P) && tmp=$(mktemp -d "$tmp/hvv.XXXXXX") || exit 99
    prepare
    ;;
esac
