/* SPDX-License-Identifier: BSD-3-Clause */
/* peer-fd.c - see peer-fd.h. Any thread. */
#include "transport/peer-fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const uint64_t one = 1;

/* What did not fit into the room that the receiver gave is closed by the kernel, which says so. */
int peer_fds_take(struct msghdr *message, int *fds, unsigned max, unsigned *n)
{
    int rc = message->msg_flags & MSG_CTRUNC ? -1 : 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (*n < max) {
                fds[(*n)++] = fd;
            } else {
                close(fd);
                rc = -1;
            }
        }
    }
    return rc;
}

int peer_fd_number(int peer)
{
    return peer & ~PEER_FD_SOCKET;
}

void peer_fd_close(int peer)
{
    if (peer >= 0)
        close(peer_fd_number(peer));
}

/* A second open file of the same pipe has its own flags. */
static int reopen_pipe(int fd, int flags)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC);
    close(fd);
    return own < 0 ? -EINVAL : own;
}

int peer_fd_take(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (fstat(fd, &st) == 0 && flags >= 0 && !(flags & O_PATH)) {
        if (S_ISFIFO(st.st_mode))
            return reopen_pipe(fd, flags);
        if (S_ISSOCK(st.st_mode))
            return fd | PEER_FD_SOCKET;
        if ((st.st_mode & S_IFMT) == 0) { /* an anonymous inode: an eventfd, or as good as one */
            fcntl(fd, F_SETFL, flags | O_NONBLOCK);
            return fd;
        }
    }
    close(fd);
    return -EINVAL;
}

int peer_fd_drain(int peer)
{
    uint64_t count;
    struct iovec iov = {&count, sizeof(count)};
    ssize_t n;
    if (peer & PEER_FD_SOCKET)
        n = recv(peer_fd_number(peer), &count, sizeof(count), MSG_DONTWAIT);
    else
        n = preadv2(peer, &iov, 1, -1, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP) /* a kernel before 5.8: O_NONBLOCK has to do */
        n = read(peer, &count, sizeof(count));
    if (n > 0)
        return 1;
    if (n == 0)
        return -ENODATA;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/*
 * An eventfd has no write that does not wait, but it is writable unless its count is at the very end;
 * then the peer has not looked for a long time.
 */
static ssize_t signal_file(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
        return 0;
    return write(fd, &one, sizeof(one));
}

int peer_fd_signal(int peer)
{
    ssize_t n = peer & PEER_FD_SOCKET ? send(peer_fd_number(peer), &one, sizeof(one),
                                             MSG_DONTWAIT | MSG_NOSIGNAL)
                                      : signal_file(peer);
    return n >= 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
}
