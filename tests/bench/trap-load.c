/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trap-load.c - measures a daemon over its trap socket; for tests/bench/trap.
 *
 *     blk      a closed loop of requests on one disk, as vhost-blk-load makes them
 *     access   register reads on a schedule: one is due every so often whether or not the one
 *              before has been answered, and its time counts from the instant it was due
 *
 * A vCPU sleeps until shortly before an instant and then looks at the clock: a guest that is about
 * to access a register is running. What still makes it late is in `late_us`, and in the latency.
 */
#include "trap-dummy.h"
#include "trap-echo.h"
#include "trap-guest.h"

#include "clock.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define VCPUS_MAX 8u
#define FIRST_VCPU 8u /* of those that access on a schedule */
#define WARM_UP 100u  /* accesses that do not count */
#define EARLY_NS 100000u
#define ACCESS_MS 10000u /* until an access counts as never answered */

enum beside { BESIDE_NOTHING, BESIDE_DISK, BESIDE_DUMMY };

struct options {
    const char *path; /* of the trap socket */
    bool access;
    unsigned int slot, depth;
    bool write, futex, stay;
    uint64_t ios;
    double seconds;
    unsigned int irq_limit, irq_again_ms;
    /* access */
    unsigned int rate, vcpus;
    bool pin;
    const char *echo;   /* "asleep" or "hot": no daemon at all */
    enum beside beside;
    unsigned int beside_slot;
    pid_t daemon;
    struct weight weight;
    const char *image;
};

static struct options opt = { .depth = 1, .rate = 1000, .vcpus = 1, .irq_limit = UINT32_MAX };

static double us(uint64_t ns)
{
    return (double)ns / 1000;
}

static void print_histogram(const char *name, const struct histogram *h)
{
    printf("\"%s\":{\"mean\":%.3f,\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}", name,
           histogram_mean(h) / 1000, us(histogram_quantile(h, 0.5)),
           us(histogram_quantile(h, 0.99)), us(h->max));
}

static int complain(const char *what, int err)
{
    fprintf(stderr, "trap-load: %s: %s\n", what, strerror(-err));
    return err;
}

static struct sim_options sim_options_of(void)
{
    return (struct sim_options){ .futex = opt.futex, .irq_limit = opt.irq_limit,
                                 .irq_again_ms = opt.irq_again_ms,
                                 .access_deadline_ms = ACCESS_MS };
}

/* ---- blk ------------------------------------------------------------------------------------- */

static void print_load(const struct disk_load *l)
{
    double ios = (double)l->latency.count;

    printf("{\"ios\":%.0f,\"seconds\":%.3f,\"iops\":%.1f,\"interrupts\":%llu,\"kicks\":%llu,"
           "\"cpu_seconds\":%.3f,",
           ios, l->elapsed, ios / l->elapsed, (unsigned long long)l->interrupts,
           (unsigned long long)l->disk.ring[0].kicks, l->cpu);
    print_histogram("lat_us", &l->latency);
    printf("}\n");
    fflush(stdout);
}

static int measure_disk(struct trap_guest *g)
{
    static struct disk_load l;
    int err;

    l.g = g;
    l.slot = opt.slot;
    l.depth = opt.depth;
    l.write = opt.write;
    l.ios = opt.ios;
    l.seconds = opt.seconds;
    err = disk_load_open(&l);
    if (!err)
        err = disk_load_run(&l);
    if (!err)
        print_load(&l);
    while (!err && opt.stay && getchar() != EOF)
        continue;
    disk_load_close(&l);
    return err;
}

/* ---- access: one vCPU ------------------------------------------------------------------------ */

struct vcpu {
    pthread_t thread;
    struct trap_guest *g;
    struct echo *echo; /* instead of the guest */
    unsigned int number;
    uint64_t start_ns, accesses;
    struct histogram latency, late;
    int err;
};

static void wait_until(uint64_t due)
{
    uint64_t at = due - EARLY_NS;
    struct timespec t = { (time_t)(at / 1000000000u), (long)(at % 1000000000u) };

    if (clock_ns() < at)
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
            ;
    while (clock_ns() < due)
        ring_relax();
}

static int access_once(const struct vcpu *v)
{
    struct sim_access a = { .cpu = FIRST_VCPU + v->number, .zone = TRAP_ZONE, .size = 4,
                            .address = guest_slot(opt.slot).address + VIRTIO_MMIO_DEVICE_ID };
    int err;

    if (v->echo)
        return echo_once(v->echo) ? 0 : -ETIMEDOUT;
    err = sim_access(v->g->sim, &a);
    return err || a.value ? err : -ENODEV;
}

/* Leaves CPU 0 to who answers. */
static void pin(void)
{
    cpu_set_t cpus;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0 || CPU_COUNT(&cpus) < 2)
        return;
    CPU_CLR(0, &cpus);
    sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void *run_vcpu(void *arg)
{
    struct vcpu *v = arg;
    uint64_t period = 1000000000u / opt.rate;

    if (opt.pin)
        pin();
    prctl(PR_SET_TIMERSLACK, 1ul);
    for (uint64_t i = 0; i < v->accesses && !v->err; i++) {
        uint64_t due = v->start_ns + i * period + v->number * period / opt.vcpus, began;

        wait_until(due);
        began = clock_ns();
        v->err = access_once(v);
        if (i < WARM_UP)
            continue;
        histogram_add(&v->latency, clock_ns() - due);
        histogram_add(&v->late, began - due);
    }
    return NULL;
}

/* ---- access: all of it ----------------------------------------------------------------------- */

static struct vcpu vcpu[VCPUS_MAX];

static int run_vcpus(struct trap_guest *g, struct echo *echo)
{
    uint64_t start = clock_ns() + 10000000u;
    unsigned int n = 0;
    int err = 0;

    for (; n < opt.vcpus && !err; n += !err) {
        vcpu[n].g = g;
        vcpu[n].echo = echo;
        vcpu[n].number = n;
        vcpu[n].start_ns = start;
        vcpu[n].accesses = WARM_UP + (uint64_t)(opt.seconds * opt.rate);
        err = -pthread_create(&vcpu[n].thread, NULL, run_vcpu, &vcpu[n]);
    }
    for (unsigned int i = 0; i < n; i++) {
        pthread_join(vcpu[i].thread, NULL);
        err = err ? err : vcpu[i].err;
    }
    for (unsigned int i = 1; i < n; i++) {
        histogram_merge(&vcpu[0].latency, &vcpu[i].latency);
        histogram_merge(&vcpu[0].late, &vcpu[i].late);
    }
    return err ? complain("an access", err) : 0;
}

static void print_accesses(void)
{
    printf("{\"accesses\":%llu,", (unsigned long long)vcpu[0].latency.count);
    print_histogram("lat_us", &vcpu[0].latency);
    printf(",");
    print_histogram("late_us", &vcpu[0].late);
}

static int measure_echo(void)
{
    struct echo echo = { .pid = 0 };
    int err = echo_open(&echo, strcmp(opt.echo, "hot") == 0);

    if (err)
        complain("echo", err);
    else
        err = run_vcpus(NULL, &echo);
    echo_close(&echo);
    if (!err) {
        print_accesses();
        printf("}\n");
    }
    return err;
}

/* ---- access: beside a disk or its dummy ------------------------------------------------------ */

static struct disk_load beside;

static void *run_beside(void *arg)
{
    int *err = arg;

    *err = disk_load_run(&beside);
    return NULL;
}

/* What the dummy has to weigh, in the form of --weight. */
static void print_weight(double cpu)
{
    double interrupts = beside.interrupts ? (double)beside.interrupts : 1;

    printf(",\"iops\":%.1f,\"turns\":%.1f,\"weight\":\"%.9f:%.9f:%.4f\"",
           (double)beside.latency.count / beside.elapsed, interrupts / beside.elapsed,
           cpu / interrupts, beside.cpu / interrupts,
           (double)beside.disk.ring[0].kicks / interrupts);
}

static int measure_beside_disk(struct trap_guest *g)
{
    double cpu;
    pthread_t thread;
    int err, load_err = 0;

    beside.g = g;
    beside.slot = opt.beside_slot;
    beside.depth = opt.depth;
    err = disk_load_open(&beside);
    if (err)
        return err;
    cpu = daemon_cpu(opt.daemon);
    err = cpu < 0 ? -ESRCH : -pthread_create(&thread, NULL, run_beside, &load_err);
    if (err)
        return complain("beside a disk", err);
    err = run_vcpus(g, NULL);
    atomic_store(&beside.stop, true);
    pthread_join(thread, NULL);
    if (!err && !load_err) {
        print_accesses();
        print_weight(daemon_cpu(opt.daemon) - cpu);
        printf("}\n");
    }
    disk_load_close(&beside);
    return err ? err : load_err;
}

static int measure_beside_dummy(struct trap_guest *g)
{
    struct dummy d = { .weight = opt.weight, .image = opt.image, .g = g,
                       .slot = opt.slot };
    int err = dummy_start(&d);

    if (err)
        complain("the dummy", err);
    else
        err = run_vcpus(g, NULL);
    dummy_stop(&d);
    if (!err) {
        print_accesses();
        printf(",\"turns\":%.1f}\n", d.turns);
    }
    return err;
}

static int measure_accesses(struct trap_guest *g)
{
    int err;

    if (opt.beside == BESIDE_DISK)
        return measure_beside_disk(g);
    if (opt.beside == BESIDE_DUMMY)
        return measure_beside_dummy(g);
    err = run_vcpus(g, NULL);
    if (!err) {
        print_accesses();
        printf("}\n");
    }
    return err;
}

/* ---- command line ---------------------------------------------------------------------------- */

static const char help[] =
    "Usage: trap-load SOCKET blk|access [OPTION]...\n"
    "Starts zone 1, with slots of length 0x200 from 0xa003000 and irqs from 48, and measures.\n\n"
    "  --slot N          which disk, or whose registers are read (default 0)\n"
    "  --seconds S       how long (default 1)\n"
    "  --futex           stopped vCPUs sleep; else they look at their word in a loop\n"
    "  --irq-limit N     interrupts told and not acknowledged (default: any number)\n"
    "  --irq-again MS    they are told again after so long (default: never)\n"
    "blk: random reads of 4 KiB\n"
    "  --write           writes instead\n"
    "  --depth N         requests in flight (default 1)\n"
    "  --ios N           so many requests, instead of --seconds\n"
    "  --stay            stay, idle, until standard input ends\n"
    "access:\n"
    "  --rate N          accesses per second and vCPU (default 1000)\n"
    "  --vcpus N         vCPUs (default 1)\n"
    "  --pin             vCPUs do not run on CPU 0\n"
    "  --echo KIND       asleep or hot: no daemon, the floor\n"
    "  --disk N          beside the disk of slot N under load, of --depth\n"
    "  --daemon PID      of the daemon, with --disk\n"
    "  --weight TEXT     beside a dummy, as heavy as such a run said\n"
    "  --image FILE      what the dummy reads\n"
    "One JSON object is printed. Exit status: 0 done, 1 failed, 2 wrong usage.\n";

enum { OPT_SLOT = 256, OPT_SECONDS, OPT_FUTEX, OPT_IRQ_LIMIT, OPT_IRQ_AGAIN, OPT_WRITE, OPT_DEPTH,
       OPT_IOS, OPT_STAY, OPT_RATE, OPT_VCPUS, OPT_PIN, OPT_ECHO, OPT_DISK, OPT_DAEMON, OPT_WEIGHT,
       OPT_IMAGE, OPT_HELP };

static const struct option options[] = {
    { "slot", required_argument, NULL, OPT_SLOT },
    { "seconds", required_argument, NULL, OPT_SECONDS },
    { "futex", no_argument, NULL, OPT_FUTEX },
    { "irq-limit", required_argument, NULL, OPT_IRQ_LIMIT },
    { "irq-again", required_argument, NULL, OPT_IRQ_AGAIN },
    { "write", no_argument, NULL, OPT_WRITE },
    { "depth", required_argument, NULL, OPT_DEPTH },
    { "ios", required_argument, NULL, OPT_IOS },
    { "stay", no_argument, NULL, OPT_STAY },
    { "rate", required_argument, NULL, OPT_RATE },
    { "vcpus", required_argument, NULL, OPT_VCPUS },
    { "pin", no_argument, NULL, OPT_PIN },
    { "echo", required_argument, NULL, OPT_ECHO },
    { "disk", required_argument, NULL, OPT_DISK },
    { "daemon", required_argument, NULL, OPT_DAEMON },
    { "weight", required_argument, NULL, OPT_WEIGHT },
    { "image", required_argument, NULL, OPT_IMAGE },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

static bool parse_uint(const char *text, unsigned int min, unsigned int max, unsigned int *value)
{
    unsigned long n;
    char *end;

    errno = 0;
    n = strtoul(text, &end, 10);
    *value = (unsigned int)n;
    return *text >= '0' && *text <= '9' && !*end && !errno && n >= min && n <= max;
}

static bool parse_seconds(const char *text)
{
    char *end;

    opt.seconds = strtod(text, &end);
    return !*end && opt.seconds > 0 && opt.seconds < 3600;
}

static bool parse_weight(const char *text)
{
    struct weight *w = &opt.weight;

    opt.beside = BESIDE_DUMMY;
    return sscanf(text, "%lf:%lf:%lf", &w->daemon_cpu, &w->guest_cpu, &w->kicks) == 3;
}

static bool parse_echo(const char *text)
{
    opt.echo = text;
    return strcmp(text, "asleep") == 0 || strcmp(text, "hot") == 0;
}

static bool take_option(int which)
{
    unsigned int n = 0;

    switch (which) {
    case OPT_SLOT: return parse_uint(optarg, 0, TRAP_SLOTS - 1, &opt.slot);
    case OPT_SECONDS: return parse_seconds(optarg);
    case OPT_FUTEX: return opt.futex = true;
    case OPT_IRQ_LIMIT: return parse_uint(optarg, 1, 1000, &opt.irq_limit);
    case OPT_IRQ_AGAIN: return parse_uint(optarg, 0, 10000, &opt.irq_again_ms);
    case OPT_WRITE: return opt.write = true;
    case OPT_DEPTH: return parse_uint(optarg, 1, TRAP_DEPTH, &opt.depth);
    case OPT_IOS:
        opt.ios = parse_uint(optarg, 1, UINT32_MAX, &n) ? n : 0;
        return opt.ios > 0;
    case OPT_STAY: return opt.stay = true;
    case OPT_RATE: return parse_uint(optarg, 1, 100000, &opt.rate);
    case OPT_VCPUS: return parse_uint(optarg, 1, VCPUS_MAX, &opt.vcpus);
    case OPT_PIN: return opt.pin = true;
    case OPT_ECHO: return parse_echo(optarg);
    case OPT_DISK:
        opt.beside = BESIDE_DISK;
        return parse_uint(optarg, 0, TRAP_SLOTS - 1, &opt.beside_slot);
    case OPT_DAEMON: return parse_uint(optarg, 1, INT32_MAX, &n) && (opt.daemon = (pid_t)n);
    case OPT_WEIGHT: return parse_weight(optarg);
    case OPT_IMAGE: return (opt.image = optarg);
    default: return false;
    }
}

static bool parse(int argc, char **argv)
{
    int which;

    while ((which = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (which == OPT_HELP) {
            fputs(help, stdout);
            exit(0);
        }
        if (!take_option(which))
            return false;
    }
    if (argc - optind != 2)
        return false;
    opt.path = argv[optind];
    opt.access = strcmp(argv[optind + 1], "access") == 0;
    if (!opt.seconds && !opt.ios)
        opt.seconds = 1;
    if ((opt.beside == BESIDE_DISK && !opt.daemon) || (opt.beside == BESIDE_DUMMY && !opt.image))
        return false;
    return opt.access || strcmp(argv[optind + 1], "blk") == 0;
}

int main(int argc, char **argv)
{
    struct trap_guest g = { .sim = NULL };
    struct sim_options so;
    int err;

    if (!parse(argc, argv)) {
        fputs(help, stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (opt.access && opt.echo)
        return measure_echo() ? 1 : 0;
    so = sim_options_of();
    err = trap_guest_open(&g, opt.path, &so);
    if (!err)
        err = opt.access ? measure_accesses(&g) : measure_disk(&g);
    if (trap_guest_close(&g) || err)
        return 1;
    return 0;
}
