/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer-fd.h - descriptors that a peer handed over: how they come, and kick, call and error
 * descriptors used without ever blocking.
 *
 * O_NONBLOCK belongs to the open file, which the peer still has and can change at any moment. So it
 * is not relied on: each kind of file has a way of its own not to wait.
 */
#ifndef HOST_TRANSPORT_PEER_FD_H
#define HOST_TRANSPORT_PEER_FD_H

struct msghdr;

/*
 * Takes the descriptors that came with a received message: adds them to the *n that `fds` has, of
 * `max` at most, and closes the rest. 0, or -1 if there were too many.
 */
int peer_fds_take(struct msghdr *message, int *fds, unsigned max, unsigned *n);

/* A descriptor and, in one more bit, that it is a socket; so that both change as one. -1: none. */
#define PEER_FD_SOCKET (1 << 30)

/*
 * Takes `fd` over: an eventfd or a socket as it is, of a pipe an open file of our own. Returns the
 * peer's descriptor for the functions below, or -EINVAL after closing it: anything else, a file say,
 * cannot be waited for.
 */
int peer_fd_take(int fd);
void peer_fd_close(int peer); /* -1 is fine */
int peer_fd_number(int peer); /* the plain descriptor, to watch it */

/* Takes notifications. 1, 0 if there are none now, -errno, -ENODATA at the end of a stream. */
int peer_fd_drain(int peer);

/* Signals. 0, also if it is full: the peer has been told and has not looked yet. Or -errno. */
int peer_fd_signal(int peer);

#endif
