/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-tap.c - flow test: the net plugin on a tap, in a network namespace of the test's own. The
 * guest is our own front-end; the host's side is a packet socket on the tap, so that each frame is
 * seen whole and counted. The rows are in net-tap-*.c.
 */
#include "net-tap.h"

#include <stdio.h>

const struct net_front_options plain = {.num = 256}, in_one = {.tx_pieces = 1};
static const struct net_front_options in_many = {.tx_pieces = 30, .indirect = true},
    merged = {.features = MERGE}, large = {.features = LARGE | MERGE, .rx_size = 512},
    small = {.features = MERGE, .rx_size = 64};
static const struct net_front_options whole_merged = {.features = LARGE | MERGE, .rx_size = 2048,
                                                      .tx_size = NET_FRONT_LARGE},
    whole_single = {.features = LARGE, .rx_size = NET_FRONT_LARGE, .tx_size = NET_FRONT_LARGE};

/* Runs the row's function and cleans up afterwards. */
#define CLEANED(NAME)                                                                              \
    static void run_##NAME(struct daemon *d)                                                       \
    {                                                                                              \
        row_at_end(clean, NULL);                                                                   \
        net_##NAME(d);                                                                             \
    }
CLEANED(created)
CLEANED(existing)
CLEANED(frames_wait)
CLEANED(frames_wait_for_guests)
CLEANED(tap_full)
CLEANED(link_state)
CLEANED(two_queues)
CLEANED(fewer_queues)
CLEANED(segments_whole)
CLEANED(segments_cut)
CLEANED(segments_of_another_guest)
CLEANED(segments_by_command)
CLEANED(no_offloads)
CLEANED(mtu)
CLEANED(bridge)
CLEANED(tap_removed)
CLEANED(tap_down)
CLEANED(refusals)
CLEANED(in_use_multiqueue)
CLEANED(hvisor_file)
CLEANED(unprivileged)

#define ROW(NAME) {#NAME, run_##NAME, &with_net, NULL}
#define ROW_ARG(NAME, FUNCTION, ARG) {#NAME, run_##FUNCTION, &with_net, &(ARG)}

int main(int argc, char **argv)
{
    static const char *const plugins[] = {"net.so", NULL};
    static const char *const trap[] = {"--trap", "trap.sock", NULL};
    static const struct daemon_options with_net = {.plugins = plugins},
                                       with_trap = {.plugins = plugins, .args = trap},
                                       as_nobody = {.plugins = plugins, .no_start = true,
                                                    .nobody = true};
    static const struct row rows[] = {
        ROW_ARG(created, created, plain),
        ROW_ARG(created_header_and_frame_together, created, in_one),
        ROW_ARG(created_many_pieces, created, in_many), ROW_ARG(created_mergeable, created, merged),
        ROW_ARG(created_large_offered, created, large),
        ROW_ARG(created_small_buffers, created, small),
        ROW(existing), ROW(frames_wait), ROW(frames_wait_for_guests), ROW(tap_full),
        ROW(link_state), ROW(two_queues), ROW(fewer_queues),
        ROW_ARG(segments_whole_mergeable, segments_whole, whole_merged),
        ROW_ARG(segments_whole_one_buffer, segments_whole, whole_single), ROW(segments_cut),
        ROW(segments_of_another_guest), ROW(segments_by_command), ROW(no_offloads), ROW(mtu),
        ROW(bridge), ROW(tap_removed), ROW(tap_down), ROW(refusals), ROW(in_use_multiqueue),
        {"hvisor_file", run_hvisor_file, &with_trap, NULL},
        {"unprivileged", run_unprivileged, &as_nobody, NULL},
    };
    const char *why = netns_enter();
    if (why) {
        printf("%s\n", why);
        return 77;
    }
    size_t n = sizeof(rows) / sizeof(rows[0]);
    if (!netns_has_nobody())
        row_note("no row \"%s\": there is no other user in this namespace", rows[--n].name);
    return report_run(argc, argv, rows, n);
}
