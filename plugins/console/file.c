/* SPDX-License-Identifier: BSD-3-Clause */
/* file.c - the back-end that appends output to a file, a log. It gives no input. */
#include "backend.h"
#include "drain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct log_file {
    struct drain drain;
    bool made; /* by us: it goes again if nothing comes of the device */
};

/* The descriptor, or a negative errno after hvv_error_option(). */
static int open_file(const struct port *port, bool *made)
{
    struct hvv_device *dev = port->console->dev;
    const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    struct stat st;
    int fd = open(port->path, flags | O_CREAT | O_EXCL, 0640);
    *made = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        fd = open(port->path, flags);
    if (fd < 0)
        return hvv_error_option(dev, errno, port->path_option, "the file %s cannot be written: %s; "
                                "choose another one", port->path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return hvv_error_option(dev, EINVAL, port->path_option, "%s is not a regular file: choose "
                            "another one, or another back-end", port->path);
}

static int32_t open_backend(struct port *port)
{
    struct log_file *file = calloc(1, sizeof(*file));
    if (!file)
        return hvv_error(port->console->dev, ENOMEM, "no memory for a file");
    int fd = open_file(port, &file->made);
    int32_t rc = fd < 0 ? fd : drain_start(&file->drain, port, -1, fd);
    if (rc < 0) {
        if (file->made)
            unlink(port->path);
        free(file);
        return rc;
    }
    port->backend_state = file;
    backend_describe(port, "file", port->path);
    return 0;
}

static void close_backend(struct port *port)
{
    struct log_file *file = port->backend_state;
    drain_stop(&file->drain, port);
    if (file->made && !port->console->published)
        unlink(port->path);
    free(file);
}

const struct backend_ops backend_file = {
    .name = "file",
    .needs_path = true,
    .open = open_backend,
    .close = close_backend,
};
