/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.h - the control queues of a device with several ports (virtio 1.2, section 5.3.6.2).
 *
 *     driver: DEVICE_READY     we: DEVICE_ADD for each port
 *     driver: PORT_READY n     we: CONSOLE_PORT, PORT_NAME, RESIZE, PORT_OPEN for it
 *     driver: PORT_OPEN n      input may go there
 *
 * What is to be said about a port is a set of bits in port->pending, so it is bounded, and a value
 * that changes before it was sent is sent once. Thread: worker.
 */
#ifndef CONSOLE_CONTROL_H
#define CONSOLE_CONTROL_H

#include "port.h"

void control_init(struct console *console);

/* The driver has negotiated MULTIPORT. */
bool control_in_use(const struct console *console);

/* Takes the driver's messages. */
void control_receive(struct console *console);
/* Sends what is pending as far as the driver has given buffers. */
void control_send(struct console *console);

/* These send nothing if it is as before, or not of interest to the driver. */
void control_host_open(struct port *port, bool open);
void control_resized(struct port *port);

#endif
