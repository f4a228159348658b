/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netns.h - a network of the test's own: a namespace with nothing in it but what the test makes,
 * the ip program to make it, and sockets that see whole frames. Main thread.
 *
 * Functions that return bool have told the report why it is false.
 */
#ifndef FLOW_NETNS_H
#define FLOW_NETNS_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETNS_FRAME_MAX 65557u

/*
 * Moves the process into a network namespace of its own, as root or through a user namespace, with
 * taps that everybody may open. NULL, or why that does not work here.
 */
const char *netns_enter(void);
/* True if another user (nobody) exists in there. */
bool netns_has_nobody(void);

/* Runs ip with these words. */
__attribute__((format(printf, 1, 2))) bool ip(const char *format, ...);
/* The same, whatever becomes of it; what it said. */
__attribute__((format(printf, 1, 2))) const char *ip_says(const char *format, ...);
/* Waits until what ip says has this text, or (`!there`) has not. */
bool ip_becomes(const char *words, const char *part, bool there);
bool netns_has(const char *interface);
/* Waits until it is gone: once a tap was still there right after its device had been removed. */
bool netns_loses(const char *interface);
/* Waits until the kernel hands this interface large TCP frames, or does not. */
bool netns_tso_becomes(const char *interface, bool on);

/*
 * A socket that sends through an interface what starts with an Ethernet header, and receives what
 * comes in by it of one EtherType. -1: the report knows.
 */
int wire_open(const char *interface, uint16_t type);
/* `header` NULL: a plain frame. */
bool wire_send(int fd, const struct virtio_net_hdr *header, const void *frame, size_t bytes);
/* The length, or -1 if none comes in time. */
int wire_receive(int fd, struct virtio_net_hdr *header, void *frame, size_t max, int timeout_ms);

/*
 * A TCP segment over IPv4 with `payload` bytes and its checksum left to do; `header` says so, and
 * that it is to be cut into pieces of `mss` if it is longer. Returns the length.
 */
uint32_t tcp_frame(uint8_t *frame, struct virtio_net_hdr *header, const uint8_t *to,
                   uint16_t port, uint32_t payload, uint16_t mss);
#define TCP_HEADERS 54u
/* The payload is as tcp_frame() wrote it from byte `at` on. */
bool tcp_payload_is(const uint8_t *frame, uint32_t bytes, uint32_t at);
/* The checksums in a segment are complete and right. */
bool tcp_sums_are_right(const uint8_t *frame, uint32_t bytes);

#endif
