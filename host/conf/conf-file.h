/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf-file.h - a configuration file (hvisor-vhost.conf(5)) into a struct conf. Main thread, before
 * there are others.
 */
#ifndef HOST_CONF_CONF_FILE_H
#define HOST_CONF_CONF_FILE_H

#include "conf/conf.h"

/*
 * Stores what the file at `path` says; relative paths in it are relative to its directory, `path`
 * itself to `cwd`. 0, or -errno with error set, which starts with FILE:LINE where there is one.
 */
int conf_file_read(struct conf *conf, const char *path, const char *cwd, struct error *error);

#endif
