/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf-format.h - the other direction: what a daemon has, as the text of a configuration file that
 * starts it again. Pure. Any thread.
 */
#ifndef HOST_CONF_CONF_FORMAT_H
#define HOST_CONF_CONF_FORMAT_H

#include "conf/conf.h"
#include "conf/options.h"

/*
 * The text, which the caller frees; NULL: out of memory. Settings are those of `conf`, or left out
 * if that is NULL; zones and devices are those given here, not those in `conf`. conf_file_read()
 * of the text gives the same again.
 */
char *conf_format(const struct conf *conf, const struct zone_plans *zones,
                  const struct spec *const *devices, size_t n_devices);

/*
 * The options a device works with, as a spec to create it once more anywhere: absolute paths, and
 * the id it has. Defaults are left out. 0, or -errno with error set and `spec` empty.
 */
int conf_format_spec(struct spec *spec, const char *plugin, const char *id,
                     const struct options *options, struct error *error);

#endif
