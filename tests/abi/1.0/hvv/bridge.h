/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file hvv/bridge.h
 * The bridge: the page that a hypervisor or monitor shares with the daemon to hand over trapped
 * register accesses, answers and interrupts. The layout is hvisor's own; a monitor that speaks the
 * trap protocol (hvv/trap.h) uses the same page. Little-endian, the same on all architectures.
 *
 * Requests: the producer (hypervisor, monitor) fills req_list[req_rear], then stores req_rear with
 * release; the daemon loads req_rear with acquire, copies the entry, then stores req_front with
 * release. Empty: front == rear. Full: (rear + 1) % 32 == front. All vCPUs of all zones share it.
 *
 * Answers: the stopped vCPU remembers cfg_flags[cpu] before it hands over its request and waits
 * until that changes; a read's value is then in cfg_values[cpu]. Each request is answered exactly
 * once, unless need_interrupt is set: that one (a write of QueueNotify) is never answered.
 *
 * Interrupts: the daemon fills res_list[res_rear], stores res_rear with release and then tells the
 * other side; that side loads res_rear with acquire, takes the entries, stores res_front.
 *
 * Wake-up: the daemon stores 1 to need_wakeup before it sleeps, and looks at req_rear once more
 * after a full fence. A producer that sees 1 after its own full fence signals the daemon. Nobody
 * else writes it; the daemon stores 0 when it is awake.
 */
#ifndef HVV_BRIDGE_H
#define HVV_BRIDGE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVV_BRIDGE_SIZE 4096u    /**< bytes of the page */
#define HVV_BRIDGE_ENTRIES 32u   /**< of each list; one of them always stays empty */
#define HVV_BRIDGE_CPUS 32u      /**< src_cpu is below this */
#define HVV_BRIDGE_ZONES 32u     /**< zone numbers are below this */

/** One register access of a stopped vCPU. */
struct hvv_bridge_request {
    uint64_t src_cpu;       /**< physical CPU: index of cfg_flags and cfg_values */
    uint64_t address;       /**< guest physical address */
    uint64_t size;          /**< 1, 2, 4 or 8 bytes */
    uint64_t value;         /**< of a write; bytes above `size` are undefined */
    uint32_t src_zone;
    uint8_t is_write;
    uint8_t need_interrupt; /**< a notification: the vCPU goes on, no answer is expected */
    uint16_t padding;
};

/** One interrupt for a zone. */
struct hvv_bridge_result {
    uint32_t target_zone;
    uint32_t irq_id; /**< as the zone's interrupt controller counts */
};

/** The page. Fields are shared between processes: use atomic loads and stores. */
struct hvv_bridge_page {
    uint32_t req_front; /**< daemon writes */
    uint32_t req_rear;  /**< other side writes */
    uint32_t res_front; /**< other side writes */
    uint32_t res_rear;  /**< daemon writes */
    struct hvv_bridge_request req_list[HVV_BRIDGE_ENTRIES];
    struct hvv_bridge_result res_list[HVV_BRIDGE_ENTRIES];
    uint64_t cfg_flags[HVV_BRIDGE_CPUS];  /**< daemon adds 1 for each answer */
    uint64_t cfg_values[HVV_BRIDGE_CPUS]; /**< daemon writes before cfg_flags */
    uint64_t mmio_addrs[8];               /**< unused */
    uint8_t mmio_avail;                   /**< unused */
    uint8_t need_wakeup;                  /**< daemon writes */
};

#ifdef __cplusplus
}
#endif

#endif
