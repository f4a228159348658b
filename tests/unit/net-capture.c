/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-capture.c - tests of the net plugin's captures, alone: a device that has nothing else. What
 * is in the file is read back.
 *
 * The linker sends each write() of this program through the one below, which can be stopped or find
 * the disk full.
 */
#include "capture.h"

#include "leak.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <hvv/harness.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEADER 24u
#define RECORD 16u
#define THREADS 4u
#define SECOND 1000000000ull

/* ---- The disk -------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool stopped;
    int64_t room; /* bytes that still fit */
} disk = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, INT64_MAX};

ssize_t __real_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);

ssize_t __wrap_write(int fd, const void *bytes, size_t n)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return __real_write(fd, bytes, n);
    pthread_mutex_lock(&disk.lock);
    while (disk.stopped)
        pthread_cond_wait(&disk.change, &disk.lock);
    if ((int64_t)n > disk.room)
        n = (size_t)disk.room;
    disk.room -= (int64_t)n;
    pthread_mutex_unlock(&disk.lock);
    if (n > 0)
        return __real_write(fd, bytes, n);
    errno = ENOSPC;
    return -1;
}

static void disk_stop(bool stopped)
{
    pthread_mutex_lock(&disk.lock);
    disk.stopped = stopped;
    pthread_cond_broadcast(&disk.change);
    pthread_mutex_unlock(&disk.lock);
}

static void disk_room(int64_t room)
{
    pthread_mutex_lock(&disk.lock);
    disk.room = room;
    pthread_mutex_unlock(&disk.lock);
}

/* ---- A device -------------------------------------------------------------------------------- */

static int32_t create(struct hvv_device *dev)
{
    struct capture *capture = calloc(1, sizeof(*capture));
    capture_init(capture);
    dev->state = capture;
    return hvv_add_queues(dev, 1, 2, 2, 0);
}

static void notify(struct hvv_device *dev, uint32_t queue)
{
    (void)dev, (void)queue; /* it has a queue because each device has one */
}

static void stop(struct hvv_device *dev)
{
    capture_cancel(dev->state);
}

static void destroy(struct hvv_device *dev)
{
    capture_free(dev->state);
    free(dev->state);
}

static int32_t run_start(struct hvv_device *dev, struct hvv_call *call)
{
    return capture_start(dev->state, dev, call);
}

static int32_t run_stop(struct hvv_device *dev, struct hvv_call *call)
{
    return capture_stop(dev->state, dev, call);
}

static const struct hvv_option params[] = {
    {.name = "path", .type = HVV_OPTION_PATH, .flags = HVV_OPTION_REQUIRED, .help = "the file"},
    {.name = "snaplen", .type = HVV_OPTION_U64, .dflt = "65535", .help = "bytes of each frame"},
    {.name = "overwrite", .type = HVV_OPTION_BOOL, .dflt = "off", .help = "an older file"},
};

static const struct hvv_command commands[] = {
    {.name = "capture", .params = params, .n_params = 3, .param_size = sizeof(params[0]),
     .run = run_start},
    {.name = "capture-stop", .run = run_stop},
};

static const struct hvv_ops ops = {
    .size = sizeof(ops), .create = create, .notify = notify, .stop = stop, .destroy = destroy};

static const struct hvv_plugin plugin = {
    .size = sizeof(plugin), .name = "net", .ops = &ops, .commands = commands, .n_commands = 2,
    .command_size = sizeof(commands[0])};

struct rig {
    struct hvv_harness h;
    struct hvv_harness_call call; /* the last command */
    struct capture *capture;
    char dir[64], path[80];
};

static void rig_open(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    snprintf(rig->dir, sizeof(rig->dir), "/tmp/hvv-capture-XXXXXX");
    cr_assert(mkdtemp(rig->dir));
    snprintf(rig->path, sizeof(rig->path), "%s/a.pcap", rig->dir);
    cr_assert_eq(hvv_harness_open(&rig->h, &plugin, ""), 0);
    hvv_harness_start(&rig->h);
    rig->capture = rig->h.dev.state;
}

static void rig_close(struct rig *rig)
{
    disk_stop(false);
    cr_assert(hvv_harness_close(&rig->h));
    unlink(rig->path);
    cr_assert_eq(rmdir(rig->dir), 0, "files are left");
}

/* Starts a capture to the rig's file. */
static int32_t start(struct rig *rig, const char *more)
{
    char text[160];
    snprintf(text, sizeof(text), "path=%s%s", rig->path, more);
    return hvv_harness_command(&rig->h, &rig->call, "capture", text);
}

static int32_t end(struct rig *rig)
{
    return hvv_harness_command(&rig->h, &rig->call, "capture-stop", NULL);
}

static uint64_t result(const struct rig *rig, const char *key)
{
    char value[32];
    cr_assert(hvv_harness_result(&rig->call, key, value, sizeof(value)), "no %s in '%s'", key,
              rig->call.results);
    return strtoull(value, NULL, 10);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

/* Frame `number` of `bytes`: its number, then bytes that follow from it. */
static void make(uint8_t *to, uint32_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(number * 31 + i);
    memcpy(to, &number, sizeof(number));
}

static bool put(struct rig *rig, uint32_t number, uint32_t bytes)
{
    static _Thread_local uint8_t data[7 + FRAME_MAX];
    make(data + 7, number, bytes);
    struct iovec iov[] = {{data, 12}, {data + 12, 3}, {data + 15, bytes - 8}};
    struct frame frame = {.iov = iov, .n_iov = 3, .offset = 7, .bytes = bytes};
    return capture_frame(rig->capture, &frame, hvv_now(&rig->h.dev));
}

/* Until there is room for it. */
static void put_surely(struct rig *rig, uint32_t number, uint32_t bytes)
{
    while (!put(rig, number, bytes))
        sched_yield();
}

static uint64_t wall_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- Reading back ---------------------------------------------------------------------------- */

struct record {
    uint32_t seconds, nanoseconds, kept, bytes;
};

struct file {
    uint8_t *bytes;
    size_t size, at;
};

static struct file file_open(const struct rig *rig, uint32_t snaplen)
{
    struct stat st;
    struct file file = {0};
    uint32_t header[6];
    int fd = open(rig->path, O_RDONLY);
    cr_assert(fd >= 0 && fstat(fd, &st) == 0);
    cr_assert_eq(st.st_mode & 07777, 0600, "others may read it");
    file.bytes = malloc((size_t)st.st_size + 1);
    file.size = (size_t)st.st_size;
    cr_assert_eq(read(fd, file.bytes, file.size), (ssize_t)file.size);
    close(fd);
    cr_assert_geq(file.size, HEADER);
    memcpy(header, file.bytes, HEADER);
    cr_assert(header[0] == 0xa1b23c4d && header[1] == (4 << 16 | 2) && !header[2] && !header[3]);
    cr_assert_eq(header[4], snaplen);
    cr_assert_eq(header[5], 1, "not Ethernet");
    file.at = HEADER;
    return file;
}

/* The next record and its frame, or NULL at the end. */
static const uint8_t *file_next(struct file *file, struct record *record)
{
    if (file->at == file->size) {
        free(file->bytes);
        return NULL;
    }
    cr_assert_leq(file->at + RECORD, file->size, "half a record");
    memcpy(record, file->bytes + file->at, RECORD);
    cr_assert_leq(file->at + RECORD + record->kept, file->size, "half a frame");
    cr_assert_lt(record->nanoseconds, 1000000000u);
    file->at += RECORD + record->kept;
    return file->bytes + file->at - record->kept;
}

/* The file has frames 0, 1, 2... of `bytes` (of any size if that is 0). How many? */
static uint32_t count_frames(const struct rig *rig, uint32_t bytes)
{
    static uint8_t want[FRAME_MAX];
    struct file file = file_open(rig, 65535);
    struct record record;
    const uint8_t *got;
    uint32_t n = 0;
    for (; (got = file_next(&file, &record)); n++) {
        make(want, n, record.bytes);
        cr_assert(record.kept == record.bytes && (!bytes || bytes == record.bytes));
        cr_assert(memcmp(got, want, record.kept) == 0, "frame %u is another one", n);
    }
    return n;
}

/* ---- Tests ----------------------------------------------------------------------------------- */

Test(capture, frames_of_any_size)
{
    struct rig rig;
    const uint32_t sizes[] = {14, 60, 99, 100, 101, 1514, 9014, 65535, FRAME_MAX};
    uint8_t want[100];
    struct record record;
    const uint8_t *got;
    size_t n = sizeof(sizes) / sizeof(sizes[0]), i = 0, kept = 0;
    rig_open(&rig);
    cr_assert(!rig.capture->on && put(&rig, 9, 60), "there is no capture yet");
    uint64_t before = wall_clock();
    cr_assert_eq(start(&rig, ",snaplen=100"), 0, "%s", rig.call.error);
    cr_assert(rig.capture->on);
    for (; i < n; i++) {
        cr_assert(put(&rig, (uint32_t)i, sizes[i]));
        kept += sizes[i] < 100 ? sizes[i] : 100;
        hvv_harness_advance(&rig.h, SECOND);
    }
    cr_assert_eq(end(&rig), 0);
    uint64_t after = wall_clock();
    cr_assert(!rig.capture->on && put(&rig, 9, 60));
    cr_assert_eq(result(&rig, "frames"), n);
    cr_assert_eq(result(&rig, "bytes"), HEADER + n * RECORD + kept);
    cr_assert_eq(result(&rig, "missed"), 0);
    struct file file = file_open(&rig, 100);
    for (i = 0; (got = file_next(&file, &record)); i++) {
        uint64_t time = record.seconds * 1000000000ull + record.nanoseconds;
        cr_assert(record.bytes == sizes[i] && record.kept == (sizes[i] < 100 ? sizes[i] : 100));
        time -= i * SECOND; /* by then the device's clock was ahead */
        cr_assert(time >= before && time <= after, "not a time of this test");
        make(want, (uint32_t)i, record.kept);
        cr_assert(memcmp(got, want, record.kept) == 0);
    }
    cr_assert_eq(i, n);
    rig_close(&rig);
    leak_check();
}

/* Several times round the ring, with all the places where a record can begin again. */
Test(capture, round_the_ring, .timeout = 60)
{
    enum { N = 20000 };
    struct rig rig;
    rig_open(&rig);
    cr_assert_eq(start(&rig, ""), 0);
    for (uint32_t i = 0; i < N; i++)
        put_surely(&rig, i, 60 + i * 7 % 1500);
    cr_assert_eq(end(&rig), 0);
    cr_assert_eq(result(&rig, "frames"), N);
    cr_assert_eq(count_frames(&rig, 0), N);
    rig_close(&rig);
    leak_check();
}

Test(capture, what_does_not_fit_is_counted)
{
    struct rig rig;
    uint32_t n = 0;
    rig_open(&rig);
    cr_assert_eq(start(&rig, ""), 0);
    disk_stop(true);
    while (put(&rig, n, 1000))
        n++;
    cr_assert_eq(n, CAPTURE_BUFFER_BYTES / (RECORD + 1000));
    for (int i = 0; i < 9; i++)
        cr_assert(!put(&rig, n, 1000));
    disk_stop(false);
    cr_assert_eq(end(&rig), 0);
    cr_assert_eq(result(&rig, "frames"), n);
    cr_assert_eq(result(&rig, "missed"), 10);
    cr_assert_eq(count_frames(&rig, 1000), n);
    rig_close(&rig);
    leak_check();
}

struct sender {
    struct rig *rig;
    uint32_t number;
};

static void *send_many(void *arg)
{
    struct sender *sender = arg;
    for (uint32_t i = 0; i < 2000; i++)
        put_surely(sender->rig, sender->number << 16 | i, 300);
    return NULL;
}

Test(capture, from_several_threads, .timeout = 60)
{
    struct rig rig;
    struct sender sender[THREADS];
    pthread_t thread[THREADS];
    uint32_t next[THREADS] = {0};
    uint8_t want[300];
    struct record record;
    const uint8_t *got;
    rig_open(&rig);
    cr_assert_eq(start(&rig, ""), 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        sender[i] = (struct sender){&rig, i};
        cr_assert_eq(pthread_create(&thread[i], NULL, send_many, &sender[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    cr_assert_eq(end(&rig), 0);
    struct file file = file_open(&rig, 65535);
    while ((got = file_next(&file, &record))) {
        uint32_t number;
        memcpy(&number, got, sizeof(number));
        cr_assert(number >> 16 < THREADS && (number & 0xffff) == next[number >> 16]++);
        make(want, number, sizeof(want));
        cr_assert_arr_eq(got, want, sizeof(want));
    }
    for (uint32_t i = 0; i < THREADS; i++)
        cr_assert_eq(next[i], 2000);
    rig_close(&rig);
    leak_check();
}

/* ---- Files ----------------------------------------------------------------------------------- */

static void write_text(const char *path, size_t bytes)
{
    FILE *file = fopen(path, "w");
    cr_assert(file);
    while (bytes--)
        fputc('x', file);
    fclose(file);
    chmod(path, 0600);
}

Test(capture, a_file_that_exists)
{
    struct rig rig;
    struct stat st;
    rig_open(&rig);
    write_text(rig.path, 100000);
    cr_assert_eq(start(&rig, ""), -EEXIST);
    cr_assert(strstr(rig.call.error, rig.path) && strstr(rig.call.error, "overwrite"));
    cr_assert(stat(rig.path, &st) == 0 && st.st_size == 100000, "it is as it was");
    cr_assert_eq(start(&rig, ",overwrite"), 0);
    put(&rig, 0, 60);
    cr_assert_eq(end(&rig), 0);
    cr_assert_eq(count_frames(&rig, 60), 1);
    cr_assert_eq(start(&rig, ",overwrite"), 0, "its own from before");
    cr_assert_eq(end(&rig), 0);
    cr_assert_eq(count_frames(&rig, 60), 0);
    unlink(rig.path);
    cr_assert_eq(start(&rig, ",overwrite"), 0, "nothing to overwrite");
    rig_close(&rig);
    leak_check();
}

/* None of these may hang. */
Test(capture, what_is_no_file, .timeout = 20)
{
    struct rig rig;
    char path[80];
    rig_open(&rig);
    cr_assert_eq(mkfifo(rig.path, 0600), 0);
    cr_assert_eq(start(&rig, ",overwrite"), -ENXIO, "nobody reads");
    int reader = open(rig.path, O_RDONLY | O_NONBLOCK);
    cr_assert_eq(start(&rig, ",overwrite"), -EINVAL);
    cr_assert(strstr(rig.call.error, "not a regular file"), "%s", rig.call.error);
    close(reader);
    cr_assert_eq(access(rig.path, F_OK), 0, "it was not ours to remove");
    memcpy(path, rig.path, sizeof(path));
    snprintf(rig.path, sizeof(rig.path), "%s", rig.dir);
    cr_assert_eq(start(&rig, ",overwrite"), -EISDIR);
    snprintf(rig.path, sizeof(rig.path), "%s/no/such", rig.dir);
    cr_assert_eq(start(&rig, ""), -ENOENT);
    cr_assert(strstr(rig.call.error, "No such file"));
    snprintf(rig.path, sizeof(rig.path), "/dev/null");
    cr_assert_eq(start(&rig, ",overwrite"), -EINVAL);
    memcpy(rig.path, path, sizeof(path));
    cr_assert(!rig.capture->on);
    cr_assert_eq(end(&rig), -ENOENT);
    rig_close(&rig);
    leak_check();
}

Test(capture, one_at_a_time)
{
    struct rig rig, other;
    rig_open(&rig);
    rig_open(&other);
    cr_assert_eq(end(&rig), -ENOENT);
    cr_assert(strstr(rig.call.error, "no capture is running"));
    cr_assert_eq(start(&rig, ""), 0);
    cr_assert_eq(start(&rig, ",overwrite"), -EBUSY);
    cr_assert(strstr(rig.call.error, "capture-stop"));
    char path[80];
    memcpy(path, other.path, sizeof(path));
    memcpy(other.path, rig.path, sizeof(path));
    cr_assert_eq(start(&other, ",overwrite"), -EBUSY);
    cr_assert(strstr(other.call.error, "another capture"));
    memcpy(other.path, path, sizeof(path));
    cr_assert_eq(start(&other, ""), 0);
    put(&rig, 0, 60);
    cr_assert_eq(end(&rig), 0);
    cr_assert_eq(count_frames(&rig, 60), 1);
    cr_assert_eq(end(&rig), -ENOENT);
    rig_close(&rig);
    rig_close(&other);
    leak_check();
}

/* ---- A full disk ----------------------------------------------------------------------------- */

Test(capture, no_room_for_the_header)
{
    struct rig rig;
    rig_open(&rig);
    disk_room(HEADER - 1);
    cr_assert_eq(start(&rig, ""), -ENOSPC);
    cr_assert(strstr(rig.call.error, "No space left"));
    cr_assert_eq(access(rig.path, F_OK), -1, "what was made is removed");
    cr_assert_eq(end(&rig), -ENOENT);
    disk_room(INT64_MAX);
    cr_assert_eq(start(&rig, ""), 0);
    rig_close(&rig);
    leak_check();
}

/* The disk is full in the middle of a frame: those before stay, and the capture ends by itself. */
Test(capture, ends_by_itself, .timeout = 20)
{
    for (uint32_t more = 0; more < 3; more++) {
        struct rig rig;
        rig_open(&rig);
        cr_assert_eq(start(&rig, ""), 0);
        disk_stop(true);
        for (uint32_t i = 0; i < 10; i++)
            cr_assert(put(&rig, i, 100));
        disk_room(5 * (RECORD + 100) + 8 * more * more);
        disk_stop(false);
        while (rig.capture->on) /* as long as the test has time */
            sched_yield();
        cr_assert(put(&rig, 0, 100), "nothing is missed after the end");
        cr_assert_eq(end(&rig), -ENOSPC);
        cr_assert(strstr(rig.call.error, "ended by itself after 5 frames: No space left"), "%s",
                  rig.call.error);
        cr_assert(strstr(rig.h.log, "ended after 5 frames: No space left"), "%s", rig.h.log);
        cr_assert_eq(count_frames(&rig, 100), 5);
        cr_assert_eq(end(&rig), -ENOENT, "it was told");
        disk_room(INT64_MAX);
        cr_assert_eq(start(&rig, ",overwrite"), 0);
        rig_close(&rig);
    }
}

/* The same while capture-stop waits for the rest. */
Test(capture, ends_early, .timeout = 20)
{
    struct rig rig;
    struct hvv_harness_call call;
    rig_open(&rig);
    cr_assert_eq(start(&rig, ""), 0);
    disk_stop(true);
    for (uint32_t i = 0; i < 10; i++)
        put(&rig, i, 100);
    cr_assert_eq(hvv_harness_command_start(&rig.h, &call, "capture-stop", NULL), -EINPROGRESS);
    cr_assert_eq(end(&rig), -EBUSY);
    cr_assert_eq(start(&rig, ""), -EBUSY);
    disk_room(3 * (RECORD + 100) + 50);
    disk_stop(false);
    cr_assert_eq(hvv_harness_command_wait(&call), -ENOSPC);
    cr_assert(strstr(call.error, "the first 3 frames only: No space left"), "%s", call.error);
    cr_assert_eq(count_frames(&rig, 100), 3);
    cr_assert_eq(end(&rig), -ENOENT, "it was told");
    rig_close(&rig);
    leak_check();
}

/* ---- The end of the device ------------------------------------------------------------------- */

Test(capture, the_device_goes)
{
    struct rig rig;
    rig_open(&rig);
    cr_assert_eq(start(&rig, ""), 0);
    for (uint32_t i = 0; i < 100; i++)
        put(&rig, i, 1000);
    cr_assert(hvv_harness_close(&rig.h));
    cr_assert_eq(count_frames(&rig, 1000), 100, "all that was seen is written");
    unlink(rig.path);
    rmdir(rig.dir);
    leak_check();
}

/* stop() must not wait for the disk, and no command may be left. */
Test(capture, the_device_goes_while_a_command_waits)
{
    struct rig rig;
    struct hvv_harness_call call;
    rig_open(&rig);
    cr_assert_eq(start(&rig, ""), 0);
    disk_stop(true);
    put(&rig, 0, 60);
    cr_assert_eq(hvv_harness_command_start(&rig.h, &call, "capture-stop", NULL), -EINPROGRESS);
    cr_assert(!call.finished);
    capture_cancel(rig.capture);
    cr_assert(call.finished && call.status == -ECANCELED);
    cr_assert(strstr(call.error, "removed"));
    rig_close(&rig);
    leak_check();
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* The line `name` of the status of this process' thread called net-capture. */
static uint64_t thread_status(const char *name)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    uint64_t value = 0;
    while ((entry = readdir(tasks))) {
        char path[300], line[200];
        bool is_it = false;
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof(line), file)) {
            is_it |= strcmp(line, "Name:\tnet-capture\n") == 0;
            if (is_it && strncmp(line, name, strlen(name)) == 0)
                value = strtoull(line + strlen(name) + 1, NULL, 16);
        }
        if (file)
            fclose(file);
    }
    closedir(tasks);
    return value;
}

Test(capture, signals_are_for_others)
{
    struct rig rig;
    rig_open(&rig);
    cr_assert_eq(start(&rig, ""), 0);
    uint64_t blocked = thread_status("SigBlk:");
    cr_assert(blocked >> (SIGTERM - 1) & 1 && blocked >> (SIGXFSZ - 1) & 1);
    cr_assert(!(blocked >> (SIGBUS - 1) & 1) && !(blocked >> (SIGSEGV - 1) & 1));
    rig_close(&rig);
    leak_check();
}
