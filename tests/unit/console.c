/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console.c - tests of the console plugin: its pure parts, and the plugin on the harness where
 * a whole daemon would be slow to get there.
 */
#include "message.h"
#include "ring.h"
#include "spec.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <hvv/harness.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- ring ------------------------------------------------------------------------------------ */

/* Reads what a cursor has to give, at most `step` bytes at a time, into `text`. */
static uint64_t read_all(struct cursor *cursor, struct ring *ring, size_t step, char *text)
{
    struct iovec iov[RING_IOVECS];
    uint64_t missed = 0;
    size_t at = 0;
    while (cursor_behind(cursor, ring)) {
        int n = cursor_next(cursor, ring, iov, &missed);
        cr_assert(n >= 1 && n <= RING_IOVECS);
        size_t got = hvv_iov_read(iov, (uint32_t)n, 0, text + at, step);
        cr_assert(got > 0);
        cursor_advance(cursor, ring, got);
        at += got;
    }
    text[at] = '\0';
    return missed;
}

Test(ring, keeps_order_over_the_end)
{
    char memory[8], text[256];
    struct ring ring = {.bytes = memory, .size = sizeof(memory)};
    struct cursor cursor;
    cursor_start(&cursor, &ring, true);
    for (int i = 0; i < 100; i++) {
        char piece[8];
        int n = snprintf(piece, sizeof(piece), "%d", i * 37);
        cr_assert_eq(ring_put(&ring, piece, (size_t)n), 0);
        cr_assert_eq(read_all(&cursor, &ring, 1 + (size_t)i % 4, text), 0);
        cr_assert_str_eq(text, piece);
    }
}

Test(ring, drops_the_oldest_and_says_so)
{
    char memory[8], text[256];
    struct ring ring = {.bytes = memory, .size = sizeof(memory)};
    struct cursor cursor;
    cursor_start(&cursor, &ring, true);
    cr_assert_eq(ring_put(&ring, "abcdef", 6), 0);
    cr_assert_eq(ring_put(&ring, "ghijk", 5), 3); /* abc */
    cr_assert_eq(ring_put(&ring, "0123456789", 10), 10); /* d to k, 0 and 1 */
    cr_assert_eq(read_all(&cursor, &ring, 5, text), 13);
    cr_assert_str_eq(text, "\r\n[hvisor-vhost: 13 bytes of output dropped]\r\n23456789");
    cr_assert_eq(ring_put(&ring, "xyz", 3), 0, "what was read is not lost");
}

Test(ring, mark_in_the_middle)
{
    char memory[8], text[256];
    struct ring ring = {.bytes = memory, .size = sizeof(memory)};
    struct cursor cursor;
    struct iovec iov[RING_IOVECS];
    uint64_t missed = 0;
    cursor_start(&cursor, &ring, true);
    ring_put(&ring, "abcdefghij", 10);
    cr_assert_eq(cursor_next(&cursor, &ring, iov, &missed), 3);
    cr_assert_eq(cursor_advance(&cursor, &ring, 5), 0); /* a part of the mark is out */
    ring_put(&ring, "klm", 3);
    cr_assert_eq(cursor_next(&cursor, &ring, iov, &missed), 1, "output before its own mark");
    cr_assert_eq(cursor_advance(&cursor, &ring, iov[0].iov_len), 0);
    read_all(&cursor, &ring, 100, text);
    cr_assert_str_eq(text, "\r\n[hvisor-vhost: 3 bytes of output dropped]\r\nfghijklm");
    cr_assert_eq(missed, 5);
}

Test(ring, mark_that_nobody_saw_grows)
{
    char memory[4], text[256];
    struct ring ring = {.bytes = memory, .size = sizeof(memory)};
    struct cursor cursor;
    struct iovec iov[RING_IOVECS];
    uint64_t missed = 0;
    cursor_start(&cursor, &ring, true);
    ring_put(&ring, "abcde", 5);
    cursor_next(&cursor, &ring, iov, &missed);
    ring_put(&ring, "fg", 2);
    read_all(&cursor, &ring, 1, text);
    cr_assert_str_eq(text, "\r\n[hvisor-vhost: 3 bytes of output dropped]\r\ndefg");
}

Test(ring, replay)
{
    char memory[8], text[256];
    struct ring ring = {.bytes = memory, .size = sizeof(memory)};
    struct cursor first, second;
    ring_put(&ring, "0123456789", 10);
    cursor_start(&first, &ring, true); /* came too late for two */
    read_all(&first, &ring, 100, text);
    cr_assert_str_eq(text, "\r\n[hvisor-vhost: 2 bytes of output dropped]\r\n23456789");
    cursor_start(&second, &ring, true); /* those two are no news any more, the rest comes again */
    read_all(&second, &ring, 100, text);
    cr_assert_str_eq(text, "23456789");
    ring_put(&ring, "ab", 2);
    cursor_start(&second, &ring, false); /* only what nobody got */
    read_all(&second, &ring, 100, text);
    cr_assert_str_eq(text, "ab");
    cursor_start_at_end(&second, &ring);
    cr_assert(!cursor_behind(&second, &ring));
}

Test(ring, room)
{
    char memory[8], text[256];
    struct ring ring = {.bytes = memory, .size = sizeof(memory)};
    struct cursor cursor;
    cursor_start(&cursor, &ring, false);
    cr_assert_eq(ring_room(&ring, cursor.pos), 8);
    ring_put(&ring, "abcdef", 6);
    cr_assert_eq(ring_room(&ring, cursor.pos), 2);
    read_all(&cursor, &ring, 100, text);
    cr_assert_eq(ring_room(&ring, cursor.pos), 8);
    cr_assert_eq(ring_skip(&ring, 100), 100);
    ring_put(&ring, "z", 1);
    cr_assert_eq(ring_room(&ring, ring.taken), 7);
    cr_assert_eq(read_all(&cursor, &ring, 100, text), 100);
}

/* ---- messages -------------------------------------------------------------------------------- */

Test(message, read)
{
    const uint8_t wire[] = {4, 3, 2, 1, 6, 0, 1, 0, 99};
    struct message message;
    for (size_t cut = 0; cut <= sizeof(wire); cut++) {
        struct iovec iov[2] = {{(void *)(uintptr_t)wire, cut},
                               {(void *)(uintptr_t)(wire + cut), sizeof(wire) - cut}};
        cr_assert_eq(message_read(&message, iov, 2), 0);
        cr_assert(message.port == 0x01020304 && message.event == 6 && message.value == 1);
        cr_assert_eq(message_read(&message, iov, 1), cut < 8 ? -EBADMSG : 0);
    }
}

Test(message, write)
{
    char out[MESSAGE_MAX];
    const struct message message = {.port = 2, .event = VIRTIO_CONSOLE_PORT_OPEN, .value = 1};
    cr_assert_eq(message_write(out, &message), 8);
    cr_assert_arr_eq(out, "\2\0\0\0\6\0\1\0", 8);
    cr_assert_eq(message_write_name(out, 3, "agent"), 13);
    cr_assert_arr_eq(out, "\3\0\0\0\7\0\1\0agent", 13);
    const struct message_size size = {.columns = 80, .rows = 24};
    cr_assert_eq(message_write_size(out, 1, size, 0), 12);
    cr_assert_arr_eq(out, "\1\0\0\0\5\0\0\0\120\0\30\0", 12);
    cr_assert_eq(message_write_size(out, 1, size, 1), 12);
    cr_assert_arr_eq(out + 8, "\30\0\120\0", 4);
}

/* ---- the option `port` ----------------------------------------------------------------------- */

Test(spec, good)
{
    static const struct {
        const char *text, *name, *backend, *path;
        bool console, lossless;
    } rows[] = {
        {"a", "a", "", NULL, false, false},
        {"a:pty", "a", "pty", NULL, false, false},
        {"log.1:file:/var/log/a:b,c", "log.1", "file", "/var/log/a:b,c", false, false},
        {"two:console", "two", "", NULL, true, false},
        {"two:console:socket:/x", "two", "socket", "/x", true, false},
        {"org.qemu.agent:lossless:socket", "org.qemu.agent", "socket", NULL, false, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct port_spec spec;
        char error[256] = "";
        cr_assert_eq(port_spec_parse(&spec, rows[i].text, error, sizeof(error)), 0, "%s: %s",
                     rows[i].text, error);
        cr_assert_str_eq(spec.name, rows[i].name);
        cr_assert_str_eq(spec.backend, rows[i].backend);
        cr_assert(spec.console == rows[i].console && spec.lossless == rows[i].lossless);
        cr_assert(rows[i].path ? spec.path && strcmp(spec.path, rows[i].path) == 0 : !spec.path);
    }
}

Test(spec, bad)
{
    static const char *const rows[][2] = {
        {"", "name"}, {":pty", "name"}, {"a b:pty", "name"}, {"a/b", "name"}, {"..", "name"},
        {"a:tty", "none of"}, {"a:pty:x", "does not start"}, {"a:console:lossless", "lossless"},
        {"a::pty", "none of"}, {"a:thiswordismuchtoolong", "none of"},
        {"0123456789012345678901234567890123456789012345678901234567890123", "name"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct port_spec spec;
        char error[256] = "";
        cr_assert_eq(port_spec_parse(&spec, rows[i][0], error, sizeof(error)), -EINVAL, "%s",
                     rows[i][0]);
        cr_assert(strstr(error, rows[i][1]), "%s: %s", rows[i][0], error);
    }
}

/* ---- the plugin ------------------------------------------------------------------------------ */

struct rig {
    char dir[64], path[80];
    struct hvv_harness h;
};

static void rig_open(struct rig *rig, const char *options)
{
    char spec[256];
    memset(rig, 0, sizeof(*rig));
    snprintf(rig->dir, sizeof(rig->dir), "/tmp/hvv-console-XXXXXX");
    cr_assert(mkdtemp(rig->dir));
    snprintf(rig->path, sizeof(rig->path), "%s/out", rig->dir);
    snprintf(spec, sizeof(spec), "backend=file,path=%s,%s", rig->path, options);
    cr_assert_eq(hvv_harness_open(&rig->h, hvv_plugin_v1(), spec), 0, "%s", rig->h.error);
    hvv_harness_start(&rig->h);
}

/* Closes; returns how many bytes the file has. */
static off_t rig_close(struct rig *rig)
{
    struct stat st = {0};
    cr_assert(hvv_harness_close(&rig->h), "something was left behind");
    cr_assert(stat(rig->path, &st) == 0 && unlink(rig->path) == 0 && rmdir(rig->dir) == 0);
    return st.st_size;
}

static struct hvv_harness_chain *send(struct rig *rig, const struct iovec *iov, uint32_t n)
{
    struct hvv_harness_chain *chain = hvv_harness_send(&rig->h, 1, iov, n, NULL, 0);
    hvv_harness_kick(&rig->h, 1);
    cr_assert(hvv_harness_wait(&rig->h, chain), "output was not taken");
    cr_assert_eq(chain->written, 0);
    return chain;
}

Test(plugin, output_of_any_shape)
{
    struct rig rig;
    char bytes[3][5000];
    struct iovec iov[] = {{bytes[0], 1}, {bytes[1], 5000}, {bytes[2], 4096}};
    memset(bytes, 'x', sizeof(bytes));
    rig_open(&rig, "ring=64K");
    send(&rig, iov, 3);
    send(&rig, iov, 0); /* nothing at all is allowed */
    cr_assert_eq(hvv_harness_counter(&rig.h, "output-bytes"), 9097);
    cr_assert_eq(rig_close(&rig), 9097);
}

/* More than the pipe to the file holds, which nobody has had time to write. */
Test(plugin, rest_is_written_at_the_end)
{
    struct rig rig;
    static char bytes[1u << 20];
    struct iovec iov = {bytes, sizeof(bytes)};
    rig_open(&rig, "ring=2M");
    send(&rig, &iov, 1);
    cr_assert_eq(hvv_harness_counter(&rig.h, "dropped-bytes"), 0);
    cr_assert_eq(rig_close(&rig), sizeof(bytes));
}

/* The same memory many times over: what cannot be kept is not even looked at. */
Test(plugin, output_of_almost_4_gib, .timeout = 60)
{
    struct rig rig;
    static char bytes[4u << 20];
    struct iovec iov[1000];
    for (size_t i = 0; i < 1000; i++)
        iov[i] = (struct iovec){bytes, sizeof(bytes)};
    rig_open(&rig, "ring=4K");
    send(&rig, iov, 1000);
    uint64_t out = hvv_harness_counter(&rig.h, "output-bytes");
    cr_assert_eq(out, 1000ull * sizeof(bytes));
    cr_assert_gt(hvv_harness_counter(&rig.h, "dropped-bytes"), out - (1u << 20));
    rig_close(&rig);
}

Test(plugin, receive_buffer_without_room)
{
    struct rig rig;
    char byte = 'x', value[4] = {'!'};
    struct iovec iov = {&byte, 1};
    rig_open(&rig, "columns=132");
    cr_assert_eq(rig.h.config_size, sizeof(struct virtio_console_config));
    cr_assert_eq(rig.h.config[0], 132);
    struct hvv_harness_chain *chain = hvv_harness_send(&rig.h, 0, &iov, 1, NULL, 0);
    hvv_harness_kick(&rig.h, 0); /* there is no input: the chain is not even popped */
    cr_assert(!hvv_harness_done(&rig.h, chain));
    hvv_harness_config_write(&rig.h, 8, value, 4);
    hvv_harness_config_write(&rig.h, 4, value, 4); /* before it: not ours */
    hvv_harness_config_write(&rig.h, 11, value, 1);
    cr_assert_eq(hvv_harness_counter(&rig.h, "emergency-bytes"), 1);
    cr_assert_eq(rig_close(&rig), 1);
}
