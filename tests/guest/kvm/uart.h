/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uart.h - the zone's console: a UART as Arm's Server Base System Architecture describes it, which
 * is what is left of a PL011 when speed and modem lines are somebody else's business. What the zone
 * says goes to stdout; what it is to read comes in by uart_input().
 */
#ifndef UART_H
#define UART_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART_ROOM 4096

struct uart {
    pthread_mutex_t lock;        /* any vCPU, and who calls uart_input() */
    char input[UART_ROOM];       /* not read by the zone yet, from `first` on, `n` of them */
    size_t first, n;
    uint32_t enabled;            /* interrupts */
    bool line;                   /* what the interrupt line is at */
    void (*set_line)(void *arg, bool level);
    void *arg;
};

void uart_init(struct uart *u, void (*set_line)(void *arg, bool level), void *arg);
uint32_t uart_read(struct uart *u, uint64_t offset);
void uart_write(struct uart *u, uint64_t offset, uint32_t value);

/* How many bytes uart_input() can take. */
size_t uart_room(struct uart *u);
void uart_input(struct uart *u, const char *bytes, size_t n);

#endif
