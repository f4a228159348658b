/* SPDX-License-Identifier: BSD-3-Clause */
/* trap.c - the monitor's side of the trap protocol, see trap.h. */
#include "trap.h"

#include "die.h"

#include <errno.h>
#include <hvv/trap.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define FILES_MAX 3

/* ---- messages: one at a time, on the thread of main() ---------------------------------------- */

static void send_message(struct trap *t, const void *message, size_t size, const int *files,
                         unsigned n_files)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(FILES_MAX * sizeof(int))] = {0};
    struct iovec data = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
    struct msghdr packet = {.msg_iov = &data, .msg_iovlen = 1};

    if (n_files > 0) {
        packet.msg_control = control;
        packet.msg_controllen = CMSG_SPACE(n_files * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&packet);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(n_files * sizeof(int));
        memcpy(CMSG_DATA(head), files, n_files * sizeof(int));
    }
    if (sendmsg(t->socket, &packet, MSG_NOSIGNAL) != (ssize_t)size)
        die("cannot send to the daemon: %s", strerror(errno));
}

/* Sends a message and waits for its answer. */
static void call(struct trap *t, const void *message, size_t size, const int *files,
                 unsigned n_files)
{
    struct hvv_trap_answer answer;

    send_message(t, message, size, files, n_files);
    if (recv(t->socket, &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer))
        die("the daemon hung up");
    answer.text[sizeof(answer.text) - 1] = '\0';
    if (answer.error)
        die("the daemon refuses: %s", answer.text);
}

static void make_page(struct trap *t)
{
    t->page_file = memfd_create("bridge", MFD_CLOEXEC);
    if (t->page_file < 0 || ftruncate(t->page_file, HVV_BRIDGE_SIZE) < 0)
        die("cannot make the bridge page: %s", strerror(errno));
    t->page = mmap(NULL, HVV_BRIDGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, t->page_file, 0);
    if (t->page == MAP_FAILED)
        die("cannot map the bridge page: %s", strerror(errno));
    t->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->interrupts = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->bell < 0 || t->interrupts < 0)
        die("cannot make an eventfd: %s", strerror(errno));
}

void trap_connect(struct trap *t, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct hvv_trap_hello hello = {
        .type = HVV_TRAP_HELLO, .version = HVV_TRAP_VERSION, .flags = HVV_TRAP_FUTEX};

    if (strlen(path) >= sizeof(to.sun_path))
        die("the path %s is too long for a socket", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    make_page(t);
    pthread_mutex_init(&t->requests, NULL);
    t->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (t->socket < 0 || connect(t->socket, (struct sockaddr *)&to, sizeof(to)) < 0)
        die("cannot connect to %s: %s", path, strerror(errno));
    int files[] = {t->page_file, t->bell, t->interrupts};
    call(t, &hello, sizeof(hello), files, 3);
}

void trap_memory(struct trap *t, uint32_t zone, uint64_t address, uint64_t size, int file)
{
    struct hvv_trap_memory memory = {
        .type = HVV_TRAP_MEMORY, .zone = zone, .address = address, .size = size};

    call(t, &memory, sizeof(memory), &file, 1);
}

void trap_slot(struct trap *t, uint32_t zone, uint64_t address, uint64_t length, uint32_t irq)
{
    struct hvv_trap_slot slot = {
        .type = HVV_TRAP_SLOT, .zone = zone, .address = address, .length = length, .irq = irq};

    call(t, &slot, sizeof(slot), NULL, 0);
}

void trap_start(struct trap *t, uint32_t zone)
{
    struct hvv_trap_zone start = {HVV_TRAP_START, zone};

    call(t, &start, sizeof(start), NULL, 0);
}

void trap_stop(struct trap *t, uint32_t zone)
{
    struct hvv_trap_zone stop = {HVV_TRAP_STOP, zone};

    call(t, &stop, sizeof(stop), NULL, 0);
}

/* ---- accesses: on the threads of the vCPUs --------------------------------------------------- */

static void ring(int bell)
{
    uint64_t one = 1;

    if (write(bell, &one, sizeof(one)) < 0 && errno != EAGAIN)
        die("cannot wake the daemon: %s", strerror(errno));
}

/* The list is full for moments only: all vCPUs together rarely have 31 accesses in it. */
static void put_request(struct trap *t, const struct hvv_bridge_request *access)
{
    struct hvv_bridge_page *page = t->page;

    pthread_mutex_lock(&t->requests);
    uint32_t rear = page->req_rear; /* only we write it */
    uint32_t next = (rear + 1) % HVV_BRIDGE_ENTRIES;
    while (__atomic_load_n(&page->req_front, __ATOMIC_ACQUIRE) == next)
        sched_yield();
    page->req_list[rear] = *access;
    __atomic_store_n(&page->req_rear, next, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&t->requests);

    /* Either the daemon sees the request before it sleeps, or we see that it is about to. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&page->need_wakeup, __ATOMIC_RELAXED))
        ring(t->bell);
}

/* The kernel looks at the word again before it sleeps, so no answer is missed. */
static void wait_answer(const uint64_t *flag, uint64_t before)
{
    while (__atomic_load_n(flag, __ATOMIC_ACQUIRE) == before)
        syscall(SYS_futex, flag, FUTEX_WAIT, (uint32_t)before, NULL, NULL, 0);
}

uint64_t trap_access(struct trap *t, struct hvv_bridge_request access)
{
    uint64_t cpu = access.src_cpu;
    const uint64_t *flag = &t->page->cfg_flags[cpu];
    uint64_t before = __atomic_load_n(flag, __ATOMIC_RELAXED);

    put_request(t, &access);
    if (access.need_interrupt)
        return 0;
    wait_answer(flag, before);
    return __atomic_load_n(&t->page->cfg_values[cpu], __ATOMIC_RELAXED);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

void trap_take_interrupts(struct trap *t, void (*inject)(void *arg, uint32_t zone, uint32_t irq),
                          void *arg)
{
    struct hvv_bridge_page *page = t->page;
    uint64_t count;

    /* Before the list is read, so that what comes while it is read makes this readable again. */
    if (read(t->interrupts, &count, sizeof(count)) < 0 && errno != EAGAIN)
        die("cannot read the interrupt eventfd: %s", strerror(errno));
    uint32_t front = page->res_front; /* only we write it */
    uint32_t rear = __atomic_load_n(&page->res_rear, __ATOMIC_ACQUIRE) % HVV_BRIDGE_ENTRIES;
    while (front != rear) {
        struct hvv_bridge_result result = page->res_list[front];
        inject(arg, result.target_zone, result.irq_id);
        front = (front + 1) % HVV_BRIDGE_ENTRIES;
    }
    __atomic_store_n(&page->res_front, front, __ATOMIC_RELEASE);
}
