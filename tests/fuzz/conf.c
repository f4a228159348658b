/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf.c - fuzz target: the text of a configuration file, through conf_scan() and libconfig into
 * the settings. libconfig ends the process when it is unhappy: here that is a finding.
 */
#include "conf/conf-file.h"

#include "input.h"

#include <sys/mman.h>
#include <unistd.h>

static void check_conf(const struct conf *conf)
{
    must(conf->workers <= CONF_WORKERS_MAX, "%u workers", conf->workers);
    must(conf->log_level <= 3, "log level %u", conf->log_level);
    must(!conf->control || conf->control[0] == '/', "control is no absolute path");
    must(!conf->socket_dir || conf->socket_dir[0] == '/', "socket_dir is no absolute path");
    for (size_t i = 0; i < conf->n_plugin_dirs; i++)
        must(conf->plugin_dirs[i][0] == '/', "a plugin directory is no absolute path");
    for (size_t i = 0; i < conf->n_devices; i++)
        must(spec_plugin_name_ok(conf->devices[i].plugin), "a device without a plugin");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[32];
    struct conf conf = {0};
    struct error error = {0};
    if (fd < 0)
        fd = memfd_create("conf", MFD_CLOEXEC);
    must(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size,
         "no memory for the file");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int rc = conf_file_read(&conf, path, "/", &error);
    must(rc <= 0, "%d", rc);
    must(rc == 0 ? !error.err : error.err == -rc && error.text[0], "%d, but error %d: %s", rc,
         error.err, error.text);
    check_conf(&conf);
    conf_clear(&conf);
    return 0;
}
