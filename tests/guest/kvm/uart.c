/* SPDX-License-Identifier: BSD-3-Clause */
/* uart.c - the zone's console, see uart.h. */
#include "uart.h"

#include <stdio.h>

/* Registers. */
#define DATA 0x00
#define FLAGS 0x18
#define INTERRUPTS_ENABLED 0x38
#define INTERRUPTS_RAW 0x3c
#define INTERRUPTS_MASKED 0x40

#define RECEIVE_EMPTY (1u << 4) /* of FLAGS */
#define TRANSMIT_EMPTY (1u << 7)
#define RECEIVED (1u << 4)      /* of the interrupt registers */
#define TRANSMITTED (1u << 5)
#define RECEIVE_TIMEOUT (1u << 6)

void uart_init(struct uart *u, void (*set_line)(void *arg, bool level), void *arg)
{
    *u = (struct uart){.set_line = set_line, .arg = arg};
    pthread_mutex_init(&u->lock, NULL);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

/* What is written is gone at once, so there is always room for more. */
static uint32_t raw_interrupts(const struct uart *u)
{
    return TRANSMITTED | (u->n > 0 ? RECEIVED | RECEIVE_TIMEOUT : 0);
}

static void update_line(struct uart *u)
{
    bool line = raw_interrupts(u) & u->enabled;

    if (line != u->line)
        u->set_line(u->arg, line);
    u->line = line;
}

static uint32_t take_input(struct uart *u)
{
    if (u->n == 0)
        return 0;
    unsigned char byte = (unsigned char)u->input[u->first];
    u->first = (u->first + 1) % UART_ROOM;
    u->n--;
    update_line(u);
    return byte;
}

uint32_t uart_read(struct uart *u, uint64_t offset)
{
    uint32_t value = 0;

    pthread_mutex_lock(&u->lock);
    switch (offset) {
    case DATA: value = take_input(u); break;
    case FLAGS: value = TRANSMIT_EMPTY | (u->n == 0 ? RECEIVE_EMPTY : 0); break;
    case INTERRUPTS_ENABLED: value = u->enabled; break;
    case INTERRUPTS_RAW: value = raw_interrupts(u); break;
    case INTERRUPTS_MASKED: value = raw_interrupts(u) & u->enabled; break;
    }
    pthread_mutex_unlock(&u->lock);
    return value;
}

/* Nothing has to be cleared: the interrupts say how things are. */
void uart_write(struct uart *u, uint64_t offset, uint32_t value)
{
    pthread_mutex_lock(&u->lock);
    if (offset == DATA) {
        putchar((int)(value & 0xff));
    } else if (offset == INTERRUPTS_ENABLED) {
        u->enabled = value;
        update_line(u);
    }
    pthread_mutex_unlock(&u->lock);
}

size_t uart_room(struct uart *u)
{
    pthread_mutex_lock(&u->lock);
    size_t room = UART_ROOM - u->n;
    pthread_mutex_unlock(&u->lock);
    return room;
}

void uart_input(struct uart *u, const char *bytes, size_t n)
{
    pthread_mutex_lock(&u->lock);
    for (size_t i = 0; i < n && u->n < UART_ROOM; i++)
        u->input[(u->first + u->n++) % UART_ROOM] = bytes[i];
    update_line(u);
    pthread_mutex_unlock(&u->lock);
}
