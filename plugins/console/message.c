/* SPDX-License-Identifier: BSD-3-Clause */
/* message.c - see message.h. */
#include "message.h"

#include <endian.h>
#include <errno.h>
#include <hvv/iov.h>
#include <linux/virtio_console.h>
#include <string.h>

int message_read(struct message *message, const struct iovec *iov, uint32_t n)
{
    struct virtio_console_control wire;
    if (hvv_iov_read(iov, n, 0, &wire, sizeof(wire)) < sizeof(wire))
        return -EBADMSG;
    message->port = le32toh(wire.id);
    message->event = le16toh(wire.event);
    message->value = le16toh(wire.value);
    return 0;
}

size_t message_write(char *out, const struct message *message)
{
    struct virtio_console_control wire = {
        .id = htole32(message->port),
        .event = htole16(message->event),
        .value = htole16(message->value),
    };
    memcpy(out, &wire, sizeof(wire));
    return sizeof(wire);
}

size_t message_write_name(char *out, uint32_t port, const char *name)
{
    struct message header = {.port = port, .event = VIRTIO_CONSOLE_PORT_NAME, .value = 1};
    size_t at = message_write(out, &header), len = strnlen(name, MESSAGE_NAME_MAX);
    memcpy(out + at, name, len);
    return at + len;
}

size_t message_write_size(char *out, uint32_t port, struct message_size size, int rows_first)
{
    struct message header = {.port = port, .event = VIRTIO_CONSOLE_RESIZE};
    size_t at = message_write(out, &header);
    uint16_t wire[2] = {htole16(rows_first ? size.rows : size.columns),
                        htole16(rows_first ? size.columns : size.rows)};
    memcpy(out + at, wire, sizeof(wire));
    return at + sizeof(wire);
}
