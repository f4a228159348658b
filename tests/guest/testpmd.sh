# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# testpmd.sh - DPDK's testpmd, driven by its own commands, for tests and benchmarks that source this.
#
# Each testpmd has a NAME and one worker thread. From the script: testpmd_dir, a directory for its
# pipes and logs (NAME.log).
# shellcheck disable=SC2154

declare -A pmd=()            # the process of each
pmd_said=0                   # commands so far
declare -A pmd_in=() pmd_out=() # descriptors to and from it

testpmd_fail()
{
    echo "${0##*/}: testpmd $*" >&2
    exit 1
}

# start_pmd NAME CPU DEVICE MODE [ARGUMENT]...: both threads on this processor. Comes back once it
# takes commands.
start_pmd()
{
    local name=$1 cpu=$2 device=$3 mode=$4 to from

    shift 4
    mkfifo "$testpmd_dir/$name.in" "$testpmd_dir/$name.out"
    exec {to}<> "$testpmd_dir/$name.in" {from}<> "$testpmd_dir/$name.out"
    rm "$testpmd_dir/$name.in" "$testpmd_dir/$name.out"
    stdbuf -oL dpdk-testpmd --lcores "0@$cpu,1@$cpu" --no-huge -m 512 --no-pci \
        --file-prefix="${testpmd_dir##*/}-$name" --vdev "$device" -- -i --forward-mode="$mode" \
        --nb-cores=1 --total-num-mbufs=16384 --disable-link-check "$@" \
        <&"$to" >&"$from" 2> "$testpmd_dir/$name.log" {to}>&- {from}>&- &
    pmd[$name]=$!
    pmd_in[$name]=$to
    pmd_out[$name]=$from
    pmd_say "$name" "show port summary all"
}

# pmd_say NAME COMMAND: comes back with its answer in $testpmd_dir/NAME.said.
pmd_say()
{
    local line name=$1 deadline=$((SECONDS + 30)) seen=0

    : > "$testpmd_dir/$name.said"
    # Its prompt ends no line, so behind the command comes one that it does not know. It repeats
    # what it is told: the number says that this is the answer to this one.
    pmd_said=$((pmd_said + 1))
    printf '%s\nshow nothing%d\n' "$2" "$pmd_said" >&"${pmd_in[$name]}"
    while [ "$SECONDS" -lt "$deadline" ]; do
        kill -0 "${pmd[$name]}" 2> /dev/null ||
            testpmd_fail "$name has ended: $(tail -n 3 "$testpmd_dir/$name.log")"
        read -r -t 1 -u "${pmd_out[$name]}" line || continue
        [[ $line != *show\ nothing$pmd_said* ]] || seen=1
        [[ $seen -eq 0 || $line != *Bad\ arguments* ]] || return 0
        echo "$line" >> "$testpmd_dir/$name.said"
    done
    testpmd_fail "$name does not answer '$2': $(tail -n 3 "$testpmd_dir/$name.log")"
}

# pmd_count NAME KEY...: the sum of these counters of its port, such as RX-packets.
pmd_count()
{
    local name=$1

    shift
    pmd_say "$name" "show port stats all"
    awk -v keys=" $* " '{ for (i = 1; i < NF; i++) {
            key = $i
            if (sub(/:$/, "", key) && index(keys, " " key " ")) n += $(i + 1)
        } } END { printf "%.0f\n", n }' "$testpmd_dir/$name.said"
}

# end_pmd [NAME]...: these, or all.
end_pmd()
{
    local name to from

    [ $# -gt 0 ] || set -- "${!pmd[@]}"
    for name; do
        kill -TERM "${pmd[$name]}" 2> /dev/null || true
        "$guest/wait-gone" 10 "${pmd[$name]}" || kill -KILL "${pmd[$name]}" 2> /dev/null || true
        wait "${pmd[$name]}" 2> /dev/null || true
        to=${pmd_in[$name]} from=${pmd_out[$name]}
        exec {to}>&- {from}>&-
        unset "pmd[$name]" "pmd_in[$name]" "pmd_out[$name]"
    done
}
