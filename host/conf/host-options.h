/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host-options.h - the options every device has, whatever its plugin: what it is called and where it
 * goes. Apart from what makes devices, for the checker of plugins knows them too. Constant.
 */
#ifndef HOST_CONF_HOST_OPTIONS_H
#define HOST_CONF_HOST_OPTIONS_H

#include "conf/option.h"

extern const struct option_table host_options;

#endif
