/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.h - what the files of the checker share.
 *
 * The parent (main.c) looks at the file and starts the program again for each group of rules; the
 * child (child.c) loads the plugin, plays host to it with the harness, and tells what it found. So
 * a plugin that crashes or hangs ends one group and not the checker.
 *
 *     parent  -- group, file, options -->  child
 *             <-- "rule TAB reason" ------            for each thing found, through a pipe
 *             <-- struct note ------------            what is being done now, in shared memory
 */
#ifndef CHECKER_CHECK_H
#define CHECKER_CHECK_H

#include <hvv/harness.h>
#include <stdatomic.h>

#define PROGRAM "hvisor-vhost-check-plugin"
#define REASON_MAX 1000u
#define PATIENCE_LOST_MS 300u /* once a chain or the device was waited for in vain */

/* Shared by a child and its parent, who reads it when the child has died. */
struct note {
    _Atomic int calling;   /* the plugin is being called */
    char call[32];         /* what: "create", "notify"... */
    char fault[200];       /* the call that has been made to fail, or "" */
};

/* A child. One thread, but the plugin may have others. */
struct child {
    const char *path;
    char *options;   /* as behind `NAME:`; NULL for none */
    const char *directory;
    const struct hvv_plugin *plugin;
    void *handle;
    uint32_t patience_ms;
    struct note *note;
};

/* A group of rules: what is done with the plugin in one child. */
struct group {
    const char *name;
    void (*run)(struct child *child);
    const char *what; /* for the sentence about a crash */
    bool unloaded;    /* loads the plugin by itself, if at all */
    const char *rule; /* that is broken if the child dies */
    const char *not_if; /* rules that say all there is to say, if one of them is broken; or NULL */
};

extern const struct group groups[];
extern const uint32_t n_groups;

/* ---- The child's (child.c) ------------------------------------------------------------------- */

int child_main(const struct group *group, struct child *child, int report);

/* The plugin breaks `rule`. Only the first for each rule is told. Any thread. */
HVV_PRINTF(2, 3) void found(const char *rule, const char *fmt, ...);
HVV_PRINTF(2, 3) void skip(const char *rule, const char *fmt, ...);

/* hvv_harness_init() of a device all violations of which are told. */
void init_device(struct child *child, struct hvv_harness *h, const char *id);

/* Creates it with the operator's options. That it cannot be created breaks the rule `create`. */
bool open_device(struct child *child, struct hvv_harness *h, const char *id);

/* As open_device(), and all queues started. */
bool start_device(struct child *child, struct hvv_harness *h, const char *id);

/* Violations that would break the rule `usual` break `rule` in this child. */
void tell_as(const char *usual, const char *rule);

uint64_t clock_ns(void);

/* ---- Sending chains (send.c) ----------------------------------------------------------------- */

#define BUFFER 4096u /* bytes of the buffers of a sender */

struct shape {
    uint32_t readable, writable; /* bytes */
};
extern const struct shape shapes[];
extern const uint32_t n_shapes;

/* Buffers in the guest's memory, and what each queue takes. Owned by the group. */
struct sender {
    struct hvv_harness *h;
    char *readable, *writable;
    int shape[HVV_QUEUES_MAX]; /* one that the queue takes; -1: none was found */
    bool held[HVV_QUEUES_MAX]; /* it was not finished at once */
};

void sender_init(struct sender *sender, struct hvv_harness *h);

/* NULL if the ring is full. */
struct hvv_harness_chain *sender_send(struct sender *sender, uint32_t queue, struct shape shape);

/* Turns until the chain is done, or nothing has happened for `idle_ms`. True if it is done. */
bool sender_pump(struct hvv_harness *h, const struct hvv_harness_chain *chain, int idle_ms);

/* After hvv_fail() a driver would reset the device: so does this. */
void sender_recover(struct hvv_harness *h);

/* Tries one chain of each shape on each queue, and remembers which is taken. */
void sender_learn(struct sender *sender);

/* Fills each queue with up to `most` chains of the shape it takes, and kicks it. */
void sender_flood(struct sender *sender, uint32_t most);

/* ---- What a process has (left.c) ------------------------------------------------------------- */

struct has {
    uint32_t descriptors, threads;
    uint64_t mapped; /* bytes of address space */
};

struct has has_now(void);

/* Large blocks have mappings of their own, whatever was freed before. Once, at the start. */
void keep_no_heap(void);

/* As has_now(), but gives threads that are ending the time to do so. */
struct has has_after(const struct has *before);

/* "blk.so+0x1234" for a place in code. */
void place_name(const void *at, char *text, size_t size);

/* ---- Groups (one file each, or a few) -------------------------------------------------------- */

void group_load(struct child *child);
void group_host(struct child *child);
void group_create(struct child *child);
void group_order(struct child *child);
void group_chains(struct child *child);
void group_reset(struct child *child);
void group_hostile(struct child *child);
void group_memory(struct child *child);
void group_config(struct child *child);
void group_commands(struct child *child);
void group_two(struct child *child);
void group_left(struct child *child);
void group_services(struct child *child);
void group_libc(struct child *child);

/* Looks at the file without loading it (file.c); tells with `tell`. */
void check_file(const char *path, void (*tell)(const char *rule, const char *reason));

#endif
