/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * source.h - where events come from: an event device, or a FIFO or socket in its place. Opened in
 * create(), used on the worker.
 */
#ifndef INPUT_SOURCE_H
#define INPUT_SOURCE_H

#include <hvv/plugin.h>
#include <linux/input.h>
#include <stdbool.h>

struct source {
    int fd;         /* not blocking; what is read are struct input_event */
    bool is_evdev;
    bool has_leds;  /* can be written to */
    char name[128], serial[128];
    struct input_id id;
    uint8_t props[(INPUT_PROP_CNT + 7) / 8];
    uint8_t bits[EV_CNT][KEY_CNT / 8]; /* codes of each type of event; keys are the most */
    struct input_absinfo abs[ABS_CNT];
};

/* Opens what the options say. 0, or a negative errno after hvv_error_option(). */
int32_t source_open(struct source *source, struct hvv_device *dev);
void source_close(struct source *source);

/* Has the source events of this type and code? */
bool source_has(const struct source *source, uint16_t type, uint16_t code);

/* Sets the bits of the keys that are down now, if the source can tell. */
void source_keys(const struct source *source, uint8_t *bits, size_t size);

/* Writes a packet of one event to the source. False if that is not possible now. */
bool source_write(const struct source *source, uint16_t type, uint16_t code, int32_t value);

#endif
