/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm.h - the zone as KVM for arm64 sees it: memory, interrupt controller, vCPUs. It knows nothing
 * of devices: what a vCPU does outside of memory is told to the owner.
 */
#ifndef VM_H
#define VM_H

#include "machine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum vm_end { VM_RUNS, VM_OFF, VM_RESET, VM_CRASHED };

struct vm;

struct vcpu {
    struct vm *vm;
    unsigned number;
    int fd;
    struct kvm_run *run; /* shared with KVM */
    pthread_t thread;
};

/*
 * A read or write of `size` bytes outside of memory, on the thread of the vCPU, which goes on when
 * this returns. Returns the value of a read.
 */
typedef uint64_t vm_access(void *arg, unsigned cpu, uint64_t address, unsigned size, uint64_t value,
                           bool is_write);

struct vm {
    int kvm, fd, gic;
    int memory_file;     /* a memfd, RAM_SIZE long, at RAM */
    char *memory;        /* the same, here */
    struct vcpu vcpus[CPUS];
    vm_access *access;
    void *arg;
    int end_event;       /* eventfd: readable once the zone has ended */
    _Atomic int end;     /* enum vm_end */
};

/* Failures end the monitor. */
void vm_create(struct vm *vm, vm_access *access, void *arg);
void vm_load(struct vm *vm, const char *path, uint64_t offset, uint64_t room);

/* Starts the vCPUs: the first at the kernel, the others wait for it to start them. */
void vm_start(struct vm *vm);
/* Once the zone has ended: no vCPU runs any more after this. */
enum vm_end vm_join(struct vm *vm);

/* The level of an interrupt line, which counts from FIRST_SPI. Any thread. */
void vm_set_irq(struct vm *vm, uint32_t irq, bool level);

#endif
