/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.c - what create() does when something fails, and what a device leaves behind. Child.
 *
 * The first device of a process may set up things for good (a cache of libc, a library's state), so
 * what is left counts only if each of several devices leaves something.
 */
#include "check.h"
#include "interpose.h"

#include <stdio.h>

#define LIVES 5
#define AGAIN 2         /* a life with something left is lived as often again, to be sure */
#define MOST_FAULTS 2000u
#define FLOOD 16u

/* ---- What a life leaves behind --------------------------------------------------------------- */

struct left {
    struct has has; /* more than before, as a number of each */
    struct interpose_left memory;
};

static struct has begin(void)
{
    interpose_period();
    return has_now();
}

static struct left end(const struct has *before)
{
    struct has after = has_after(before);
    struct left left = {.memory = interpose_left()};
    if (after.descriptors > before->descriptors)
        left.has.descriptors = after.descriptors - before->descriptors;
    if (after.threads > before->threads)
        left.has.threads = after.threads - before->threads;
    if (after.mapped > before->mapped)
        left.has.mapped = after.mapped - before->mapped;
    return left;
}

/* What both left. */
static struct left both(const struct left *a, const struct left *b)
{
    struct left least = *b;
    if (a->has.descriptors < least.has.descriptors)
        least.has.descriptors = a->has.descriptors;
    if (a->has.threads < least.has.threads)
        least.has.threads = a->has.threads;
    if (a->has.mapped < least.has.mapped)
        least.has.mapped = a->has.mapped;
    if (a->memory.blocks < least.memory.blocks)
        least.memory = a->memory;
    return least;
}

static bool is_some(const struct left *left)
{
    return left->has.descriptors || left->has.threads || left->memory.blocks || left->has.mapped;
}

static void describe(const struct left *left, char *text, size_t size)
{
    char place[128];
    if (left->has.threads) {
        snprintf(text, size, "%u threads run on", left->has.threads);
    } else if (left->memory.blocks) {
        place_name(left->memory.caller, place, sizeof(place));
        snprintf(text, size, "%u blocks of memory (%zu bytes) are not freed, one got at %s",
                 left->memory.blocks, left->memory.bytes, place);
    } else if (left->has.descriptors) {
        snprintf(text, size, "%u descriptors stay open", left->has.descriptors);
    } else {
        snprintf(text, size, "%llu bytes stay mapped", (unsigned long long)left->has.mapped);
    }
}

/* ---- After a whole life ---------------------------------------------------------------------- */

static struct left live(struct child *child)
{
    struct hvv_harness h;
    struct sender sender;
    struct has before = begin();
    if (start_device(child, &h, "check")) {
        sender_init(&sender, &h);
        sender_learn(&sender);
        sender_flood(&sender, FLOOD);
        sender_pump(&h, NULL, 5);
        hvv_harness_close(&h);
    }
    return end(&before);
}

void group_left(struct child *child)
{
    char text[256];
    live(child);
    struct left least = live(child);
    for (int i = 2; i < LIVES && is_some(&least); i++) {
        struct left left = live(child);
        least = both(&least, &left);
    }
    struct left one = {.memory = least.memory};
    describe(&one, text, sizeof(text));
    if (least.memory.blocks && !least.has.threads) /* which have memory of their own */
        found("memory-left", "after destroy(), %s", text);
    else if (least.has.mapped && !least.has.threads)
        found("memory-left", "after destroy(), %llu bytes stay mapped",
              (unsigned long long)least.has.mapped);
    if (!interpose_there())
        skip("memory-left", "the checker was built with sanitizers");
    if (least.has.descriptors)
        found("descriptors-left", "after destroy(), %u descriptors stay open",
              least.has.descriptors);
    if (least.has.threads)
        found("threads-left", "after destroy(), %u threads run on: join them there",
              least.has.threads);
}

/* ---- Faults in create() ---------------------------------------------------------------------- */

/* One sweep: what fails, and the life under way. */
static struct {
    struct child *child;
    const char *rule;
    bool libc; /* or else a service of the host */
    uint32_t nth;
    bool reached;
    void (*on_call)(struct hvv_harness *h, const char *what, bool over); /* child.c's */
} sweep;

/* For the parent, too, if the plugin crashes now. */
static void name_fault(const char *call, const void *caller)
{
    char place[128];
    struct note *note = sweep.child->note;
    place_name(caller, place, sizeof(place));
    snprintf(note->fault, sizeof(note->fault), "%.60s() at %.100s failed", call, place);
}

static void name_service(void)
{
    struct note *note = sweep.child->note;
    snprintf(note->fault, sizeof(note->fault), "call %u of a service of the host failed",
             sweep.nth);
}

/* Only what create() itself calls fails, on its thread: the same in each life. */
static void on_call(struct hvv_harness *h, const char *what, bool over)
{
    bool create = strcmp(what, "create") == 0;
    if (over && create) {
        sweep.reached = sweep.libc ? interpose_disarm() : hvv_harness_failed(h);
        hvv_harness_fail_at(h, HVV_HARNESS_ANY, 0);
    }
    sweep.on_call(h, what, over);
    if (over || !create)
        return;
    if (sweep.libc) {
        interpose_arm(sweep.nth, name_fault);
    } else {
        name_service();
        hvv_harness_fail_at(h, HVV_HARNESS_ANY, sweep.nth);
    }
}

/* create() with a call that fails, and destroy() if it took no notice. */
static struct left live_with_fault(void)
{
    struct hvv_harness h;
    sweep.child->note->fault[0] = '\0';
    sweep.reached = false;
    struct has before = begin();
    init_device(sweep.child, &h, "check");
    sweep.on_call = h.on_call;
    h.on_call = on_call;
    int32_t rc = hvv_harness_create(&h, sweep.child->options);
    if (rc == 0)
        hvv_harness_close(&h);
    struct left left = end(&before);
    if (rc < 0 && !sweep.reached)
        found("create", "create() failed, and nothing was wrong: %s", h.error);
    return left;
}

static void check_fault(void)
{
    char text[256];
    struct left least = live_with_fault();
    for (int i = 0; i < AGAIN && is_some(&least); i++) {
        struct left left = live_with_fault();
        least = both(&least, &left);
    }
    if (!is_some(&least))
        return;
    describe(&least, text, sizeof(text));
    found(sweep.rule, "%s in create(): %s", sweep.child->note->fault, text);
}

static void run_sweep(struct child *child, const char *rule, bool libc)
{
    sweep.child = child;
    sweep.rule = rule;
    sweep.libc = libc;
    tell_as("services-left", rule);
    sweep.nth = 0; /* none: what is set up for good is set up now */
    live_with_fault();
    do {
        sweep.nth++;
        check_fault();
    } while (sweep.reached && sweep.nth < MOST_FAULTS);
    child->note->fault[0] = '\0';
}

void group_services(struct child *child)
{
    run_sweep(child, "services-fail", false);
}

void group_libc(struct child *child)
{
    if (interpose_there())
        run_sweep(child, "libc-fails", true);
    else
        skip("libc-fails", "the checker was built with sanitizers");
}
