/* SPDX-License-Identifier: BSD-3-Clause */
/* config-space.c - see config-space.h. Any thread. */
#include "device/config-space.h"

#include <errno.h>

void config_space_init(struct config_space *config)
{
    pthread_mutex_init(&config->write, NULL);
}

void config_space_destroy(struct config_space *config)
{
    pthread_mutex_destroy(&config->write);
}

static void store(_Atomic uint8_t *to, const uint8_t *from, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        atomic_store_explicit(&to[i], from[i], memory_order_relaxed);
}

int config_space_write(struct config_space *config, uint32_t offset, const void *data,
                       uint32_t size, bool grow)
{
    uint64_t end = (uint64_t)offset + size;
    pthread_mutex_lock(&config->write);
    if (end > (grow ? HVV_CONFIG_MAX : atomic_load(&config->size))) {
        pthread_mutex_unlock(&config->write);
        return -EINVAL;
    }
    /*
     * seq odd: readers use copy[1], then seq even again: they use copy[0]. Each step is a release
     * that pairs with the acquire in config_space_read(): the copy a reader is sent to is complete;
     * and the fence after it keeps us from writing into a copy before readers are sent away from
     * it.
     */
    for (int i = 0; i < 2; i++) {
        atomic_fetch_add(&config->seq, 1);
        atomic_thread_fence(memory_order_seq_cst);
        store(config->copy[i] + offset, data, size);
    }
    if (end > atomic_load(&config->size))
        atomic_store(&config->size, (uint32_t)end);
    pthread_mutex_unlock(&config->write);
    return 0;
}

uint32_t config_space_read(struct config_space *config, uint32_t offset, void *data, uint32_t size)
{
    uint8_t *to = data;
    unsigned seq;
    do {
        seq = atomic_load_explicit(&config->seq, memory_order_acquire);
        const _Atomic uint8_t *from = config->copy[seq & 1];
        uint32_t limit = atomic_load(&config->size);
        for (uint32_t i = 0; i < size; i++) {
            uint64_t at = (uint64_t)offset + i;
            to[i] = at < limit ? atomic_load_explicit(&from[at], memory_order_relaxed) : 0;
        }
        atomic_thread_fence(memory_order_acquire);
    } while (atomic_load_explicit(&config->seq, memory_order_relaxed) != seq);
    return seq / 2;
}
