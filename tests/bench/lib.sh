# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# lib.sh - what benchmarks share: the clocks of a process, rounds in ABBA order, and the table.
#
# A work is one line of the table. Its samples are in $tmp/WORK.tsv, one line each: who (ours or
# peer), rate, CPU seconds per million. A row, made of them, is a line of JSON in $tmp/rows.
# From the script that sources this: guest (tests/guest), tmp, rounds, json (1: print no table),
# patterns (of the works wanted; all if there is none), unit (of the rates; IOPS if it is not set).
# shellcheck disable=SC2154

note()
{
    [ "$json" -eq 1 ] || echo "$@"
}

# skip WORK WHY
skip()
{
    echo "skip $1: $2" >&2
}

die()
{
    echo "${0##*/}: $*" >&2
    exit 1
}

wanted()
{
    local pattern

    [ "${#patterns[@]}" -gt 0 ] || return 0
    for pattern in "${patterns[@]}"; do
        # shellcheck disable=SC2053    # it is a pattern
        [[ $1 != $pattern ]] || return 0
    done
    return 1
}

# ---- processes ----------------------------------------------------------------------------------

# cpu_clocks PID...: the CPU seconds of each process so far, those of threads that ended included.
# It is the clock of clock_getcpuclockid(3), since /proc knows no less than 10 ms.
cpu_clocks()
{
    perl -MTime::HiRes=clock_gettime -e '
        for my $pid (@ARGV) {
            my $clock = do { use integer; ~int($pid) << 3 | 2 };
            my $time = clock_gettime($clock);
            die "process $pid has ended\n" if $time < 0;
            printf "%.6f ", $time;
        }' "$@"
}

# end_processes PID...: and waits until they are gone; a PID may be empty.
end_processes()
{
    local pid

    for pid; do
        if [ -n "$pid" ] && kill -TERM "$pid" 2> /dev/null; then
            "$guest/wait-gone" 10 "$pid" || kill -KILL "$pid" 2> /dev/null || true
        fi
    done
}

# wake_ups PID: a line for each of its threads, its id and how often it has gone to sleep so far.
wake_ups()
{
    awk '/^Pid:/ { id = $2 } /^voluntary/ { print id, $2 }' "/proc/$1"/task/*/status
}

# settle PID: until none of its threads has woken up for two seconds: whatever is still looked at when
# the work is over.
settle()
{
    local before after deadline=$((SECONDS + 20))

    after=$(wake_ups "$1")
    until [ "${before:-}" = "$after" ]; do
        [ "$SECONDS" -lt "$deadline" ] || die "process $1 does not come to rest within 20 s"
        before=$after
        sleep 2 # between the looks
        after=$(wake_ups "$1")
    done
}

# wake_ups_between FILE FILE: two results of wake_ups; a thread that ended meanwhile counts once.
wake_ups_between()
{
    awk 'NR == FNR { before[$1] = $2; next } { n += $2 - before[$1]; delete before[$1] }
         END { for (id in before) n++; print n + 0 }' "$1" "$2"
}

# ---- rounds and rows ----------------------------------------------------------------------------

# order_of ROUND: both, in the order they have their turn.
order_of()
{
    if [ $(($1 % 2)) -eq 0 ]; then
        echo "ours peer"
    else
        echo "peer ours"
    fi
}

# abba WORK COMMAND [ARGUMENT]...: a work if it is wanted. The command is called with ours or peer
# before its arguments, and prints rate and CPU seconds per million.
abba()
{
    local work=$1 command=$2 i who sample

    shift 2
    wanted "$work" || return 0
    for ((i = 0; i < rounds; i++)); do
        for who in $(order_of $i); do
            sample=$("$command" "$who" "$@")
            add_sample "$work" "$who" "$sample"
        done
    done
    report "$work"
}

# add_sample WORK WHO "RATE CPU"
add_sample()
{
    printf '%s\t%s\t%s\n' "$2" "${3% *}" "${3#* }" >> "$tmp/$1.tsv"
}

# netio_sample WHAT AMOUNT CPU SAID: rate and CPU seconds per million (of bytes per thousand million)
# from what netio said, and the CPU seconds it took.
netio_sample()
{
    awk -v what="$1" -v amount="$2" -v cpu="$3" -v said="$4" 'BEGIN {
        n = split(said, word, " ")
        if (what == "rtt") print 1e6 / word[3], cpu / amount * 1e6
        else print word[n - 1], cpu / amount * 1e9
    }'
}

print_header()
{
    note "$(printf '%-26s %9s %9s  %5s  %-11s  %6s %6s  %5s' \
        work ours peer ratio quartiles cpu/M peer ratio)"
}

# report WORK: medians of its samples; medians and quartiles of the ratios of its rounds.
report()
{
    local row

    row=$(jq -Rn --arg work "$1" --arg unit "${unit:-IOPS}" '
        def quantile(q): sort | .[((length - 1) * q) | round];
        def ratios(ours; peer): [range(0; ours | length) as $i | ours[$i] / peer[$i]];
        [inputs | split("\t") | {who: .[0], rate: (.[1] | tonumber), cpu: (.[2] | tonumber)}]
        | [.[] | select(.who == "ours")] as $ours | [.[] | select(.who == "peer")] as $peer
        | ratios([$ours[].rate]; [$peer[].rate]) as $ratio
        | ratios([$ours[].cpu]; [$peer[].cpu]) as $cpu_ratio
        | {work: $work, unit: $unit, ours: ([$ours[].rate] | quantile(0.5)),
           peer: ([$peer[].rate] | quantile(0.5)), ratio: ($ratio | quantile(0.5)),
           low: ($ratio | quantile(0.25)), high: ($ratio | quantile(0.75)),
           cpu_ours: ([$ours[].cpu] | quantile(0.5)), cpu_peer: ([$peer[].cpu] | quantile(0.5)),
           cpu_ratio: ($cpu_ratio | quantile(0.5)), rounds: ($ours | length)}' "$tmp/$1.tsv")
    echo "$row" >> "$tmp/rows"
    note "$(jq -r '[.work, (.ours | round), (.peer | round), .ratio, .low, .high,
            .cpu_ours, .cpu_peer, .cpu_ratio] | @tsv' <<< "$row" |
        awk -F'\t' '{ printf "%-26s %9d %9d  %5.2f  %5.2f-%-5.2f  %6.2f %6.2f  %5.2f",
                      $1, $2, $3, $4, $5, $6, $7, $8, $9 }')"
}

# report_pair WORK UNIT OURS PEER: a row of one measurement each.
report_pair()
{
    jq -n --arg work "$1" --arg unit "$2" --argjson ours "$3" --argjson peer "$4" \
        '{work: $work, unit: $unit, ours: $ours, peer: $peer,
          ratio: (if $peer == 0 then null else $ours / $peer end), rounds: 1}' >> "$tmp/rows"
    note "$(printf '%-26s %9.1f %9.1f  %s' "$1" "$3" "$4" "$2")"
}

print_rows()
{
    touch "$tmp/rows"
    [ "$json" -eq 0 ] || jq -s '{rows: .}' "$tmp/rows"
}
