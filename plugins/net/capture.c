/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture.c - see capture.h.
 *
 * The buffer is a ring that holds the very bytes that go to the file: a record is put in whole or
 * not at all. Workers move `head`, the thread moves `tail`, both under the lock; what lies between
 * them is the thread's, which writes it without the lock. The thread opens and closes the file,
 * too, and ends the commands that wait for that:
 *
 *     OPENING -> RUNNING -> CLOSING -> ENDED
 *
 * A file that cannot be written to (the disk is full, say) leads from RUNNING to ENDED by itself,
 * cut behind the last whole record. An ended thread is joined by the next command or at the end.
 */
#include "capture.h"

#include "../common/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define REASON_MAX 512u
#define PCAP_MAGIC_NS 0xa1b23c4du /* times in nanoseconds, in this machine's byte order */
#define PCAP_ETHERNET 1u

struct pcap_file {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy; /* 0 */
    uint32_t snaplen;
    uint32_t link_type;
};

struct pcap_record {
    uint32_t seconds, nanoseconds;
    uint32_t kept;  /* bytes that follow */
    uint32_t bytes; /* of the frame */
};

enum capture_state { OPENING, RUNNING, CLOSING, ENDED };

struct capture_run {
    struct capture *capture;
    struct hvv_device *dev;
    pthread_t thread;
    pthread_cond_t wake;    /* the thread has something to do */
    char *path;
    uint32_t snaplen;
    bool overwrite;
    uint64_t epoch;         /* of hvv_now(): nanoseconds since 1970 */

    /* The thread's */
    int fd;                 /* -1 until the file is open */
    uint64_t written;       /* bytes in the file, all of whole records */
    uint64_t frames;

    /* Under the lock */
    enum capture_state state;
    bool cancelled;         /* the device goes: say nothing but to the log */
    struct hvv_call *call;  /* that waits for the thread, or NULL */
    uint64_t head, tail;    /* bytes since the start; the buffer is used modulo its size */
    uint64_t missed;
    int failed;             /* an errno: why it ended by itself, and nobody was told */
    uint8_t *buffer;        /* CAPTURE_BUFFER_BYTES, until the end */
};

/* ---- Frames ---------------------------------------------------------------------------------- */

/* Copies a frame's first `bytes` to where they go in the ring, which may be in two pieces. */
static void put_frame(struct capture_run *run, uint64_t at, const struct frame *frame,
                      uint32_t bytes)
{
    uint32_t from = (uint32_t)(at % CAPTURE_BUFFER_BYTES);
    uint32_t first = CAPTURE_BUFFER_BYTES - from < bytes ? CAPTURE_BUFFER_BYTES - from : bytes;
    frame_read(frame, 0, run->buffer + from, first);
    frame_read(frame, first, run->buffer, bytes - first);
}

static void put_record(struct capture_run *run, const struct frame *frame, uint32_t kept,
                       uint64_t nanoseconds)
{
    uint64_t time = run->epoch + nanoseconds;
    struct pcap_record record = {(uint32_t)(time / NS_PER_S), (uint32_t)(time % NS_PER_S), kept,
                                 frame->bytes};
    struct iovec iov = {&record, sizeof(record)};
    struct frame bytes = {.iov = &iov, .n_iov = 1, .bytes = sizeof(record)};
    put_frame(run, run->head, &bytes, sizeof(record));
    put_frame(run, run->head + sizeof(record), frame, kept);
    run->head += sizeof(record) + kept;
}

bool capture_frame(struct capture *capture, const struct frame *frame, uint64_t nanoseconds)
{
    bool fits = true;
    pthread_mutex_lock(&capture->lock);
    struct capture_run *run = capture->run;
    if (run && run->state == RUNNING) {
        uint32_t kept = frame->bytes < run->snaplen ? frame->bytes : run->snaplen;
        uint64_t used = run->head - run->tail;
        fits = sizeof(struct pcap_record) + kept <= CAPTURE_BUFFER_BYTES - used;
        if (fits)
            put_record(run, frame, kept, nanoseconds);
        else
            run->missed++;
        if (used == 0)
            pthread_cond_signal(&run->wake);
    }
    pthread_mutex_unlock(&capture->lock);
    return fits;
}

/* ---- The thread: ending commands ------------------------------------------------------------- */
/*
 * All under the lock: capture_cancel() must not return to stop() while a command is being ended, or
 * the device described.
 */

static void finish(struct capture_run *run, int err)
{
    if (run->call)
        hvv_call_finish(run->dev, run->call, -err);
    run->call = NULL;
}

static void describe(const struct capture_run *run, const char *path)
{
    if (!run->cancelled)
        hvv_describe(run->dev, "capture", path);
}

/* Says why the command that waits is refused; end() ends it. Returns -`err`. */
__attribute__((format(printf, 3, 4)))
static int refuse(struct capture_run *run, int err, const char *fmt, ...)
{
    char text[REASON_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    pthread_mutex_lock(&run->capture->lock);
    if (run->call)
        hvv_call_error(run->dev, run->call, err, "%s", text);
    pthread_mutex_unlock(&run->capture->lock);
    return -err;
}

/* ---- The thread: the file -------------------------------------------------------------------- */

/* A new file; an old one only if it may be overwritten. Never waits for the reader of a pipe. */
static int open_path(struct capture_run *run, bool *made)
{
    int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = open(run->path, flags | O_CREAT | O_EXCL, 0600);
    *made = fd >= 0;
    if (fd < 0 && errno == EEXIST && run->overwrite)
        fd = open(run->path, flags);
    if (fd >= 0)
        return fd;
    if (errno == EEXIST)
        return refuse(run, EEXIST, "'%s' exists: give `overwrite` to replace it, or another path",
                      run->path);
    return refuse(run, errno, "'%s' cannot be made: %s", run->path, strerror(errno));
}

/* Makes sure that it is a file, that no other capture writes to it, and that it is empty. */
static int take_file(struct capture_run *run, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return refuse(run, errno, "'%s' cannot be looked at: %s", run->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(run, EINVAL, "'%s' is not a regular file: give another path", run->path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return refuse(run, EBUSY, "'%s' is in use by another capture: give another path",
                      run->path);
    if (ftruncate(fd, 0) < 0)
        return refuse(run, errno, "'%s' cannot be emptied: %s", run->path, strerror(errno));
    return 0;
}

static int write_header(struct capture_run *run, int fd)
{
    const struct pcap_file header = {.magic = PCAP_MAGIC_NS, .major = 2, .minor = 4,
                                     .snaplen = run->snaplen, .link_type = PCAP_ETHERNET};
    ssize_t n = write(fd, &header, sizeof(header));
    int err = n < 0 ? errno : ENOSPC;
    if (n == (ssize_t)sizeof(header))
        return 0;
    return refuse(run, err, "'%s' cannot be written: %s", run->path, strerror(err));
}

/* A negative errno after it was said why; then no new file is left. */
static int open_file(struct capture_run *run)
{
    bool made;
    int fd = open_path(run, &made);
    if (fd < 0)
        return fd;
    int rc = take_file(run, fd);
    if (rc == 0)
        rc = write_header(run, fd);
    if (rc < 0) {
        if (made)
            unlink(run->path);
        close(fd);
        return rc;
    }
    run->fd = fd;
    run->written = sizeof(struct pcap_file);
    return 0;
}

/* Where the record at `at` ends. */
static uint64_t record_end(const struct capture_run *run, uint64_t at)
{
    struct pcap_record record;
    for (size_t i = 0; i < sizeof(record); i++)
        ((uint8_t *)&record)[i] = run->buffer[(at + i) % CAPTURE_BUFFER_BYTES];
    return at + sizeof(record) + record.kept;
}

/* Writes the ring's bytes from `from` to `to`. Returns how far it came; if short, errno says why. */
static uint64_t write_bytes(const struct capture_run *run, uint64_t from, uint64_t to)
{
    while (from < to) {
        uint64_t at = from % CAPTURE_BUFFER_BYTES;
        uint64_t piece = CAPTURE_BUFFER_BYTES - at < to - from ? CAPTURE_BUFFER_BYTES - at
                                                               : to - from;
        ssize_t n = write(run->fd, run->buffer + at, piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            break;
        from += (uint64_t)n;
    }
    return from;
}

/* Writes whole records; half a one at the end is cut off again. 0, or an errno if not all fit. */
static int write_records(struct capture_run *run, uint64_t from, uint64_t to)
{
    uint64_t end, done = write_bytes(run, from, to);
    int err = done < to ? errno : 0;
    for (uint64_t at = from; at < done && (end = record_end(run, at)) <= done; at = end) {
        run->frames++;
        run->written += end - at;
    }
    if (err && ftruncate(run->fd, (off_t)run->written) < 0)
        hvv_log(run->dev, HVV_LOG_WARNING, "the end of '%s' is half a frame: %s", run->path,
                strerror(errno));
    return err;
}

/* Writes what workers put into the ring until the capture is ended. 0, or an errno. */
static int write_all(struct capture_run *run)
{
    struct capture *capture = run->capture;
    int err = 0;
    pthread_mutex_lock(&capture->lock);
    while (err == 0) {
        while (run->head == run->tail && run->state == RUNNING)
            pthread_cond_wait(&run->wake, &capture->lock);
        uint64_t to = run->head;
        if (run->tail == to)
            break;
        pthread_mutex_unlock(&capture->lock);
        err = write_records(run, run->tail, to);
        pthread_mutex_lock(&capture->lock);
        if (err == 0)
            run->tail = to;
    }
    pthread_mutex_unlock(&capture->lock);
    return err;
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* False if the device goes already. */
static bool begin(struct capture_run *run)
{
    struct capture *capture = run->capture;
    pthread_mutex_lock(&capture->lock);
    bool runs = run->state == OPENING;
    if (runs) {
        run->state = RUNNING;
        atomic_store(&capture->on, true);
        describe(run, run->path);
        finish(run, 0);
    }
    pthread_mutex_unlock(&capture->lock);
    return runs;
}

static void report(const struct capture_run *run, int err)
{
    hvv_call_result_u64(run->dev, run->call, "frames", run->frames);
    hvv_call_result_u64(run->dev, run->call, "bytes", run->written);
    hvv_call_result_u64(run->dev, run->call, "missed", run->missed);
    if (err)
        hvv_call_error(run->dev, run->call, err, "'%s' has the first %llu frames only: %s",
                       run->path, (unsigned long long)run->frames, strerror(err));
}

/* From here on a new capture may start, which joins this thread. */
static void end(struct capture_run *run, int err)
{
    struct capture *capture = run->capture;
    pthread_mutex_lock(&capture->lock);
    atomic_store(&capture->on, false);
    run->state = ENDED;
    run->failed = run->call ? 0 : err; /* for the next capture-stop to say */
    free(run->buffer);
    run->buffer = NULL;
    if (run->call && run->fd >= 0)
        report(run, err);
    finish(run, err);
    describe(run, NULL);
    pthread_mutex_unlock(&capture->lock);
}

static void *run_thread(void *arg)
{
    struct capture_run *run = arg;
    int err = -open_file(run);
    if (err == 0) {
        if (begin(run))
            err = write_all(run);
        if (close(run->fd) < 0 && err == 0)
            err = errno;
        if (err)
            hvv_log(run->dev, HVV_LOG_WARNING, "the capture to '%s' ended after %llu frames: %s",
                    run->path, (unsigned long long)run->frames, strerror(err));
    }
    end(run, err);
    return NULL;
}

/* ---- A run ----------------------------------------------------------------------------------- */

static void run_free(struct capture_run *run)
{
    pthread_cond_destroy(&run->wake);
    free(run->buffer);
    free(run->path);
    free(run);
}

static struct capture_run *run_new(struct capture *capture, struct hvv_device *dev,
                                   struct hvv_call *call)
{
    struct timespec now;
    struct capture_run *run = calloc(1, sizeof(*run));
    if (!run)
        return NULL;
    run->capture = capture;
    run->dev = dev;
    run->call = call;
    run->fd = -1;
    run->snaplen = (uint32_t)hvv_call_u64(dev, call, "snaplen");
    run->overwrite = hvv_call_u64(dev, call, "overwrite");
    clock_gettime(CLOCK_REALTIME, &now);
    run->epoch = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec - hvv_now(dev);
    pthread_cond_init(&run->wake, NULL);
    run->path = strdup(hvv_call_string(dev, call, "path"));
    run->buffer = malloc(CAPTURE_BUFFER_BYTES);
    if (run->path && run->buffer)
        return run;
    run_free(run);
    return NULL;
}

static enum capture_state state_of(struct capture *capture)
{
    pthread_mutex_lock(&capture->lock);
    enum capture_state state = capture->run ? capture->run->state : ENDED;
    pthread_mutex_unlock(&capture->lock);
    return state;
}

static void set_run(struct capture *capture, struct capture_run *run)
{
    pthread_mutex_lock(&capture->lock);
    capture->run = run;
    pthread_mutex_unlock(&capture->lock);
}

/* Frees the last run, if there is one. Its thread has ended or is about to. */
static void forget(struct capture *capture)
{
    struct capture_run *run = capture->run; /* only commands and the end of the device change it */
    if (!run)
        return;
    pthread_join(run->thread, NULL);
    set_run(capture, NULL);
    run_free(run);
}

/* ---- Commands -------------------------------------------------------------------------------- */

static int32_t refuse_busy(struct capture *capture, struct hvv_device *dev, struct hvv_call *call)
{
    return hvv_call_error(dev, call, EBUSY, "the capture to '%s' is not ended: run capture-stop "
                          "first", capture->run->path);
}

int32_t capture_start(struct capture *capture, struct hvv_device *dev, struct hvv_call *call)
{
    if (state_of(capture) != ENDED)
        return refuse_busy(capture, dev, call);
    forget(capture);
    struct capture_run *run = run_new(capture, dev, call);
    if (!run)
        return hvv_call_error(dev, call, ENOMEM, "no memory for a buffer of %u bytes",
                              CAPTURE_BUFFER_BYTES);
    set_run(capture, run);
    int err = thread_start(&run->thread, "net-capture", run_thread, run);
    if (err == 0)
        return -EINPROGRESS;
    set_run(capture, NULL);
    run_free(run);
    return hvv_call_error(dev, call, err, "the thread of the capture cannot be started: %s",
                          strerror(err));
}

/* Nothing runs. If the last capture ended by itself, now is the time to say so. */
static int32_t refuse_stop(struct capture *capture, struct hvv_device *dev, struct hvv_call *call)
{
    struct capture_run *run = capture->run;
    if (!run || !run->failed || run->fd < 0)
        return hvv_call_error(dev, call, ENOENT, "no capture is running");
    int err = run->failed;
    hvv_call_error(dev, call, err, "the capture to '%s' ended by itself after %llu frames: %s",
                   run->path, (unsigned long long)run->frames, strerror(err));
    forget(capture);
    return -err;
}

int32_t capture_stop(struct capture *capture, struct hvv_device *dev, struct hvv_call *call)
{
    pthread_mutex_lock(&capture->lock);
    struct capture_run *run = capture->run;
    enum capture_state state = run ? run->state : ENDED;
    if (state == RUNNING) {
        run->state = CLOSING;
        run->call = call;
        atomic_store(&capture->on, false);
        pthread_cond_signal(&run->wake);
    }
    pthread_mutex_unlock(&capture->lock);
    if (state == RUNNING)
        return -EINPROGRESS;
    if (state == ENDED)
        return refuse_stop(capture, dev, call);
    return hvv_call_error(dev, call, EBUSY, "the capture to '%s' is just being %s: try again",
                          run->path, state == OPENING ? "started" : "ended");
}

/* ---- Life ------------------------------------------------------------------------------------ */

void capture_init(struct capture *capture)
{
    atomic_store(&capture->on, false);
    capture->run = NULL;
    pthread_mutex_init(&capture->lock, NULL);
}

void capture_cancel(struct capture *capture)
{
    struct hvv_call *call = NULL;
    pthread_mutex_lock(&capture->lock);
    struct capture_run *run = capture->run;
    if (run) {
        call = run->call;
        run->call = NULL;
        run->cancelled = true;
        if (run->state != ENDED)
            run->state = CLOSING;
        pthread_cond_signal(&run->wake);
    }
    atomic_store(&capture->on, false);
    pthread_mutex_unlock(&capture->lock);
    if (call) {
        hvv_call_error(run->dev, call, ECANCELED, "the device is being removed");
        hvv_call_finish(run->dev, call, -ECANCELED);
    }
}

void capture_free(struct capture *capture)
{
    capture_cancel(capture);
    forget(capture);
    pthread_mutex_destroy(&capture->lock);
}
