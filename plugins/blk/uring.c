/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uring.c - the io_uring engine: one ring for each queue, touched only by the worker of that queue
 * (and by the builder thread while the device is not published).
 *
 *     submit   tries reads that are likely in the page cache at once, without the ring;
 *              else fills in one submission entry
 *     flush    hands all entries of a batch to the kernel with one system call
 *     reap     takes completions: from poll() while the worker is busy, from a watch on the ring's
 *              descriptor while it sleeps. Neither needs a system call of ours
 *
 * A request has at most one entry in the ring, and the completion side has room for one per request
 * a queue can hold, so it cannot overflow. Requests that find the submission side full for good, or
 * no free bounce buffer, wait in a list; whatever ends makes room for them.
 */
#include "file.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#define RING_ENTRIES_MAX 256u
#define REAP_BATCH 32u
#define SLOTS 32u                   /* bounce buffers of one queue */
#define INLINE_BYTES (128u << 10)   /* larger transfers would keep the worker too long */
#define LARGE_BYTES (64u << 10)     /* copying so much is worth another core's help, if in a row */
#define LARGE_AWAY 2u               /* ...of this many of the kernel's threads at once */
#define INLINE_MISSES 4u            /* so many in a row that would block: stop trying... */
#define INLINE_PAUSE 128u           /* ...for so many requests */
#define RETRY_NS 5000000u           /* the kernel took no entries: try again after 5 ms */

/* Trying without the ring, for one direction. */
struct attempt {
    bool never;
    uint32_t misses;
    uint32_t pause;
};

struct uring {
    struct io_uring ring;
    bool ring_ok;
    bool fixed;                /* the image is registered file 0 of the ring */
    bool stopping;
    struct file *file;
    uint32_t queue;
    uint32_t in_ring;          /* requests the ring holds */
    bool large_here;           /* this turn came to a large read before */
    struct hvv_watch *watch;
    struct hvv_timer *retry;
    struct attempt attempt[2]; /* STEP_READ, STEP_WRITE */
    struct request *waiting;   /* oldest first */
    struct request **waiting_end;
    uint8_t *buffers;          /* SLOTS bounce buffers, for direct I/O only */
    void *slot[SLOTS];         /* the free ones */
    uint32_t free_slots;
};

/* ---- Into the ring --------------------------------------------------------------------------- */

static void wait_append(struct uring *u, struct request *req)
{
    req->next = NULL;
    *u->waiting_end = req;
    u->waiting_end = &req->next;
}

static void ring_submit(struct uring *u)
{
    int rc;
    do
        rc = io_uring_submit(&u->ring);
    while (rc > 0 && io_uring_sq_ready(&u->ring) > 0); /* it stops at an entry it dislikes */
    if (io_uring_sq_ready(&u->ring) == 0)
        return;
    hvv_log(u->file->blk->dev, HVV_LOG_WARNING, "the kernel takes no I/O now: %s; trying again",
            strerror(-rc));
    hvv_timer_set(u->file->blk->dev, u->retry, RETRY_NS);
}

static struct io_uring_sqe *get_entry(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (!sqe) {
        ring_submit(u);
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

/* Gives the request a bounce buffer if its step needs one, and takes it back if not. */
static bool settle_buffer(struct uring *u, struct request *req)
{
    if (!req->step.bounce) {
        if (req->buffer)
            u->slot[u->free_slots++] = req->buffer;
        req->buffer = NULL;
        return true;
    }
    if (!req->buffer) {
        if (u->free_slots == 0)
            return false;
        req->buffer = u->slot[--u->free_slots];
    }
    return true;
}

static bool is_large(const struct step *step)
{
    return step->op <= STEP_WRITE && step->bytes >= LARGE_BYTES;
}

static void fill_entry(const struct uring *u, struct io_uring_sqe *sqe, struct request *req)
{
    const struct step *step = &req->step;
    int fd = u->fixed ? 0 : u->file->image.fd;
    switch (step->op) {
    case STEP_READ:
        io_uring_prep_readv2(sqe, fd, step->iov, step->n_iov, step->offset, step->flags);
        break;
    case STEP_WRITE:
        io_uring_prep_writev2(sqe, fd, step->iov, step->n_iov, step->offset, step->flags);
        break;
    case STEP_SYNC:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        break;
    case STEP_ALLOCATE:
        io_uring_prep_fallocate(sqe, fd, step->flags, (off_t)step->offset, (off_t)step->bytes);
        break;
    }
    if (u->fixed)
        sqe->flags |= IOSQE_FIXED_FILE;
    /* The kernel would copy a large cached transfer on the spot, with the worker waiting. */
    if (!u->file->image.direct && is_large(step))
        sqe->flags |= IOSQE_ASYNC;
    io_uring_sqe_set_data(sqe, req);
}

/* False: there is no room, the request has to wait. */
static bool ring_start(struct uring *u, struct request *req)
{
    if (!settle_buffer(u, req))
        return false;
    struct io_uring_sqe *sqe = get_entry(u);
    if (!sqe)
        return false;
    if (req->step.bounce)
        file_bounce(req);
    fill_entry(u, sqe, req);
    u->in_ring++;
    return true;
}

static void start(struct uring *u, struct request *req)
{
    if (!ring_start(u, req))
        wait_append(u, req);
}

static void start_waiting(struct uring *u)
{
    while (u->waiting) {
        struct request *req = u->waiting;
        struct request *next = req->next;
        if (!ring_start(u, req))
            return;
        u->waiting = next;
        if (!next)
            u->waiting_end = &u->waiting;
    }
}

/* ---- Without the ring ------------------------------------------------------------------------ */

/*
 * Of several large reads in one turn, threads of the kernel copy some while the worker copies
 * others. Writes to one file take turns in the kernel: nothing is won there.
 */
static bool hand_over(struct uring *u, const struct step *step)
{
    if (u->file->image.direct || step->op != STEP_READ || !is_large(step))
        return false;
    bool first = !u->large_here;
    u->large_here = true;
    return !first && u->in_ring < LARGE_AWAY;
}

static bool may_attempt(struct uring *u, const struct step *step, struct attempt *attempt)
{
    const struct image *image = &u->file->image;
    if (image->direct || step->bytes > INLINE_BYTES || attempt->never)
        return false;
    if ((step->flags & RWF_DSYNC) && !image->is_memory)
        return false;
    if (attempt->pause > 0) {
        attempt->pause--;
        return false;
    }
    return true;
}

static void attempt_missed(struct attempt *attempt, int err)
{
    if (err == EOPNOTSUPP)
        attempt->never = true;
    else if (++attempt->misses >= INLINE_MISSES) {
        attempt->misses = 0;
        attempt->pause = INLINE_PAUSE;
    }
}

/*
 * Does the step now if that needs no waiting. Returns its result, or -EAGAIN. On a file that lives
 * in memory nothing waits; elsewhere RWF_NOWAIT makes sure, and a miss is remembered for a while.
 */
static int64_t attempt_step(struct uring *u, const struct step *step)
{
    if (step->op > STEP_WRITE)
        return -EAGAIN;
    struct attempt *attempt = &u->attempt[step->op];
    if (!may_attempt(u, step, attempt))
        return -EAGAIN;
    int fd = u->file->image.fd;
    int flags = step->flags | (u->file->image.is_memory ? 0 : RWF_NOWAIT);
    ssize_t n = step->op == STEP_READ
                    ? preadv2(fd, step->iov, (int)step->n_iov, (off_t)step->offset, flags)
                    : pwritev2(fd, step->iov, (int)step->n_iov, (off_t)step->offset, flags);
    if (n < 0 && !(u->file->image.is_memory && errno != EINTR)) {
        attempt_missed(attempt, errno);
        return -EAGAIN;
    }
    attempt->misses = 0;
    return n < 0 ? -errno : n;
}

static void uring_submit(struct file *file, struct request *req)
{
    struct uring *u = (struct uring *)file->engine_state + req->queue->index;
    if (hand_over(u, &req->step)) {
        start(u, req);
        ring_submit(u); /* it runs beside what this turn does next */
        return;
    }
    for (;;) {
        int64_t result = attempt_step(u, &req->step);
        if (result == -EAGAIN)
            break;
        hvv_count(file->blk->dev, BLK_INLINE, req->chain->queue, 1);
        if (!file_advance(file, req, result))
            return;
    }
    start(u, req);
}

static void uring_flush(struct file *file, uint32_t queue)
{
    struct uring *u = (struct uring *)file->engine_state + queue;
    u->large_here = false;
    if (io_uring_sq_ready(&u->ring) > 0)
        ring_submit(u);
}

/* ---- Out of the ring ------------------------------------------------------------------------- */

/* True if the request is finished. */
static bool step_ended(struct uring *u, struct request *req, int32_t result)
{
    void *buffer = req->buffer;
    u->in_ring--;
    if (file_advance(u->file, req, result)) {
        start(u, req);
        return false;
    }
    if (buffer)
        u->slot[u->free_slots++] = buffer;
    return true;
}

static uint32_t reap_batch(struct uring *u, uint32_t *finished)
{
    struct io_uring_cqe *cqes[REAP_BATCH];
    uint32_t n = io_uring_peek_batch_cqe(&u->ring, cqes, REAP_BATCH);
    for (uint32_t i = 0; i < n; i++)
        *finished += step_ended(u, io_uring_cqe_get_data(cqes[i]), cqes[i]->res);
    io_uring_cq_advance(&u->ring, n);
    return n;
}

static void watch_update(struct uring *u)
{
    bool idle = u->stopping && u->in_ring == 0 && !u->waiting;
    hvv_watch_set(u->file->blk->dev, u->watch, idle ? 0 : HVV_WATCH_READ);
}

/* Bounded by what can be in the ring at once. */
static uint32_t reap(struct uring *u)
{
    uint32_t finished = 0, seen = 0, n;
    do {
        n = reap_batch(u, &finished);
        seen += n;
    } while (n == REAP_BATCH && seen < HVV_QUEUE_SIZE_MAX);
    if (seen == 0)
        return 0;
    start_waiting(u);
    uring_flush(u->file, u->queue);
    if (u->stopping)
        watch_update(u);
    return finished;
}

static uint32_t uring_poll(struct file *file, uint32_t queue)
{
    struct uring *u = (struct uring *)file->engine_state + queue;
    return u->in_ring ? reap(u) : 0;
}

static void ring_ready(void *arg, uint32_t events)
{
    (void)events;
    reap(arg);
}

static void retry_expired(void *arg)
{
    struct uring *u = arg;
    start_waiting(u);
    uring_flush(u->file, u->queue);
}

static void uring_queue_start(struct file *file, uint32_t queue)
{
    struct uring *u = (struct uring *)file->engine_state + queue;
    u->stopping = false;
    watch_update(u);
}

static void uring_queue_stop(struct file *file, uint32_t queue)
{
    struct uring *u = (struct uring *)file->engine_state + queue;
    u->stopping = true;
    watch_update(u);
}

/* ---- Life ------------------------------------------------------------------------------------ */

/*
 * Completions need no interrupt of the worker: it is on its way into the kernel, or polls and sees
 * the flag. Kernels before 5.19 do not know the two flags.
 */
static int ring_init(struct uring *u)
{
    uint32_t queue_size = u->file->blk->queue_size;
    uint32_t entries = queue_size < RING_ENTRIES_MAX ? queue_size : RING_ENTRIES_MAX;
    unsigned int flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    struct io_uring_params params = {.cq_entries = queue_size * 2};
    params.flags = flags | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    int rc = io_uring_queue_init_params(entries, &u->ring, &params);
    if (rc == -EINVAL) {
        params = (struct io_uring_params){.cq_entries = queue_size * 2, .flags = flags};
        rc = io_uring_queue_init_params(entries, &u->ring, &params);
    }
    u->ring_ok = rc == 0;
    return rc;
}

static bool slots_init(struct uring *u)
{
    if (!u->file->image.direct)
        return true;
    u->buffers = file_buffer_new((size_t)SLOTS * FILE_BOUNCE_BYTES);
    if (!u->buffers)
        return false;
    for (u->free_slots = 0; u->free_slots < SLOTS; u->free_slots++)
        u->slot[u->free_slots] = u->buffers + (size_t)u->free_slots * FILE_BOUNCE_BYTES;
    return true;
}

static int32_t open_one(struct uring *u)
{
    struct hvv_device *dev = u->file->blk->dev;
    u->waiting_end = &u->waiting;
    int rc = ring_init(u);
    if (rc == -ENOSYS || rc == -EPERM || rc == -EACCES)
        return rc;
    if (rc < 0)
        return hvv_error(dev, -rc, "io_uring for queue %u cannot be set up: %s; use fewer queues "
                         "or 'engine=threads'", u->queue, strerror(-rc));
    u->fixed = io_uring_register_files(&u->ring, &u->file->image.fd, 1) == 0;
    if (!slots_init(u))
        return hvv_error(dev, errno, "no memory for the bounce buffers of queue %u: %s; use fewer "
                         "queues or leave out 'direct'", u->queue, strerror(errno));
    u->watch = hvv_watch_new(dev, u->queue, u->ring.ring_fd, ring_ready, u);
    u->retry = u->watch ? hvv_timer_new(dev, u->queue, retry_expired, u) : NULL;
    if (!u->retry)
        return hvv_error(dev, errno, "queue %u cannot wait for its I/O: %s; use fewer queues",
                         u->queue, strerror(errno));
    return 0;
}

static void close_one(struct uring *u)
{
    hvv_timer_free(u->file->blk->dev, u->retry);
    hvv_watch_free(u->file->blk->dev, u->watch);
    file_buffer_free(u->buffers, (size_t)SLOTS * FILE_BOUNCE_BYTES);
    if (u->ring_ok)
        io_uring_queue_exit(&u->ring);
}

static void uring_close(struct file *file)
{
    struct uring *rings = file->engine_state;
    for (uint32_t i = file->blk->n_queues; i-- > 0;)
        if (rings[i].file)
            close_one(&rings[i]);
    free(rings);
    file->engine_state = NULL;
}

static int32_t uring_open(struct file *file)
{
    struct uring *rings = calloc(file->blk->n_queues, sizeof(*rings));
    if (!rings)
        return hvv_error(file->blk->dev, ENOMEM, "no memory for %u queues; use fewer",
                         file->blk->n_queues);
    file->engine_state = rings;
    for (uint32_t i = 0; i < file->blk->n_queues; i++) {
        rings[i].file = file;
        rings[i].queue = i;
        int32_t rc = open_one(&rings[i]);
        if (rc < 0) {
            uring_close(file);
            return rc;
        }
    }
    return 0;
}

const struct engine_ops engine_uring = {
    .name = "uring",
    .open = uring_open,
    .close = uring_close,
    .submit = uring_submit,
    .flush = uring_flush,
    .poll = uring_poll,
    .queue_start = uring_queue_start,
    .queue_stop = uring_queue_stop,
};
