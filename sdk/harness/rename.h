/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rename.h - other names for the daemon's parser, which is part of the harness library: a plugin
 * under test may have a spec_parse() of its own. Included into each of the library's files by the
 * compiler's command line; tests/check/headers.sh looks for names that are missing here.
 */
#ifndef HVVH_RENAME_H
#define HVVH_RENAME_H

#define error_device hvvh_error_device
#define error_option hvvh_error_option
#define error_set hvvh_error_set
#define error_vset hvvh_error_vset
#define option_at hvvh_option_at
#define option_find hvvh_option_find
#define option_parse hvvh_option_parse
#define option_range hvvh_option_range
#define option_type_name hvvh_option_type_name
#define options_check hvvh_options_check
#define options_check_table hvvh_options_check_table
#define options_clear hvvh_options_clear
#define options_count hvvh_options_count
#define options_given hvvh_options_given
#define options_string hvvh_options_string
#define options_u64 hvvh_options_u64
#define path_absolute hvvh_path_absolute
#define similar_try hvvh_similar_try
#define spec_add hvvh_spec_add
#define spec_clear hvvh_spec_clear
#define spec_format hvvh_spec_format
#define spec_init hvvh_spec_init
#define spec_option_name_ok hvvh_spec_option_name_ok
#define spec_parse hvvh_spec_parse
#define spec_plugin_name_ok hvvh_spec_plugin_name_ok

#endif
