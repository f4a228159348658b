/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chain.c - fuzz target: the virtqueue engine against a guest that writes anything anywhere, and a
 * plugin that keeps to the ABI.
 *
 * The input is a script: each step is a byte and its arguments, and is the guest's (write a
 * descriptor, an available entry, an index, any bytes of memory), the plugin's (pop, complete,
 * release, fail) or the host's (flush, stop, start, another memory). One thread runs all.
 *
 * Guest memory: A and B follow each other without a gap, but are two mappings; then comes a hole, C
 * that is no whole number of pages, another hole, and D at the top of the address space. The second
 * table has A's addresses backed by other memory, no C, and no D.
 */
#include "virtq/virtq.h"

#include "input.h"

#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE_MAX_LOG2 6u
#define RING_MAX (1u << SIZE_MAX_LOG2)
#define STEPS_MAX 600u
#define POP_MAX 16u
#define A_GPA 0x10000ull
#define A_SIZE 0x6000ull
#define B_GPA (A_GPA + A_SIZE)
#define B_SIZE 0x2000ull
#define C_GPA 0x20000ull
#define C_SIZE 0x1f10ull
#define D_GPA 0xffffffffffff0000ull
#define D_SIZE 0x2000ull
#define DESC A_GPA
#define AVAIL (A_GPA + 0x1000)
#define USED (A_GPA + 0x2000)
#define FEATURE(N) (1ull << (N))
#define IN_ORDER 35

enum { A, B, C, D, A2, N_REGIONS };

static const struct {
    uint64_t gpa, size;
} place[N_REGIONS] = {
    {A_GPA, A_SIZE}, {B_GPA, B_SIZE}, {C_GPA, C_SIZE}, {D_GPA, D_SIZE}, {A_GPA, A_SIZE},
};

/* Made once; the regions outlive every input. */
static struct {
    struct loop *loop;
    struct memory *memory[2];
    char *ram[N_REGIONS]; /* the guest's own view */
} world;

/* What this file believes of the queue. */
static struct {
    struct virtq *vq;
    unsigned now;                       /* which memory new chains use */
    uint32_t size;
    uint64_t features;
    struct hvv_chain *held[RING_MAX];   /* popped, unfinished, oldest first */
    uint64_t heads;                     /* bit for each head that is held */
    unsigned memory_of[RING_MAX];       /* by head: the memory it was popped with */
    uint32_t n_held;
    bool broken, discarded, started;
    bool changing;                      /* memory_done() is due */
    unsigned idle, stops;
    uint16_t finished;                  /* chains to be shown, by the rules of order */
    uint16_t base;                      /* used index when the queue first looked at it */
    bool base_known;
    unsigned interrupts;
} q;

static void on_interrupt(void *arg)
{
    (void)arg;
    must(!q.broken, "an interrupt after the queue broke");
    q.interrupts++;
}

static void on_broken(void *arg, const char *text)
{
    (void)arg;
    must(!q.broken, "told twice that the queue is broken: %s", text);
    must(text[0] != '\0', "broken for no reason");
    q.broken = true;
}

static void on_idle(void *arg)
{
    (void)arg;
    must(q.n_held == 0 && !q.started, "idle with %u chains held", q.n_held);
    q.idle++;
}

static void on_memory_done(void *arg)
{
    (void)arg;
    must(q.changing, "a memory change ended that was none");
    q.changing = false;
}

static const struct virtq_owner owner = {on_interrupt, on_broken, on_idle, on_memory_done};

/* ---- the world ------------------------------------------------------------------------------- */

static struct memory *make_memory(struct region *const *region, const unsigned *which, size_t n)
{
    struct memory_entry entries[N_REGIONS];
    struct error error = {0};
    for (size_t i = 0; i < n; i++) {
        const unsigned r = which[i];
        entries[i] = (struct memory_entry){place[r].gpa, place[r].size, place[r].gpa, region[r]};
    }
    struct memory *memory = memory_new(entries, n, &error);
    must(memory, "%s", error.text);
    return memory;
}

static void make_world(void)
{
    struct region *region[N_REGIONS];
    struct error error = {0};
    for (unsigned r = 0; r < N_REGIONS; r++) {
        int fd = memfd_create("ram", MFD_CLOEXEC);
        must(fd >= 0 && ftruncate(fd, (off_t)place[r].size) == 0, "no memory for region %u", r);
        region[r] = region_map(fd, 0, place[r].size, &error);
        must(region[r], "%s", error.text);
        world.ram[r] = mmap(NULL, place[r].size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(world.ram[r] != MAP_FAILED, "no memory for region %u", r);
        close(fd);
    }
    world.memory[0] = make_memory(region, (const unsigned[]){D, A, C, B}, 4);
    world.memory[1] = make_memory(region, (const unsigned[]){B, A2}, 2);
    world.loop = loop_new();
    must(world.loop, "no memory for a loop");
    loop_run_once(world.loop, false); /* makes this thread the loop's */
}

/* The guest's view of `size` bytes, or NULL where there are none in one piece. */
static char *guest(uint64_t gpa, uint64_t size)
{
    for (unsigned r = 0; r < N_REGIONS; r++) {
        if (r == (q.now ? A : A2) || (q.now && (r == C || r == D)))
            continue;
        if (gpa >= place[r].gpa && gpa - place[r].gpa < place[r].size &&
            size <= place[r].size - (gpa - place[r].gpa))
            return world.ram[r] + (gpa - place[r].gpa);
    }
    return NULL;
}

/* ---- the guest's steps ----------------------------------------------------------------------- */

/* A part of guest memory, or a hole, in few bytes so that a mutation often means something. */
static uint64_t an_address(struct input *in)
{
    static const uint64_t base[] = {A_GPA + 0x3000,     B_GPA - 0x100, B_GPA,
                                    C_GPA,              C_GPA + C_SIZE - 64, D_GPA,
                                    D_GPA + D_SIZE - 64, A_GPA - 0x40};
    uint8_t kind = input_u8(in);
    if (kind & 0x80)
        return input_u64(in);
    return base[kind & 7] + input_u16(in) % 0x200;
}

static uint32_t a_length(struct input *in)
{
    uint16_t n = input_u16(in);
    if (n < 0xc000)
        return n % 0x400;
    return n < 0xff00 ? n : 0xffff0000u | n;
}

static void write_desc(struct input *in, struct vring_desc *to)
{
    struct vring_desc d = {.addr = an_address(in), .len = a_length(in)};
    d.flags = input_u8(in);
    d.next = input_u8(in);
    if (d.next == 0xff)
        d.next = input_u16(in);
    if (to)
        memcpy(to, &d, sizeof(d));
}

static void guest_desc(struct input *in)
{
    uint32_t i = input_u8(in) % q.size;
    write_desc(in, (struct vring_desc *)(void *)guest(DESC + 16 * i, 16));
}

/* An entry of an indirect table at the start of the address kind 0, where an_address() points. */
static void guest_table(struct input *in)
{
    uint8_t i = input_u8(in);
    write_desc(in, (struct vring_desc *)(void *)guest(A_GPA + 0x3000 + 16ull * (i % 32), 16));
}

static struct vring_avail *avail(void)
{
    return (struct vring_avail *)(void *)guest(AVAIL, 4);
}

static void guest_avail(struct input *in)
{
    struct vring_avail *a = avail();
    uint8_t head = input_u8(in);
    a->ring[a->idx & (q.size - 1)] = head == 0xff ? input_u16(in) : head % q.size;
    a->idx++;
}

static void guest_words(struct input *in)
{
    struct vring_avail *a = avail();
    switch (input_u8(in) & 3) {
    case 0: a->idx = input_u16(in); break;
    case 1: a->flags = input_u8(in); break;
    case 2: a->ring[q.size] = input_u16(in); break;
    default: a->idx = (uint16_t)(a->idx + input_u8(in)); break;
    }
}

static void guest_bytes(struct input *in)
{
    uint64_t gpa = an_address(in);
    uint8_t len = input_u8(in);
    char bytes[256];
    input_bytes(in, bytes, len);
    char *to = guest(gpa, len);
    /* Not over the indices: that is guest_words(), which the model below follows. */
    if (to && (gpa < A_GPA || gpa >= A_GPA + 0x3000))
        memcpy(to, bytes, len);
}

/* ---- what must hold for a chain -------------------------------------------------------------- */

static void check_iovec(const struct iovec *iov, unsigned memory)
{
    size_t n;
    const struct memory_entry *e = memory_entries(world.memory[memory], &n);
    must(iov->iov_len > 0, "an empty part of a chain");
    for (size_t i = 0; i < n; i++) {
        char *start = memory_pointer(world.memory[memory], e[i].gpa, e[i].size);
        const char *at = iov->iov_base;
        const char *end = start + e[i].size;
        if (at >= start && at < end && iov->iov_len <= (size_t)(end - at))
            return;
    }
    must(false, "a part of a chain is not in guest memory");
}

static void check_parts(const struct iovec *iov, uint32_t n, uint64_t bytes, unsigned memory)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        check_iovec(&iov[i], memory);
        sum += iov[i].iov_len;
    }
    must(sum == bytes && bytes <= UINT32_MAX, "a chain says it has other than its bytes");
}

static uint32_t head_of(const struct hvv_chain *pub)
{
    return ((const struct chain *)(const void *)pub)->head;
}

static void take_chain(struct hvv_chain *chain)
{
    uint32_t head = head_of(chain);
    must(head < q.size, "head %u of a ring of %u", head, q.size);
    must(!(q.heads >> head & 1), "head %u was handed out twice", head);
    must(chain->writable == chain->readable + chain->n_readable, "readable parts come last");
    check_parts(chain->readable, chain->n_readable, chain->readable_bytes, q.now);
    check_parts(chain->writable, chain->n_writable, chain->writable_bytes, q.now);
    q.heads |= 1ull << head;
    q.memory_of[head] = q.now;
    q.held[q.n_held++] = chain;
}

/* ---- the plugin's steps ---------------------------------------------------------------------- */

static void learn_base(void)
{
    if (q.base_known || !q.vq->used_known)
        return;
    q.base = q.vq->published_idx;
    q.base_known = true;
}

static void pop(struct input *in)
{
    struct hvv_chain *chains[POP_MAX];
    uint32_t max = input_u8(in) % (POP_MAX + 1);
    uint32_t n = virtq_pop(q.vq, chains, max);
    must(n <= max, "%u chains for %u", n, max);
    must(n == 0 || q.started, "a queue that is stopped gave a chain");
    learn_base();
    must(q.n_held + n <= q.size, "%u chains in flight in a ring of %u", q.n_held + n, q.size);
    for (uint32_t i = 0; i < n; i++)
        take_chain(chains[i]);
}

static struct hvv_chain *let_go(uint32_t i)
{
    struct hvv_chain *chain = q.held[i];
    q.heads &= ~(1ull << head_of(chain));
    memmove(&q.held[i], &q.held[i + 1], (--q.n_held - i) * sizeof(q.held[0]));
    return chain;
}

static void touch(const struct hvv_chain *chain)
{
    volatile char sink = 0; /* reads: the address sanitizer looks at each */
    for (uint32_t i = 0; i < chain->n_readable; i++)
        sink = (char)(sink + ((const char *)chain->readable[i].iov_base)[0] +
                      ((const char *)chain->readable[i].iov_base)[chain->readable[i].iov_len - 1]);
}

static void complete(struct input *in)
{
    uint8_t which = input_u8(in);
    uint32_t written = input_u16(in);
    if (q.n_held == 0)
        return;
    struct hvv_chain *chain = q.held[which % q.n_held];
    touch(chain);
    bool shown = !q.broken && !q.discarded;
    q.finished = (uint16_t)(q.finished + shown);
    virtq_complete(let_go(which % q.n_held), written);
}

HVV_PRINTF(2, 3)
static void fail_with(struct hvv_chain *chain, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    virtq_fail(chain, fmt, args);
    va_end(args);
}

static void fail(struct input *in)
{
    uint8_t which = input_u8(in);
    if (q.n_held == 0)
        return;
    fail_with(let_go(which % q.n_held), "the plugin says %u", which);
    must(q.broken, "a failed chain did not break the queue");
}

/* The newest chain popped, if it is still held: the ABI allows no other to be released. */
static void release(void)
{
    if (q.n_held == 0)
        return;
    const struct chain *chain = (struct chain *)(void *)q.held[q.n_held - 1];
    if (chain->seq == q.vq->seq_next - 1)
        virtq_release(let_go(q.n_held - 1));
}

/* ---- the host's steps ------------------------------------------------------------------------ */

/* After a flush the driver sees what was finished and no more. */
static void flush(void)
{
    virtq_flush(q.vq);
    const struct vring_used *u = (const void *)guest(USED, 4);
    if (!q.base_known || q.broken || q.vq->state == VIRTQ_IDLE)
        return;
    uint16_t shown = (uint16_t)(u->idx - q.base);
    if (q.features & FEATURE(IN_ORDER))
        must((uint16_t)(q.finished - shown) < 0x8000, "%u shown of %u finished", shown, q.finished);
    else
        must(shown == q.finished, "%u shown of %u finished", shown, q.finished);
}

static void start(struct input *in)
{
    struct virtq_setup setup = {
        .size = q.size, .desc = DESC, .avail = AVAIL, .used = USED, .features = q.features,
    };
    struct virtq_ring ring;
    struct error error = {0};
    if (q.vq->state != VIRTQ_IDLE)
        return;
    uint8_t how = input_u8(in);
    setup.next_avail = how & 1 ? avail()->idx : q.vq->next_avail;
    if (how & 2)
        setup.desc = an_address(in);
    if (how & 4)
        setup.avail = an_address(in) & ~1ull;
    if (how & 8)
        setup.used = an_address(in) & ~3ull;
    if (virtq_resolve(q.vq, &setup, world.memory[q.now], &ring, &error) < 0) {
        must(error.err > 0 && error.text[0], "refused for no reason");
        return;
    }
    if (how & 14)
        return; /* the model below knows one place only */
    q.broken = q.discarded = q.base_known = false;
    q.finished = 0;
    q.started = true;
    virtq_start(q.vq, &setup, &ring, world.memory[q.now]);
}

static void stop(struct input *in)
{
    bool discard = input_u8(in) & 1;
    if (!q.started)
        return;
    flush();
    q.started = false;
    q.discarded = discard;
    q.stops++;
    virtq_stop(q.vq, discard);
    virtq_settle(q.vq);
    must((q.idle == q.stops) == (q.n_held == 0), "idle or not with %u chains held", q.n_held);
}

static void change_memory(void)
{
    struct virtq_setup setup = {
        .size = q.size, .desc = DESC, .avail = AVAIL, .used = USED, .features = q.features,
    };
    struct virtq_ring ring;
    struct error error = {0};
    if (q.changing || q.vq->state == VIRTQ_IDLE)
        return;
    flush();
    q.now ^= 1;
    must(virtq_resolve(q.vq, &setup, world.memory[q.now], &ring, &error) == 0, "%s", error.text);
    /* What a driver does: the ring's contents are where the ring is. */
    memcpy(guest(A_GPA, 0x3000), world.ram[q.now ? A : A2], 0x3000);
    q.changing = true;
    virtq_set_memory(q.vq, world.memory[q.now], &ring);
}

static void step(struct input *in)
{
    switch (input_u8(in) % 18) {
    case 0: case 1: guest_desc(in); break;
    case 2: case 3: guest_avail(in); break;
    case 4: guest_words(in); break;
    case 5: guest_table(in); break;
    case 6: guest_bytes(in); break;
    case 7: case 8: pop(in); break;
    case 9: case 10: complete(in); break;
    case 11: release(); break;
    case 12: fail(in); break;
    case 13: flush(); break;
    case 14: stop(in); break;
    case 15: start(in); break;
    case 16: change_memory(); break;
    default:
        virtq_begin_turn(q.vq);
        if (virtq_wants_service(q.vq))
            virtq_suppress(q.vq);
        else
            virtq_enable(q.vq);
        break;
    }
    must(q.broken == q.vq->broken || q.vq->state == VIRTQ_IDLE, "nobody was told it is broken");
}

static void finish_all(void)
{
    struct input none = {NULL, 0};
    if (q.started)
        stop(&none);
    while (q.n_held)
        virtq_complete(let_go(0), 0);
    must(q.idle == q.stops && q.vq->state == VIRTQ_IDLE, "not idle without a chain");
    must(!q.changing, "a memory change did not end");
    must(!q.vq->memory[0] && !q.vq->memory[1], "an idle queue keeps memory");
    must(q.vq->in_flight == 0 && q.vq->using[0] == 0 && q.vq->using[1] == 0, "chains miscounted");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    if (!world.loop)
        make_world();
    for (unsigned r = 0; r < N_REGIONS; r++)
        memset(world.ram[r], 0, place[r].size);
    memset(&q, 0, sizeof(q));
    uint8_t flags = input_u8(&in);
    q.features = (flags & 1 ? FEATURE(VIRTIO_RING_F_INDIRECT_DESC) : 0) |
                 (flags & 2 ? FEATURE(VIRTIO_RING_F_EVENT_IDX) : 0) |
                 (flags & 4 ? FEATURE(IN_ORDER) : 0);
    q.size = 1u << (flags >> 3) % (SIZE_MAX_LOG2 + 1);
    avail()->idx = input_u16(&in);
    ((struct vring_used *)(void *)guest(USED, 4))->idx = input_u16(&in);
    q.vq = virtq_new(1, RING_MAX, input_u8(&in), 8, NULL);
    virtq_attach(q.vq, world.loop, &owner, NULL);
    start(&(struct input){(const uint8_t[]){1}, 1});
    for (unsigned i = 0; i < STEPS_MAX && input_left(&in); i++)
        step(&in);
    finish_all();
    virtq_free(q.vq);
    return 0;
}
