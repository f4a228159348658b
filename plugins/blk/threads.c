/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * threads.c - the engine for hosts without io_uring: a few threads doing plain system calls.
 *
 * Workers put requests into one list under one lock; a thread of the pool takes the oldest and does
 * all its steps, finishing it from there (hvv_complete() may be called on any thread). So requests
 * of all queues share the pool and nothing waits on a worker. The list is bounded by the sizes of
 * the queues. close() ends the threads; by then the list is empty.
 */
#include "file.h"

#include "../common/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define POOL_THREADS 4u

struct pool {
    struct file *file;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct request *first;   /* oldest; the lock guards the list and `closing` */
    struct request **end;
    bool closing;
    uint32_t n_threads;
    uint32_t n_buffers;
    struct {
        struct pool *pool;
        pthread_t id;
        void *buffer;        /* bounce buffer, for direct I/O only */
    } thread[POOL_THREADS];
};

static int64_t do_step(const struct file *file, const struct step *step)
{
    int fd = file->image.fd;
    int64_t rc = -1;
    switch (step->op) {
    case STEP_READ:
        rc = preadv2(fd, step->iov, (int)step->n_iov, (off_t)step->offset, step->flags);
        break;
    case STEP_WRITE:
        rc = pwritev2(fd, step->iov, (int)step->n_iov, (off_t)step->offset, step->flags);
        break;
    case STEP_SYNC:
        rc = fdatasync(fd);
        break;
    case STEP_ALLOCATE:
        rc = fallocate(fd, step->flags, (off_t)step->offset, (off_t)step->bytes);
        break;
    }
    return rc < 0 ? -errno : rc;
}

static void do_request(struct file *file, struct request *req, void *buffer)
{
    int64_t result;
    do {
        req->buffer = buffer;
        if (req->step.bounce)
            file_bounce(req);
        result = do_step(file, &req->step);
    } while (file_advance(file, req, result));
}

/* The oldest request, or NULL when the pool closes. */
static struct request *pool_take(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (!pool->first && !pool->closing)
        pthread_cond_wait(&pool->wake, &pool->lock);
    struct request *req = pool->first;
    if (req) {
        pool->first = req->next;
        if (!pool->first)
            pool->end = &pool->first;
    }
    pthread_mutex_unlock(&pool->lock);
    return req;
}

static void *thread_main(void *arg)
{
    __typeof__(((struct pool *)0)->thread[0]) *self = arg;
    struct request *req;
    while ((req = pool_take(self->pool)))
        do_request(self->pool->file, req, self->buffer);
    return NULL;
}

static void threads_submit(struct file *file, struct request *req)
{
    struct pool *pool = file->engine_state;
    req->next = NULL;
    pthread_mutex_lock(&pool->lock);
    *pool->end = req;
    pool->end = &req->next;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_signal(&pool->wake);
}

static void threads_close(struct file *file)
{
    struct pool *pool = file->engine_state;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    for (uint32_t i = 0; i < pool->n_threads; i++)
        pthread_join(pool->thread[i].id, NULL);
    for (uint32_t i = 0; i < pool->n_buffers; i++)
        file_buffer_free(pool->thread[i].buffer, FILE_BOUNCE_BYTES);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    file->engine_state = NULL;
}

static int32_t start_threads(struct pool *pool)
{
    int err = 0;
    while (pool->n_threads < POOL_THREADS && err == 0) {
        err = thread_start(&pool->thread[pool->n_threads].id, "blk-io", thread_main,
                           &pool->thread[pool->n_threads]);
        if (err == 0)
            pool->n_threads++;
    }
    return -err;
}

static int32_t make_buffers(struct pool *pool)
{
    for (uint32_t i = 0; i < POOL_THREADS; i++) {
        pool->thread[i].pool = pool;
        if (!pool->file->image.direct)
            continue;
        pool->thread[i].buffer = file_buffer_new(FILE_BOUNCE_BYTES);
        if (!pool->thread[i].buffer)
            return -errno;
        pool->n_buffers++;
    }
    return 0;
}

static struct pool *pool_new(struct file *file)
{
    struct pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return NULL;
    pool->file = file;
    pool->end = &pool->first;
    if (pthread_mutex_init(&pool->lock, NULL))
        goto no_lock;
    if (pthread_cond_init(&pool->wake, NULL))
        goto no_cond;
    return pool;
no_cond:
    pthread_mutex_destroy(&pool->lock);
no_lock:
    free(pool);
    return NULL;
}

static int32_t threads_open(struct file *file)
{
    struct pool *pool = pool_new(file);
    int32_t rc = -ENOMEM;
    if (pool) {
        file->engine_state = pool;
        rc = make_buffers(pool);
        if (rc == 0)
            rc = start_threads(pool);
        if (rc == 0)
            return 0;
        threads_close(file);
    }
    return hvv_error(file->blk->dev, -rc, "the %u threads for I/O cannot be started: %s; raise "
                     "the limit of threads or memory", POOL_THREADS, strerror(-rc));
}

const struct engine_ops engine_threads = {
    .name = "threads",
    .open = threads_open,
    .close = threads_close,
    .submit = threads_submit,
};
