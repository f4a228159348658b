# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# guests.sh - the works in real guests, for blk. A guest boots once with disks of the daemon and of
# the peer side by side, and runs tests/guest/iobench on them in the order planned here, so both
# have the same kernel, the same driver and the same moment. What it prints comes here as it is
# printed, and at each line the clocks of both processes are read, see tests/guest/blk-bench.sh.
# From blk: daemon and peer (pids), image, seconds, quick, guest (tests/guest), and lib.sh.
# shellcheck disable=SC2154

guest_run=          # pid of the guest under way
reader=             # and of whoever reads what it says

# guest_works BED: those wanted, words WORK=DISK:DEPTH.
guest_works()
{
    local disk depth work

    for disk in file null; do
        [ "$quick" -eq 0 ] || [ "$disk" = file ] || continue
        for depth in 1 32; do
            work=$1-$disk-randread-d$depth
            ! wanted "$work" || echo "$work=$disk:$depth"
        done
    done
}

# can_boot BED: a reason if not.
can_boot()
{
    local tool tools=(busybox cpio linux.uml)

    [ "$1" = uml ] || tools=(busybox cpio qemu-system-x86_64)
    for tool in "${tools[@]}"; do
        command -v "$tool" > /dev/null || { echo "$tool is not installed"; return 1; }
    done
    [ "$1" = uml ] || "$guest/qemu/kernel" 2>&1 > /dev/null | tail -n 1
}

# The disks of all works, each of the daemon and then of the peer: vda and so on in this order.
# Fills sockets and names.
plan_disks()
{
    local work disk letter=({a..h})

    sockets=()
    names=()
    for work; do
        disk=${work#*=}
        disk=${disk%:*}
        [ -z "${names[ours-$disk]:-}" ] || continue
        names[ours-$disk]=vd${letter[${#sockets[@]}]}
        sockets+=("$tmp/$disk.sock")
        names[peer-$disk]=vd${letter[${#sockets[@]}]}
        sockets+=("$tmp/q$disk.sock")
    done
}

# Fills plan, what the guest does, and turns, whose turn and which work that is.
plan_runs()
{
    local work i who disk

    plan=()
    turns=()
    for work; do
        disk=${work#*=}
        for ((i = 0; i < rounds; i++)); do
            for who in $(order_of $i); do
                plan+=("${names[$who-${disk%:*}]}:${disk#*:}")
                turns+=("$who ${work%=*}")
            done
        done
    done
}

make_guest()
{
    # shellcheck disable=SC2086    # CC may have options
    ${CC:-gcc} -std=gnu11 -O2 -static -o "$tmp/iobench" "$guest/iobench.c"
    "$guest/$1/mk-initrd" --program "$tmp/iobench" --env "plan=${plan[*]}" \
        --env "seconds=$seconds" --env serial=bench \
        --env "ours=${names[ours-file]:-} ${names[ours-null]:-}" \
        "$guest/blk-bench.sh" "$tmp/$1.initrd"
}

# Becomes the guest.
boot()
{
    local bed=$1 socket devices=() limit

    limit=$(awk -v n="${#plan[@]}" -v s="$seconds" 'BEGIN { print 60 + int(n * (s + 0.2) * 2) }')
    for socket in "${sockets[@]}"; do
        if [ "$bed" = uml ]; then
            devices+=(--device "$socket:2")
        else
            devices+=(--device "vhost-user-blk,socket=$socket,num-queues=1")
        fi
    done
    exec "$guest/$bed/run" --initrd "$tmp/$bed.initrd" --timeout "$limit" "${devices[@]}"
}

# rate_and_cpu "iobench: DISK depth N: COUNT reads in SECONDS s" CLOCK-BEFORE CLOCK-AFTER
rate_and_cpu()
{
    local word

    read -ra word <<< "$1"
    awk -v count="${word[4]}" -v seconds="${word[7]}" -v before="$2" -v after="$3" \
        'BEGIN { print count / seconds, (after - before) / count * 1e6 }'
}

# Reads what the guest says, the first line with the clocks `bench: ready`, and takes the samples.
read_guest()
{
    local line turn=0 before=() now=() who work i

    while IFS= read -r line; do
        echo "$line" >> "$tmp/console"
        case $line in
        'bench: ready'*) read -ra before <<< "$(cpu_clocks "$daemon" "$peer")" ;;
        'iobench: /dev/'*)
            read -ra now <<< "$(cpu_clocks "$daemon" "$peer")"
            [[ $line == "iobench: /dev/${plan[turn]/:/ depth }:"* ]] ||
                die "the guest does not keep to the plan: $line"
            read -r who work <<< "${turns[turn]}"
            [ "$who" = ours ] && i=0 || i=1
            add_sample "$work" "$who" "$(rate_and_cpu "$line" "${before[i]}" "${now[i]}")"
            before=("${now[@]}")
            turn=$((turn + 1))
            ;;
        esac
    done
    [ "$turn" -eq "${#plan[@]}" ]
}

# guest_rows BED: uml or qemu.
guest_rows()
{
    local bed=$1 works work why status=0
    local -a sockets plan turns
    local -A names

    read -ra works <<< "$(guest_works "$bed" | tr '\n' ' ')"
    [ "${#works[@]}" -gt 0 ] || return 0
    why=$(can_boot "$bed") || { skip "$bed" "$why"; return 0; }
    plan_disks "${works[@]}"
    plan_runs "${works[@]}"
    make_guest "$bed"
    : > "$tmp/console"
    mkfifo "$tmp/$bed.says"
    read_guest < "$tmp/$bed.says" &
    reader=$!
    boot "$bed" < /dev/null > "$tmp/$bed.says" 2>&1 &
    guest_run=$!
    wait "$guest_run" || status=$?
    guest_run=
    wait "$reader" || status=$?
    reader=
    if [ "$status" -ne 0 ]; then
        tail -n 10 "$tmp/console" >&2
        die "the $bed guest did not do all of it"
    fi
    for work in "${works[@]}"; do
        report "${work%=*}"
    done
}
