/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-tap.h - the rows of net-tap.c, and what they share: one guest, and the host's side of its
 * tap. Main thread.
 *
 * Functions that return bool have told the report why it is false.
 */
#ifndef FLOW_NET_TAP_H
#define FLOW_NET_TAP_H

#include "net.h"
#include "netns.h"
#include "report.h"

#include <stdbool.h>
#include <stdint.h>

#define TIMEOUT_MS 15000
#define QUIET_MS 100 /* how long to watch for something that must not come */
#define MSS 1400u

#define CHECKSUMS (FE_BIT(VIRTIO_NET_F_CSUM) | FE_BIT(VIRTIO_NET_F_GUEST_CSUM))
#define LARGE                                                                                      \
    (CHECKSUMS | FE_BIT(VIRTIO_NET_F_HOST_TSO4) | FE_BIT(VIRTIO_NET_F_HOST_TSO6) |                 \
     FE_BIT(VIRTIO_NET_F_GUEST_TSO4) | FE_BIT(VIRTIO_NET_F_GUEST_TSO6))
#define MERGE FE_BIT(VIRTIO_NET_F_MRG_RXBUF)

/* ---- net-tap-guest.c ------------------------------------------------------------------------- */

extern struct net_front guest;
extern int wire, holder; /* a packet socket on the host's side; a tap that the test holds; or -1 */
extern uint8_t frame[NETNS_FRAME_MAX], got[NETNS_FRAME_MAX]; /* to send; what came */
extern const uint8_t station[6]; /* the MAC of the host's side */

bool open_guest(const struct daemon *d, const char *id, struct net_front_options options);
void close_guest(void);
bool open_wire(const char *interface);
/* After each row: what it made in the namespace, whatever happened. */
void clean(void *arg);

/* False if a function of net.h failed. */
bool guest_does(int result, const char *what);
/* Gives receive buffers: `n`, or as many as there can be. */
bool post(unsigned pair, unsigned n);
bool post_all(unsigned pair);

/* A frame has a number, which says how large it is. The next one that comes has to be this one. */
uint32_t size_of(uint32_t number);
bool send_wire(uint32_t number);
bool send_guest(unsigned pair, uint32_t number);
bool wire_hears(uint32_t number);
bool guest_hears(unsigned pair, uint32_t number);
bool guest_hears_nothing(unsigned pair);

bool is_up(const char *interface);
bool log_becomes(const struct daemon *d, const char *part);
/* A queue of a tap, held by the test itself. */
bool hold_tap(const char *name, bool multi_queue);

/* ---- rows ------------------------------------------------------------------------------------ */

/* How a guest is set up; also what rows get as their argument. */
extern const struct net_front_options plain, in_one;

/* net-tap-frame.c; net_created(): the argument is struct net_front_options */
void net_created(struct daemon *d);
void net_existing(struct daemon *d);
void net_frames_wait(struct daemon *d);
void net_frames_wait_for_guests(struct daemon *d);
void net_tap_full(struct daemon *d);

/* net-tap-link.c */
void net_link_state(struct daemon *d);
void net_two_queues(struct daemon *d);
void net_fewer_queues(struct daemon *d);
void net_mtu(struct daemon *d);
void net_bridge(struct daemon *d);
void net_tap_removed(struct daemon *d);
void net_tap_down(struct daemon *d);

/* net-tap-offload.c; net_segments_whole(): the argument is struct net_front_options */
void net_segments_whole(struct daemon *d);
void net_segments_cut(struct daemon *d);
void net_segments_of_another_guest(struct daemon *d);
void net_segments_by_command(struct daemon *d);
void net_no_offloads(struct daemon *d);

/* net-tap-refusal.c */
void net_refusals(struct daemon *d);
void net_in_use_multiqueue(struct daemon *d);
void net_hvisor_file(struct daemon *d);
void net_unprivileged(struct daemon *d);

#endif

