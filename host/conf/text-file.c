/* SPDX-License-Identifier: BSD-3-Clause */
/* text-file.c - see text-file.h. */
#include "conf/text-file.h"

#include "conf/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_fd(int fd, const char *path, char *text, struct error *error)
{
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, text + len, TEXT_FILE_MAX + 1 - len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(error, errno, "cannot read %.200s: %s", path, strerror(errno));
        len += (size_t)n;
        if (len > TEXT_FILE_MAX)
            return error_set(error, EFBIG, "%.200s is larger than the %u bytes a configuration "
                             "file can have: is it the right file?", path, TEXT_FILE_MAX);
    }
    text[len] = '\n';
    text[len + 1] = '\0';
    if (strlen(text) != len + 1)
        return error_set(error, EINVAL, "%.200s has a zero byte, so it is no text: is it the right "
                         "file?", path);
    return 0;
}

int text_file_read(char **text, const char *path, struct error *error)
{
    char *bytes = malloc(TEXT_FILE_MAX + 3);
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory for %.200s", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? error_set(error, errno, "cannot open %.200s: %s", path, strerror(errno))
                    : read_fd(fd, path, bytes, error);
    if (fd >= 0)
        close(fd);
    if (rc < 0)
        free(bytes);
    else
        *text = bytes;
    return rc;
}

int text_file_dir(char **dir, const char *path, const char *cwd, const char *name,
                  struct error *error)
{
    int rc = path_absolute(dir, path, cwd, name, error);
    if (rc < 0)
        return rc;
    char *slash = strrchr(*dir, '/');
    slash[slash == *dir] = '\0'; /* "/" stays */
    return 0;
}
