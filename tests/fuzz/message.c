/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * message.c - fuzz target: a vhost-user front-end that says anything, against the real endpoint,
 * session, rings, device and worker. Only the plugin is ours: two queues on a worker each, a thread
 * that finishes some chains, and callbacks that check what they are promised.
 *
 * The input is a list of steps: a byte (see step()) and its arguments. A message is its bytes as on
 * the wire, behind a count and the kinds of the descriptors that go with it, so what a real
 * front-end sent can be recorded. The control loop runs on the thread of the fuzzer; after most
 * steps it runs until control and workers have nothing left to do.
 */
#include "control/server.h"
#include "daemon.h"
#include "device/create.h"
#include "device/names.h"
#include "memory/sigbus.h"
#include "transport/vhost-user/vhost-user.h"

#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define QUEUES 2u
#define QUEUE_SIZE 256u
#define CONFIG_SIZE 60u
#define RAM (256u << 20) /* sparse; recorded front-ends had less */
#define WINDOW (1u << 20) /* of it that the guest here writes to, and is cleared */
#define STEPS_MAX 200u
#define HELD_MAX 64u
#define FDS_MAX 128
#define EVENTS 4u
#define SECONDS_MAX 20u  /* for anything to end */

static struct {
    struct conf conf;
    struct daemon daemon;
    struct worker *workers[QUEUES]; /* one for each queue */
    struct device *dev;
    struct sockaddr_un address;
    char dir[64];
    int ram;        /* a memfd */
    char *window;
    int event[EVENTS];
    unsigned fds;   /* that the process had open before an input */
} world;

/* The plugin's, on its worker but for `lock`ed. */
static struct {
    struct hvv_chain *held[QUEUES][HELD_MAX];
    unsigned n_held[QUEUES];
    bool running[QUEUES];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct hvv_chain *work[HELD_MAX]; /* for its thread; locked */
    unsigned n_work;                  /* locked */
    atomic_uint count;
} p = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* ---- the plugin ------------------------------------------------------------------------------ */

/* Reads and writes the ends of each part: what is not memory shows here. */
static uint32_t use_chain(const struct hvv_chain *chain)
{
    volatile char sink = 0;
    must(chain->readable_bytes <= UINT32_MAX && chain->writable_bytes <= UINT32_MAX, "too long");
    for (uint32_t i = 0; i < chain->n_readable; i++) {
        const char *at = chain->readable[i].iov_base;
        sink = (char)(sink + at[0] + at[chain->readable[i].iov_len - 1]);
    }
    for (uint32_t i = 0; i < chain->n_writable; i++) {
        char *at = chain->writable[i].iov_base;
        at[0] = at[chain->writable[i].iov_len - 1] = 0x5a;
    }
    return (uint32_t)chain->writable_bytes;
}

static void *plugin_thread(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&p.lock);
    for (;;) {
        while (p.n_work == 0)
            pthread_cond_wait(&p.wake, &p.lock);
        struct hvv_chain *chain = p.work[--p.n_work];
        pthread_mutex_unlock(&p.lock);
        hvv_complete(chain, use_chain(chain));
        pthread_mutex_lock(&p.lock);
    }
    return NULL;
}

static bool give_to_thread(struct hvv_chain *chain)
{
    pthread_mutex_lock(&p.lock);
    bool room = p.n_work < HELD_MAX;
    if (room)
        p.work[p.n_work++] = chain;
    pthread_cond_signal(&p.wake);
    pthread_mutex_unlock(&p.lock);
    return room;
}

/* At once, by the thread, or kept until something happens. */
static void handle(uint32_t queue, struct hvv_chain *chain)
{
    unsigned how = atomic_fetch_add(&p.count, 1) % 4;
    must(chain->queue == queue && p.running[queue], "a chain of queue %u, stopped", queue);
    if (how == 1 && give_to_thread(chain))
        return;
    if (how == 2 && p.n_held[queue] < HELD_MAX)
        p.held[queue][p.n_held[queue]++] = chain;
    else
        hvv_complete(chain, use_chain(chain));
}

static void finish_held(uint32_t queue)
{
    while (p.n_held[queue]) {
        struct hvv_chain *chain = p.held[queue][--p.n_held[queue]];
        hvv_complete(chain, use_chain(chain));
    }
}

static void on_notify(struct hvv_device *dev, uint32_t queue)
{
    struct hvv_chain *chains[8];
    uint32_t n;
    must(queue < QUEUES && p.running[queue], "notified of queue %u that is not running", queue);
    if (atomic_fetch_add(&p.count, 1) % 8 == 7)
        finish_held(queue);
    do {
        n = hvv_pop(dev, queue, chains, 8);
        for (uint32_t i = 0; i < n; i++)
            handle(queue, chains[i]);
    } while (n == 8);
}

static void on_queue_start(struct hvv_device *dev, uint32_t queue)
{
    (void)dev;
    must(queue < QUEUES && !p.running[queue], "queue %u was started twice", queue);
    p.running[queue] = true;
}

static void on_queue_stop(struct hvv_device *dev, uint32_t queue, uint32_t flags)
{
    struct hvv_chain *chain;
    must(p.running[queue], "queue %u was stopped twice", queue);
    must(hvv_pop(dev, queue, &chain, 1) == 0, "a queue that stops gave a chain");
    (void)flags;
    p.running[queue] = false;
    finish_held(queue);
}

static void on_config_write(struct hvv_device *dev, uint32_t offset, const void *data,
                            uint32_t size)
{
    must(offset <= CONFIG_SIZE && size <= CONFIG_SIZE - offset, "a write past the config space");
    int32_t rc = hvv_config_set(dev, offset, data, size, HVV_CONFIG_NOTIFY);
    must(rc == 0, "config_set: %d", rc);
}

static void on_memory_changed(struct hvv_device *dev, uint32_t queue)
{
    (void)dev;
    if (queue == HVV_NO_QUEUE)
        return;
    must(p.running[queue], "memory of queue %u that is not running", queue);
    finish_held(queue);
}

static void on_reset(struct hvv_device *dev)
{
    (void)dev;
    for (uint32_t i = 0; i < QUEUES; i++)
        must(!p.running[i] && !p.n_held[i], "reset while queue %u runs", i);
}

static void on_destroy(struct hvv_device *dev)
{
    (void)dev;
}

static struct plugin plugin = {
    .info = {.size = sizeof(plugin.info), .name = "fuzz", .version = "1", .virtio_id = 2,
             .threads = HVV_SERIAL_QUEUE},
    .ops = {.size = sizeof(plugin.ops), .destroy = on_destroy, .notify = on_notify,
            .queue_start = on_queue_start, .queue_stop = on_queue_stop, .reset = on_reset,
            .config_write = on_config_write, .memory_changed = on_memory_changed},
};

/* ---- the world ------------------------------------------------------------------------------- */

/* Those to be closed at exec(): a sanitizer's pipes to its symbolizer come and go, and are not. */
static unsigned count_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < FDS_MAX; fd++) {
        int flags = fcntl(fd, F_GETFD);
        n += flags >= 0 && (flags & FD_CLOEXEC);
    }
    return n;
}

/* For whoever looks into a leak. */
static void list_fds(void)
{
    char name[64], to[128];
    for (int fd = 0; fd < FDS_MAX; fd++) {
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(name, to, sizeof(to) - 1);
        if (n > 0)
            fprintf(stderr, "%d: %.*s\n", fd, (int)n, to);
    }
}

static void no_method(void *arg, const char *name, json_t *params, struct reply *reply)
{
    (void)arg, (void)name, (void)params;
    reply_unknown_method(reply);
}

static void make_device(struct error *error)
{
    uint8_t config[CONFIG_SIZE] = {1, 2, 3};
    struct device *dev = world.dev = device_new(&world.daemon, "fuzz", error);
    dev->plugin = &plugin;
    dev->worker = world.workers[0];
    dev->counters = calloc(HVV_QUEUES_MAX + 1, sizeof(dev->counters[0]));
    dev->queues = calloc(HVV_QUEUES_MAX, sizeof(dev->queues[0]));
    dev->create_error = error;
    hvv_set_features(&dev->pub, 0x3f, HVV_FEATURES_IN_ORDER);
    must(hvv_add_queues(&dev->pub, QUEUES, QUEUE_SIZE, 64, 0) == 0, "no queues");
    must(hvv_config_set(&dev->pub, 0, config, CONFIG_SIZE, 0) == 0, "no config space");
    dev->create_error = NULL;
    must(vhost_user_stage(dev, error) == 0, "%s", error->text);
    ((struct endpoint *)dev->transport_state)->inband = true;
    device_move(dev, DEVICE_STAGED);
    must(dev->transport->listen(dev, error) == 0, "%s", error->text);
    device_move(dev, DEVICE_PUBLISHED);
    TAILQ_INSERT_TAIL(&world.daemon.devices, dev, link);
    dev->transport->publish(dev);
}

static void remove_files(void)
{
    static const char *const names[] = {"fuzz.sock", "fuzz.sock.lock", "control", "control.lock"};
    char path[128];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", world.dir, names[i]);
        unlink(path);
    }
    rmdir(world.dir);
}

static void make_world(void)
{
    struct error error = {0};
    char path[128];
    pthread_t thread;
    strcpy(world.dir, "/tmp/fuzz-message-XXXXXX");
    must(mkdtemp(world.dir), "no directory");
    atexit(remove_files);
    signal(SIGPIPE, SIG_IGN);
    sigbus_install();
    log_set_level(getenv("FUZZ_DEBUG") ? HVV_LOG_DEBUG : HVV_LOG_ERROR);
    world.conf = (struct conf){.socket_dir = world.dir, .socket_mode = 0600, .stuck_seconds = 60,
                               .poll_us = 20};
    world.daemon.conf = &world.conf;
    world.daemon.loop = loop_new();
    world.daemon.names = names_new();
    TAILQ_INIT(&world.daemon.devices);
    snprintf(path, sizeof(path), "%s/control", world.dir);
    world.daemon.server = server_new(world.daemon.loop, path, 0600, no_method, NULL, &error);
    world.daemon.workers = world.workers;
    for (unsigned i = 0; i < QUEUES; i++) { /* that of queue 0 always sleeps, the other polls */
        world.workers[i] = worker_new(i, i * world.conf.poll_us * 1000ull, &error);
        must(world.workers[i], "%s", error.text);
        world.daemon.n_workers++;
    }
    world.daemon.next_worker = 1; /* queue 0 has dev->worker, then they go round */
    must(world.daemon.server, "%s", error.text);
    make_device(&error);
    world.address.sun_family = AF_UNIX;
    snprintf(world.address.sun_path, sizeof(world.address.sun_path), "%s/fuzz.sock", world.dir);
    must(pthread_create(&thread, NULL, plugin_thread, NULL) == 0, "no thread");
    world.ram = memfd_create("ram", MFD_CLOEXEC);
    must(ftruncate(world.ram, RAM) == 0, "no memory");
    world.window = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, world.ram, 0);
    must(world.window != MAP_FAILED, "no memory");
    for (unsigned i = 0; i < EVENTS; i++)
        world.event[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* ---- running the daemon ---------------------------------------------------------------------- */

static struct endpoint *endpoint(void)
{
    return world.dev->transport_state;
}

/* To all workers and back again: what they had to do is done when it returns. */
static struct {
    struct hvv_task task;
    unsigned next; /* worker */
    bool back;
} visit;

static void visit_back(struct hvv_task *task)
{
    (void)task;
    visit.back = true;
}

static void visit_worker(struct hvv_task *task)
{
    if (++visit.next < QUEUES) {
        loop_post(worker_loop(world.workers[visit.next]), task);
        return;
    }
    task->run = visit_back;
    loop_post(world.daemon.loop, task);
}

static void settle(void)
{
    visit.back = false;
    visit.next = 0;
    visit.task.run = visit_worker;
    loop_run_once(world.daemon.loop, false);
    loop_post(worker_loop(world.workers[0]), &visit.task);
    while (!visit.back)
        loop_run_once(world.daemon.loop, true);
    loop_run_once(world.daemon.loop, false);
}

/* What must hold whenever the control thread is between two messages. */
static void check_device(void)
{
    const struct session *s = endpoint()->session;
    for (uint32_t i = 0; i < QUEUES; i++) {
        const struct ring *ring = &endpoint()->rings[i];
        must(s || (!ring->has_addr && ring->kick_fd < 0 && ring->call_fd < 0), "a ring outlived");
        must(ring->queue->state != QUEUE_RUNNING || (s && ring->has_kick), "ring %u runs alone", i);
    }
    must(s || !world.dev->memory, "guest memory outlived its front-end");
    must(!s || s->received <= sizeof(struct vu_header) + sizeof(union vu_payload), "overflow");
}

static void wait_until_gone(void)
{
    uint64_t limit = clock_ns() + SECONDS_MAX * 1000000000ull;
    while (endpoint()->session) {
        settle();
        must(clock_ns() < limit, "a front-end that left is not let go");
    }
    check_device();
}

/* ---- the front-end --------------------------------------------------------------------------- */

static int sock = -1;

static void drain(int fd)
{
    char bytes[4096];
    while (fd >= 0 && recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
}

static void leave(void)
{
    if (sock >= 0)
        close(sock);
    sock = -1;
    wait_until_gone();
}

static void come(void)
{
    if (sock >= 0)
        return;
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = connect(sock, (struct sockaddr *)&world.address, sizeof(world.address));
    must(rc == 0, "cannot connect: %s", strerror(errno));
    uint64_t limit = clock_ns() + SECONDS_MAX * 1000000000ull;
    while (!endpoint()->session) {
        settle();
        must(clock_ns() < limit, "a front-end is not accepted");
    }
}

static int make_pipe(bool reading)
{
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) < 0)
        return -1;
    close(fd[reading]); /* the other end is gone: end of file, or EPIPE */
    return fd[!reading];
}

static int make_socket(void)
{
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
        return -1;
    close(fd[1]);
    return fd[0];
}

static int make_small(void)
{
    int fd = memfd_create("small", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, 4096) < 0)
        close(fd), fd = -1;
    return fd;
}

/* A descriptor of a kind; it is closed once it is sent. */
static int make_fd(uint8_t kind)
{
    switch (kind % 12) {
    case 0: return fcntl(world.ram, F_DUPFD_CLOEXEC, 0);
    case 1: case 2: case 3: case 4: return fcntl(world.event[kind % 12 - 1], F_DUPFD_CLOEXEC, 0);
    case 5: return make_small();
    case 6: return make_pipe(true);
    case 7: return make_pipe(false);
    case 8: return make_socket();
    case 9: return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 10: return eventfd(1, EFD_CLOEXEC | EFD_SEMAPHORE);
    default: return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    }
}

static void send_bytes(const void *bytes, size_t len, const int *fds, unsigned n_fds)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(16 * sizeof(int))];
    } control = {.space = {0}};
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.header = (struct cmsghdr){CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
    }
    if (len && sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        leave();
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void send_message(struct input *in)
{
    struct vu_header header;
    uint8_t bytes[sizeof(header) + 512];
    int fds[16];
    unsigned made = 0, wanted = input_u8(in) & 15;
    for (unsigned i = 0; i < wanted; i++) {
        fds[made] = make_fd(input_u8(in));
        made += fds[made] >= 0;
    }
    size_t n = input_bytes(in, &header, sizeof(header));
    memcpy(bytes, &header, sizeof(header));
    if (n == sizeof(header))
        n += input_bytes(in, bytes + n, header.size < 512 ? header.size : 512);
    come();
    send_bytes(bytes, n, fds, made);
    while (made)
        close(fds[--made]);
}

static void send_raw(struct input *in)
{
    uint8_t bytes[256], len = input_u8(in);
    size_t n = input_bytes(in, bytes, len);
    come();
    send_bytes(bytes, n, NULL, 0);
}

static void write_memory(struct input *in)
{
    uint32_t at = (uint32_t)input_u16(in) << 4;
    uint8_t bytes[256], len = input_u8(in);
    size_t n = input_bytes(in, bytes, len);
    memcpy(world.window + at, bytes, n < WINDOW - at ? n : WINDOW - at);
}

static void add_to_word(struct input *in)
{
    uint32_t at = (uint32_t)input_u16(in) << 1;
    uint16_t *word = (uint16_t *)(void *)(world.window + at);
    *word = (uint16_t)(*word + input_u8(in));
}

static void kick(struct input *in)
{
    uint64_t one = 1;
    ssize_t n = write(world.event[input_u8(in) % EVENTS], &one, sizeof(one));
    (void)n;
}

static void device_acts(struct input *in)
{
    uint8_t what = input_u8(in);
    struct hvv_device *dev = &world.dev->pub;
    if (what & 1)
        hvv_config_set(dev, what % CONFIG_SIZE, &what, 1, HVV_CONFIG_NOTIFY);
    else
        hvv_broken(dev, "the plugin says %u", what);
}

static void step(struct input *in)
{
    bool run = true;
    switch (input_u8(in)) {
    case 'm': send_message(in); break;
    case 'n': send_message(in), run = false; break; /* several are read in one turn */
    case 'r': send_raw(in); break;
    case 'w': write_memory(in), run = false; break;
    case 'a': add_to_word(in), run = false; break;
    case 'k': kick(in); break;
    case 'd': device_acts(in); break;
    case 't': loop_run_once(world.daemon.loop, false), run = false; break;
    case 'l': leave(); break;
    case 'x': /* gone, and the next one comes before the daemon has seen it */
        if (sock >= 0)
            close(sock);
        sock = -1;
        run = false;
        break;
    default: return;
    }
    if (run)
        settle();
    drain(sock);
    check_device();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint64_t count;
    if (!world.dev) {
        make_world();
        come();
        leave();
        world.fds = count_fds();
    }
    memset(world.window, 0, WINDOW);
    atomic_store(&p.count, 0);
    for (unsigned i = 0; i < STEPS_MAX && input_left(&in); i++)
        step(&in);
    leave();
    for (unsigned i = 0; i < EVENTS; i++)
        while (read(world.event[i], &count, sizeof(count)) > 0)
            ;
    if (count_fds() != world.fds)
        list_fds();
    must(count_fds() == world.fds, "%u descriptors, %u before", count_fds(), world.fds);
    return 0;
}
