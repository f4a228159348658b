/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * console.h - the rows of console.c, and what they share. Main thread.
 *
 * Functions that return bool or a descriptor have told the report why it is false or -1.
 */
#ifndef FLOW_CONSOLE_H
#define FLOW_CONSOLE_H

#include "condev.h"
#include "report.h"

#include <stdbool.h>
#include <stddef.h>

#define TIMEOUT_MS 15000
#define MIB (1u << 20)
/* Queues: of the first port, and of the second. */
#define RX 0u
#define TX 1u
#define AGENT_RX 4u
#define AGENT_TX 5u

/* ---- console-people.c ------------------------------------------------------------------------ */

extern struct condev guest;

/* Something that looks like text and differs everywhere. */
char *pattern(size_t n);
/* As poll(). */
int wait_fd(int fd, short events, int timeout_ms);
/*
 * Reads until the bytes end with `end`; what was read is in `text`. Into a small one byte by byte,
 * so that what comes next is left.
 */
bool read_until(int fd, char *text, size_t size, const char *end);
bool write_fd(int fd, const char *bytes, size_t n);
/* Files of the daemon's directory: a pty, a socket. */
int open_tty(const struct daemon *d, const char *name);
int connect_to(const struct daemon *d, const char *name);
/* A new terminal: the side of the person, and the name of the other one. */
int open_terminal(char name[64]);
/* In a child: the terminal becomes its own. */
void use_terminal(const char *name);
bool handshake(struct condev *c, unsigned ports);
/* What Linux does for a port that is no console: ready, opened when somebody opens the file. */
bool open_channel(struct condev *c, uint32_t port, const char *name, int host_open);

/* ---- rows ------------------------------------------------------------------------------------ */

/* console-stream.c */
void console_pty(struct daemon *d);
void console_default_link(struct daemon *d);
void console_input_waits(struct daemon *d);
void console_input_survives_guests(struct daemon *d);
void console_output_without_reader(struct daemon *d);
void console_slow_reader(struct daemon *d);

/* console-port.c */
void console_socket_both_ways(struct daemon *d);
void console_lossless_waits(struct daemon *d);
void console_client_leaves_early(struct daemon *d);
void console_client_waits_for_turn(struct daemon *d);
void console_multiport(struct daemon *d);
void console_emergency(struct daemon *d);
void console_resize(struct daemon *d);
void console_events(struct daemon *d);
void console_bad_driver(struct daemon *d);

/* console-terminal.c */
void console_terminals(struct daemon *d);
void console_escape_key(struct daemon *d);
void console_too_many(struct daemon *d);
void console_standard_terminal(struct daemon *d);

/* console-file.c */
void console_file(struct daemon *d);
void console_file_full(struct daemon *d);
void console_standard_output(struct daemon *d);
void console_refusals(struct daemon *d);
void console_in_use(struct daemon *d);
void console_console_and_wrong_blk(struct daemon *d);
void console_left_behind(struct daemon *d);

#endif

