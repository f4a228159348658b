/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * message.h - the messages of the control queues (virtio 1.2, section 5.3.6.2) as bytes. Pure.
 */
#ifndef CONSOLE_MESSAGE_H
#define CONSOLE_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define MESSAGE_NAME_MAX 63u /* bytes of a port's name */
#define MESSAGE_MAX (8u + MESSAGE_NAME_MAX)

struct message {
    uint32_t port;
    uint16_t event; /* VIRTIO_CONSOLE_* of linux/virtio_console.h */
    uint16_t value;
};

struct message_size {
    uint16_t columns, rows;
};

/* Reads the driver's message; -EBADMSG if it is shorter than a header. What follows is ignored. */
int message_read(struct message *message, const struct iovec *iov, uint32_t n);

/* These fill in `out`, of MESSAGE_MAX bytes, and return the length. */
size_t message_write(char *out, const struct message *message);
size_t message_write_name(char *out, uint32_t port, const char *name);
/* `rows_first`: in the other order, which Linux expected for years. */
size_t message_write_size(char *out, uint32_t port, struct message_size size, int rows_first);

#endif
