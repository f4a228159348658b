/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * racer.h - what the racer plugin does with a chain, for those who drive it.
 *
 * A chain is RACER_BYTES readable and as many writable bytes; the device answers with the same
 * bytes, turned around (~). Every other chain is finished by a thread of the plugin.
 */
#ifndef TESTS_RACE_RACER_H
#define TESTS_RACE_RACER_H

#define RACER_BYTES 8u
#define RACER_QUEUES 2u
#define RACER_QUEUE_SIZE 64u
#define RACER_CONFIG 16u /* all bytes are the same at any moment */

#endif
