/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * world.h - for the flow tests here: a daemon of tests/flow with a trap socket, a simulated
 * hypervisor connected to it, and guests in zones 1, 2, ... Or a daemon on the hypervisor's device
 * file, which is started here. Main thread.
 *
 * Functions that return bool have told the report why it is false (report.h). What is left when a
 * row returns is ended for it: loads, disks, children, guests, the connection.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "daemon.h"
#include "mdisk.h"
#include "report.h"
#include "sim.h"

#include <sys/types.h>

#define WORLD_TIMEOUT_MS sim_patience_ms()
#define WORLD_GUESTS 8u
#define WORLD_LOADS 64u
#define WORLD_CHILDREN 4u
#define WORLD_TRAP_ARGS "--trap", "trap.sock" /* for daemon_options.args */
/* The same for a daemon on the device file; the row starts it, by world_open(). */
#define WORLD_HVISOR_ARGS "--hvisor=hvisor", "--virtio-json", WORLD_JSON
#define WORLD_JSON "zones.json"

struct world_options {
    struct sim_options sim;
    unsigned int guests;  /* 0: one; they share the CPUs evenly, zones are 1, 2, ... */
    unsigned int slots;   /* of each; 0: 2 */
    uint64_t memory;      /* of each; 0: 8 MiB */
    uint64_t high;        /* above 4 GiB */
    bool not_started;     /* connected, but no zone is started */
    bool elsewhere;       /* guests run in children: no interrupt threads here */
    bool hvisor;          /* by a device file; not_started: neither zones nor the daemon are */
    const char *image;    /* hvisor: WORLD_JSON has a disk in slot 0 of zone 1, DIR/i/IMAGE */
};

/* A process that has one guest. It does what it is told by a letter, and says how that went. */
struct child {
    pid_t pid; /* 0: none */
    int fd;
};

struct world {
    struct daemon *daemon;
    struct world_options options;
    struct sim *sim;
    struct guest guest[WORLD_GUESTS];
    struct load *load[WORLD_LOADS];
    struct mdisk *disk[WORLD_LOADS];
    struct child child[WORLD_CHILDREN];
};

extern const struct daemon_options world_daemon; /* with a trap socket */

/* One at a time. */
bool world_open(struct world *w, struct daemon *d, const struct world_options *options);
/* Sends SLOT, MEMORY, START of all guests (again) and runs them. */
bool world_start(struct world *w);
/* The hypervisor has seen no rule broken. At the end of each row, and of steps that matter. */
bool world_fine(struct world *w);
struct text world_trap_path(const struct daemon *d);

/*
 * DIR/NAME, a virtio file of hvisor-tool: all guests with their memory and slots, which are spare
 * but for one of the first guest: a disk with DIR/i/IMAGE. `image` NULL: all are.
 */
bool world_json(const struct world *w, const char *name, unsigned int slot, const char *image);
/* For daemon_options.env with WORLD_HVISOR_ARGS. NULL: told the report, in a row. */
const char *const *world_hvisor_env(void);

/* "blk:OPTIONS,zone=Z,addr=A" for the slot of the guest. */
struct text world_spec(const struct world *w, unsigned int guest, unsigned int slot,
                       const char *options);
/* The image DIR/i/NAME, and a device with this id and image in the slot. */
bool world_add_disk(struct world *w, unsigned int guest, unsigned int slot, const char *name,
                    off_t bytes);

/* Registers and rings; the options' slot is set. The guest's second CPU drives it. */
bool world_disk(struct mdisk *disk, struct world *w, unsigned int guest, unsigned int slot,
                const struct mdisk_options *options);
bool world_up(struct mdisk *disk);   /* mdisk_start() */
bool world_down(struct mdisk *disk); /* mdisk_stop() */
bool world_works(struct mdisk *disk, uint64_t seed);
/* DeviceID of a slot, or -1. */
int64_t world_device_id(struct world *w, unsigned int guest, unsigned int slot);

bool world_load(struct world *w, struct load *l);
bool world_load_flows(struct load *l, uint64_t more);
bool world_load_stop(struct world *w, struct load *l);

/* ---- children -------------------------------------------------------------------------------- */

/*
 * Makes a child for the guest. It calls work(guest, letter, reason, size) for each letter until
 * that returns false, or world_end_child(); its interrupt thread runs meanwhile.
 */
typedef bool child_work(struct guest *g, char letter, char *reason, size_t size);
struct child *world_child(struct world *w, unsigned int guest, child_work *work);
/* Tells it a letter and waits for how it went. */
bool world_tell(struct child *c, char letter);
bool world_end_child(struct child *c);

#endif
