/* SPDX-License-Identifier: BSD-3-Clause */
/* zone.h - zones as the words of a command line, and as hvisor-tool's files. One thread. */
#ifndef HOST_CTL_ZONE_H
#define HOST_CTL_ZONE_H

#include <jansson.h>

/*
 * ID [platform=P] [memory=HOST,GUEST,SIZE]... [slot=ADDR,LEN,IRQ]... as zone.add wants it. The
 * numbers are the daemon's to check. NULL after complaining.
 */
json_t *zone_from_words(char *const *words, unsigned n);

/*
 * What hvisor-tool's files say, as device.add wants it: their zones, and the devices that are
 * enabled. Warnings go to stderr. NULL after complaining.
 */
json_t *zone_from_files(char *const *paths, unsigned n);

#endif
