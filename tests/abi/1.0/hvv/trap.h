/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file hvv/trap.h
 * The trap protocol: how a monitor that can stop a vCPU lets hvisor-vhost serve virtio-mmio devices
 * of its zones (guests).
 *
 * The monitor connects to the daemon's trap socket (AF_UNIX, SOCK_SEQPACKET). Each message is one
 * packet: a struct below, with file descriptors as SCM_RIGHTS where said. The monitor sends one and
 * waits for its answer, a struct hvv_trap_answer, before it sends the next. The daemon sends nothing
 * unasked. Little-endian; all reserved fields are 0. What happens while zones run goes through the
 * bridge page (hvv/bridge.h) and two eventfds, not through the socket.
 *
 *     HELLO                    once, first: the page, the eventfds, how interrupts work here
 *     MEMORY, SLOT             any number, in any order: what zone N has
 *     START                    zone N exists from here on: its vCPUs may run
 *     STOP                     zone N is off: its devices are reset, its memory is let go of
 *     MEMORY, SLOT, START ...  it can be declared and started again
 *
 * A monitor that closes its connection, or dies, stops all of its zones. The devices stay and wait
 * for the next monitor that declares the zone.
 *
 * A zone may run once START was answered, and its memory may be given back once STOP was. Slots are
 * remembered by the daemon as long as devices use them; declaring one again, the same, is fine.
 */
#ifndef HVV_TRAP_H
#define HVV_TRAP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVV_TRAP_VERSION 1u

/** Type of a message: its first word. */
enum hvv_trap_type {
    HVV_TRAP_ANSWER = 0,
    HVV_TRAP_HELLO = 1,  /**< with 3 descriptors, see struct hvv_trap_hello */
    HVV_TRAP_MEMORY = 2, /**< with 1 descriptor */
    HVV_TRAP_SLOT = 3,
    HVV_TRAP_START = 4,
    HVV_TRAP_STOP = 5,
};

/** hvv_trap_hello.flags */
enum {
    /**
     * Stopped vCPU threads sleep in futex(FUTEX_WAIT, not private) on the low 32 bits of their word
     * of cfg_flags; the daemon wakes them after each answer. Without the flag they look at it in a
     * loop, and an answer costs no system call.
     */
    HVV_TRAP_FUTEX = 1u << 0,
    /** Interrupts are levels: told once while asserted. Without it each is an edge. */
    HVV_TRAP_LEVEL = 1u << 1,
};

/**
 * Descriptors: the file of the bridge page (of at least page_offset + HVV_BRIDGE_SIZE bytes), an
 * eventfd the monitor adds to when need_wakeup is 1, an eventfd the daemon adds to after it put
 * interrupts into res_list.
 */
struct hvv_trap_hello {
    uint32_t type;
    uint32_t version;      /**< HVV_TRAP_VERSION */
    uint64_t page_offset;  /**< a multiple of 4096 */
    uint32_t flags;
    /** Interrupts of a zone that may be told and not yet acknowledged; 0: as many as there are. */
    uint32_t irq_limit;
    /**
     * Milliseconds after which an edge that the zone did not acknowledge is told once more, for
     * interrupt controllers that lose some; 0: never.
     */
    uint32_t irq_again_ms;
    uint32_t reserved;
};

/** One piece of a zone's memory. Descriptor: the file that holds it. */
struct hvv_trap_memory {
    uint32_t type;
    uint32_t zone;    /**< below HVV_BRIDGE_ZONES */
    uint64_t address; /**< guest physical, a multiple of 4096 */
    uint64_t size;    /**< bytes, a multiple of 4096 */
    uint64_t offset;  /**< in the file, a multiple of 4096 */
};

/** A virtio-mmio address range: all accesses of the zone's vCPUs to it come to the daemon. */
struct hvv_trap_slot {
    uint32_t type;
    uint32_t zone;
    uint64_t address; /**< a multiple of 4 */
    uint64_t length;  /**< at least 0x200 */
    uint32_t irq;     /**< what hvv_bridge_result.irq_id will say; one slot each */
    uint32_t reserved;
};

/** START and STOP. */
struct hvv_trap_zone {
    uint32_t type;
    uint32_t zone;
};

/** To each message. After an error the connection and what was declared are as before. */
struct hvv_trap_answer {
    uint32_t type;
    int32_t error;  /**< 0, or a positive Linux errno */
    char text[248]; /**< with an error: one sentence, ended by a 0 byte */
};

#ifdef __cplusplus
}
#endif

#endif
