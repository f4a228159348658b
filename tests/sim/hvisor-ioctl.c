/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hvisor-ioctl.c - preloaded into the daemon: ioctls on the file $HVV_HVISOR_DEVICE go to the
 * simulated hypervisor (hvisor-ioctl.h), all others to the kernel. Any thread.
 */
#include "hvisor-ioctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_device(int fd, const char *path)
{
    struct stat one, other;

    return fstat(fd, &one) == 0 && stat(path, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

static int call_hypervisor(const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(to.sun_path, sizeof(to.sun_path), "%s" HVISOR_IOCTL_SOCKET, path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool send_request(int fd, const struct hvisor_ioctl *request, int eventfd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { (void *)(uintptr_t)request, sizeof(*request) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    memset(&control, 0, sizeof(control));
    if (request->request == HVISOR_SET_EVENTFD) {
        struct cmsghdr *c = &control.align;

        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &eventfd, sizeof(eventfd));
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(*request);
}

static int ask(const char *path, const struct hvisor_ioctl *request, int eventfd)
{
    struct hvisor_ioctl_answer answer = { -ENXIO }; /* the machine is gone */
    int fd = call_hypervisor(path);
    ssize_t n = -1;

    if (fd < 0)
        return -ENXIO;
    if (send_request(fd, request, eventfd))
        do
            n = recv(fd, &answer, sizeof(answer), 0);
        while (n < 0 && errno == EINTR);
    close(fd);
    return n == (ssize_t)sizeof(answer) ? answer.value : -ENXIO;
}

int ioctl(int fd, unsigned long number, ...)
{
    const char *path = getenv(HVISOR_IOCTL_DEVICE);
    struct hvisor_ioctl request = { .request = (uint32_t)number };
    uintptr_t arg;
    va_list args;
    int value;

    va_start(args, number);
    arg = va_arg(args, uintptr_t);
    va_end(args);
    if (!path || !is_device(fd, path))
        return (int)syscall(SYS_ioctl, fd, number, arg);
    if (number == HVISOR_DEASSERT_IRQ) {
        request.zone = ((const uint32_t *)arg)[0];
        request.irq = ((const uint32_t *)arg)[1];
    }
    value = ask(path, &request, (int)arg);
    if (value >= 0)
        return value;
    errno = -value;
    return -1;
}
