/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm.c - the zone as KVM for arm64 sees it, see vm.h. KVM emulates the interrupt controller, the
 * timers and PSCI, by which the zone starts its CPUs and powers off.
 */
#include "vm.h"

#include "die.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* The id of a register, by its place in struct kvm_regs. */
#define CORE_REGISTER(field) \
    (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
     (offsetof(struct kvm_regs, field) / sizeof(uint32_t)))

/* Like ioctl(), but it cannot fail. */
static int do_ioctl(int fd, unsigned long request, void *arg, const char *what)
{
    int rc = ioctl(fd, request, arg);

    if (rc < 0)
        die("cannot %s: %s", what, strerror(errno));
    return rc;
}

/* ---- making ---------------------------------------------------------------------------------- */

static void make_memory(struct vm *vm)
{
    vm->memory_file = memfd_create("zone", MFD_CLOEXEC);
    if (vm->memory_file < 0 || ftruncate(vm->memory_file, RAM_SIZE) < 0)
        die("cannot make the zone's memory: %s", strerror(errno));
    vm->memory = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->memory_file, 0);
    if (vm->memory == MAP_FAILED)
        die("cannot map the zone's memory: %s", strerror(errno));
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = RAM, .memory_size = RAM_SIZE,
        .userspace_addr = (uintptr_t)vm->memory};
    do_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region, "give the zone its memory");
}

static void set_gic(struct vm *vm, uint32_t group, uint64_t attribute, uint64_t value)
{
    struct kvm_device_attr set = {.group = group, .attr = attribute, .addr = (uintptr_t)&value};

    do_ioctl(vm->gic, KVM_SET_DEVICE_ATTR, &set, "set up the interrupt controller");
}

static void make_gic(struct vm *vm)
{
    struct kvm_create_device gic = {.type = KVM_DEV_TYPE_ARM_VGIC_V3};

    do_ioctl(vm->fd, KVM_CREATE_DEVICE, &gic, "make an interrupt controller");
    vm->gic = (int)gic.fd;
    set_gic(vm, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, GIC_DISTRIBUTOR);
    set_gic(vm, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, GIC_REDISTRIBUTORS);
}

static void make_vcpu(struct vm *vm, unsigned number)
{
    struct vcpu *cpu = &vm->vcpus[number];
    struct kvm_vcpu_init init;
    int size = do_ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "ask KVM");

    *cpu = (struct vcpu){.vm = vm, .number = number};
    cpu->fd = do_ioctl(vm->fd, KVM_CREATE_VCPU, (void *)(uintptr_t)number, "make a vCPU");
    do_ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init, "ask what CPUs KVM has");
    init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
    if (number > 0)
        init.features[0] |= 1u << KVM_ARM_VCPU_POWER_OFF;
    do_ioctl(cpu->fd, KVM_ARM_VCPU_INIT, &init, "set up a vCPU");
    cpu->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (cpu->run == MAP_FAILED)
        die("cannot map a vCPU: %s", strerror(errno));
}

void vm_create(struct vm *vm, vm_access *access, void *arg)
{
    *vm = (struct vm){.access = access, .arg = arg};
    vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm < 0)
        die("cannot open /dev/kvm: %s", strerror(errno));
    vm->fd = do_ioctl(vm->kvm, KVM_CREATE_VM, NULL, "make a virtual machine");
    vm->end_event = eventfd(0, EFD_CLOEXEC);
    if (vm->end_event < 0)
        die("cannot make an eventfd: %s", strerror(errno));
    make_memory(vm);
    make_gic(vm);
    for (unsigned i = 0; i < CPUS; i++)
        make_vcpu(vm, i);
    /* The last step: it has to know how many vCPUs there are. */
    set_gic(vm, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0);
}

void vm_load(struct vm *vm, const char *path, uint64_t offset, uint64_t room)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t size = 0;
    ssize_t n;

    if (file < 0)
        die("cannot open %s: %s", path, strerror(errno));
    while ((n = read(file, vm->memory + offset + size, room - size)) > 0)
        size += (uint64_t)n;
    if (n < 0)
        die("cannot read %s: %s", path, strerror(errno));
    if (size == room)
        die("%s does not fit into %llu bytes: see machine.h", path, (unsigned long long)room);
    close(file);
}

/* ---- running --------------------------------------------------------------------------------- */

static void end(struct vm *vm, enum vm_end why)
{
    int runs = VM_RUNS;
    uint64_t one = 1;

    if (atomic_compare_exchange_strong(&vm->end, &runs, why) &&
        write(vm->end_event, &one, sizeof(one)) < 0)
        die("cannot tell that the zone ended: %s", strerror(errno));
}

static void on_access(struct vcpu *cpu)
{
    struct kvm_run *run = cpu->run;
    uint64_t value = 0;

    if (run->mmio.is_write)
        memcpy(&value, run->mmio.data, sizeof(value));
    value = cpu->vm->access(cpu->vm->arg, cpu->number, run->mmio.phys_addr, run->mmio.len, value,
                            run->mmio.is_write);
    if (!run->mmio.is_write)
        memcpy(run->mmio.data, &value, sizeof(value));
}

static void on_system_event(struct vm *vm, uint32_t type)
{
    if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
        end(vm, VM_OFF);
    else if (type == KVM_SYSTEM_EVENT_RESET)
        end(vm, VM_RESET);
    else
        end(vm, VM_CRASHED);
}

static void *run_vcpu(void *arg)
{
    struct vcpu *cpu = arg;

    while (atomic_load(&cpu->vm->end) == VM_RUNS) {
        if (ioctl(cpu->fd, KVM_RUN, NULL) < 0) {
            if (errno != EINTR && errno != EAGAIN)
                die("vCPU %u cannot run: %s", cpu->number, strerror(errno));
        } else if (cpu->run->exit_reason == KVM_EXIT_MMIO) {
            on_access(cpu);
        } else if (cpu->run->exit_reason == KVM_EXIT_SYSTEM_EVENT) {
            on_system_event(cpu->vm, cpu->run->system_event.type);
        } else {
            die("vCPU %u stopped for reason %u", cpu->number, cpu->run->exit_reason);
        }
    }
    return NULL;
}

static void set_register(struct vcpu *cpu, uint64_t id, uint64_t value)
{
    struct kvm_one_reg set = {.id = id, .addr = (uintptr_t)&value};

    do_ioctl(cpu->fd, KVM_SET_ONE_REG, &set, "set a register");
}

static void on_kick(int signal)
{
    (void)signal; /* it is there to end an ioctl(KVM_RUN) */
}

void vm_start(struct vm *vm)
{
    struct sigaction kick = {.sa_handler = on_kick};

    sigaction(SIGUSR1, &kick, NULL);
    set_register(&vm->vcpus[0], CORE_REGISTER(regs.pc), RAM + KERNEL_OFFSET);
    set_register(&vm->vcpus[0], CORE_REGISTER(regs.regs[0]), RAM + DTB_OFFSET);
    for (unsigned i = 0; i < CPUS; i++) {
        errno = pthread_create(&vm->vcpus[i].thread, NULL, run_vcpu, &vm->vcpus[i]);
        if (errno)
            die("cannot start the thread of a vCPU: %s", strerror(errno));
    }
}

/* A vCPU that is on its way into KVM_RUN when the signal comes finds immediate_exit there. */
enum vm_end vm_join(struct vm *vm)
{
    for (unsigned i = 0; i < CPUS; i++) {
        __atomic_store_n(&vm->vcpus[i].run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        pthread_kill(vm->vcpus[i].thread, SIGUSR1);
    }
    for (unsigned i = 0; i < CPUS; i++)
        pthread_join(vm->vcpus[i].thread, NULL);
    return (enum vm_end)atomic_load(&vm->end);
}

void vm_set_irq(struct vm *vm, uint32_t irq, bool level)
{
    struct kvm_irq_level line = {
        .irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | irq, .level = level};

    do_ioctl(vm->fd, KVM_IRQ_LINE, &line, "set an interrupt line");
}
