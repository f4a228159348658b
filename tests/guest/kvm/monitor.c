/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * monitor.c - a small monitor for KVM on arm64. It runs one zone, a Linux kernel with two CPUs, and
 * emulates nothing but a serial console: what the zone does to the registers of its virtio-mmio
 * slots goes over the trap socket to hvisor-vhost, which has the devices.
 *
 *     vCPU touches a slot -> KVM_RUN returns -> trap_access() -> KVM_RUN    thread of the vCPU
 *     the daemon raises an interrupt -> eventfd -> KVM_IRQ_LINE             thread of main()
 *     stdin -> the UART's input -> KVM_IRQ_LINE                             thread of main()
 *
 * Start reading at main(); vm.c is KVM, trap.c the protocol, uart.c the console, machine.h says
 * where everything is.
 */
#include "die.h"
#include "machine.h"
#include "trap.h"
#include "uart.h"
#include "vm.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_NOTIFY 0x50 /* a register, from the start of a slot */

struct monitor {
    uint32_t zone;
    struct vm vm;
    struct trap trap;
    struct uart uart;
    bool input_ended;
    uint64_t n_interrupts;
    _Atomic uint64_t n_accesses, n_notifications;
};

struct options {
    const char *trap, *kernel, *initrd, *dtb;
    uint32_t zone;
};

/* ---- accesses, on the threads of the vCPUs --------------------------------------------------- */

static uint64_t access_slot(struct monitor *m, unsigned cpu, uint64_t address, unsigned size,
                            uint64_t value, bool is_write)
{
    /* A notification is never answered: the vCPU goes on while the device works. */
    bool notify = is_write && (address - SLOT) % SLOT_SIZE == QUEUE_NOTIFY;
    struct hvv_bridge_request access = {
        .src_cpu = cpu, .src_zone = m->zone, .address = address, .size = size, .value = value,
        .is_write = is_write, .need_interrupt = notify};

    m->n_accesses++;
    if (notify)
        m->n_notifications++;
    return trap_access(&m->trap, access);
}

static uint64_t on_access(void *arg, unsigned cpu, uint64_t address, unsigned size, uint64_t value,
                          bool is_write)
{
    struct monitor *m = arg;

    if (address >= SLOT && address < SLOT + SLOTS * SLOT_SIZE)
        return access_slot(m, cpu, address, size, value, is_write);
    if (address < UART || address >= UART + UART_SIZE)
        die("vCPU %u touches 0x%" PRIx64 ", where nothing is", cpu, address);
    if (!is_write)
        return uart_read(&m->uart, address - UART);
    uart_write(&m->uart, address - UART, (uint32_t)value);
    return 0;
}

/* ---- interrupts and input, on the thread of main() ------------------------------------------- */

/* An edge: up and down. The interrupt controller remembers it. */
static void inject(void *arg, uint32_t zone, uint32_t irq)
{
    struct monitor *m = arg;

    if (zone != m->zone || irq < FIRST_SPI + SLOT_SPI || irq >= FIRST_SPI + SLOT_SPI + SLOTS)
        die("the daemon raises interrupt %u of zone %u, which no slot has", irq, zone);
    m->n_interrupts++;
    vm_set_irq(&m->vm, irq, true);
    vm_set_irq(&m->vm, irq, false);
}

static void set_uart_line(void *arg, bool level)
{
    struct monitor *m = arg;

    vm_set_irq(&m->vm, FIRST_SPI + UART_SPI, level);
}

static void take_input(struct monitor *m)
{
    char bytes[UART_ROOM];
    ssize_t n = read(STDIN_FILENO, bytes, uart_room(&m->uart));

    if (n > 0)
        uart_input(&m->uart, bytes, (size_t)n);
    else if (n == 0 || errno != EINTR)
        m->input_ended = true;
}

/* Until the zone has ended. Input that has no room stays where it is, for a moment at most. */
static void serve(struct monitor *m)
{
    enum { END, DAEMON, INTERRUPTS, INPUT, FDS };

    for (;;) {
        bool full = uart_room(&m->uart) == 0;
        struct pollfd fds[FDS] = {
            [END] = {.fd = m->vm.end_event, .events = POLLIN},
            [DAEMON] = {.fd = m->trap.socket, .events = POLLIN},
            [INTERRUPTS] = {.fd = m->trap.interrupts, .events = POLLIN},
            [INPUT] = {.fd = m->input_ended || full ? -1 : STDIN_FILENO, .events = POLLIN},
        };
        if (poll(fds, FDS, full ? 10 : -1) < 0 && errno != EINTR)
            die("cannot wait: %s", strerror(errno));
        if (fds[END].revents)
            return;
        if (fds[DAEMON].revents) /* it says nothing unasked */
            die("the daemon hung up");
        if (fds[INTERRUPTS].revents)
            trap_take_interrupts(&m->trap, inject, m);
        if (fds[INPUT].revents)
            take_input(m);
    }
}

/* ---- the zone's life ------------------------------------------------------------------------- */

static void declare(struct monitor *m)
{
    trap_memory(&m->trap, m->zone, RAM, RAM_SIZE, m->vm.memory_file);
    for (uint32_t i = 0; i < SLOTS; i++)
        trap_slot(&m->trap, m->zone, SLOT + i * SLOT_SIZE, SLOT_SIZE, FIRST_SPI + SLOT_SPI + i);
}

static void load(struct monitor *m, const struct options *options)
{
    vm_load(&m->vm, options->kernel, KERNEL_OFFSET, DTB_OFFSET - KERNEL_OFFSET);
    vm_load(&m->vm, options->dtb, DTB_OFFSET, DTB_ROOM);
    vm_load(&m->vm, options->initrd, INITRD_OFFSET, RAM_SIZE - INITRD_OFFSET);
}

static enum vm_end run(struct monitor *m, const struct options *options)
{
    uart_init(&m->uart, set_uart_line, m);
    vm_create(&m->vm, on_access, m);
    load(m, options);
    trap_connect(&m->trap, options->trap);
    declare(m);
    trap_start(&m->trap, m->zone);
    vm_start(&m->vm);
    serve(m);
    enum vm_end why = vm_join(&m->vm);
    /* The daemon may use the zone's memory until this is answered. */
    trap_stop(&m->trap, m->zone);
    fflush(stdout);
    return why;
}

static void usage(FILE *to)
{
    fputs("usage: monitor --trap SOCKET --kernel FILE --initrd FILE --dtb FILE [--zone N]\n"
          "Runs a zone with the devices that hvisor-vhost --trap SOCKET has for it. Its console\n"
          "is on stdin and stdout. Exit status: 0 it powered off, 3 it wants to boot again,\n"
          "1 anything else.\n", to);
}

static struct options parse(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"trap", required_argument, NULL, 't'}, {"kernel", required_argument, NULL, 'k'},
        {"initrd", required_argument, NULL, 'i'}, {"dtb", required_argument, NULL, 'd'},
        {"zone", required_argument, NULL, 'z'}, {"help", no_argument, NULL, 'h'}, {0},
    };
    struct options options = {.zone = 1};
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (c) {
        case 't': options.trap = optarg; break;
        case 'k': options.kernel = optarg; break;
        case 'i': options.initrd = optarg; break;
        case 'd': options.dtb = optarg; break;
        case 'z': options.zone = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
    if (!options.trap || !options.kernel || !options.initrd || !options.dtb || optind < argc) {
        usage(stderr);
        exit(2);
    }
    return options;
}

int main(int argc, char **argv)
{
    static const char *const ends[] = {"runs", "powered off", "wants to boot again", "crashed"};
    static struct monitor m;
    struct options options = parse(argc, argv);

    m.zone = options.zone;
    enum vm_end why = run(&m, &options);
    fprintf(stderr, "monitor: zone %u %s: %" PRIu64 " accesses, %" PRIu64 " of them notifications, "
            "%" PRIu64 " interrupts\n", m.zone, ends[why], m.n_accesses, m.n_notifications,
            m.n_interrupts);
    return why == VM_OFF ? 0 : why == VM_RESET ? 3 : 1;
}
