/* SPDX-License-Identifier: BSD-3-Clause */
/* said.c - what the device says: log, errors, counters, events, descriptions. Any thread. */
#include "own.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENT_TEXT_MAX 255u
#define LOG_MAX (1u << 20) /* bytes that are kept */

static char *copy(const char *text)
{
    char *new = strdup(text);
    if (!new)
        hvvh_misuse("out of memory");
    return new;
}

/* ---- Services: text -------------------------------------------------------------------------- */

/* Under the lock. */
static void keep_line(struct hvv_harness *h, const char *text)
{
    struct hvv_harness_own *own = h->own;
    size_t len = strlen(text);
    if (own->n_lines + len + 2 > LOG_MAX)
        return;
    char *more = realloc(own->lines, own->n_lines + len + 2);
    if (!more)
        hvvh_misuse("out of memory");
    own->lines = more;
    memcpy(more + own->n_lines, text, len);
    own->n_lines += len;
    more[own->n_lines++] = '\n';
    more[own->n_lines] = '\0';
}

HVV_PRINTF(3, 0)
static void log_line(struct hvv_device *dev, uint32_t level, const char *fmt, va_list args)
{
    int saved = errno;
    struct hvv_harness *h = hvvh_of(dev);
    char text[HVV_HARNESS_TEXT];
    vsnprintf(text, sizeof(text), fmt, args);
    hvvh_lock(h);
    keep_line(h, text);
    if (level <= HVV_LOG_WARNING)
        memcpy(h->log, text, sizeof(text));
    hvvh_unlock(h);
    errno = saved;
}

HVV_PRINTF(4, 0)
static void error(struct hvv_device *dev, int32_t err, const char *option, const char *fmt,
                  va_list args)
{
    struct hvv_harness *h = hvvh_of(dev);
    if (h->own->phase != HVVH_CREATING)
        hvvh_violation(h, "create-only", "hvv_error() outside create()");
    if (err <= 0)
        hvvh_violation(h, "status", "hvv_error() with %d: a positive errno is right", err);
    if (h->own->said_error)
        return; /* what fails later is a consequence */
    h->own->said_error = true;
    vsnprintf(h->error, sizeof(h->error), fmt, args);
    snprintf(h->error_option, sizeof(h->error_option), "%s", option ? option : "");
}

static void describe(struct hvv_device *dev, const char *key, const char *value)
{
    struct hvv_harness *h = hvvh_of(dev);
    hvvh_lock(h);
    struct hvvh_line *line = NULL;
    for (uint32_t i = HVVH_LINES; i-- > 0;)
        if (!h->own->described[i].key)
            line = &h->own->described[i];
    for (uint32_t i = 0; i < HVVH_LINES; i++)
        if (h->own->described[i].key && strcmp(h->own->described[i].key, key) == 0)
            line = &h->own->described[i];
    if (line) {
        free(line->key);
        free(line->value);
        line->key = value ? copy(key) : NULL;
        line->value = value ? copy(value) : NULL;
    }
    hvvh_unlock(h);
}

/* ---- Services: counters and events ----------------------------------------------------------- */

static const struct hvv_counter *counter_at(const struct hvv_plugin *plugin, uint32_t index)
{
    const char *first = (const char *)plugin->counters;
    return (const struct hvv_counter *)(const void *)(first + (size_t)index * plugin->counter_size);
}

static const struct hvv_event *event_at(const struct hvv_plugin *plugin, uint32_t index)
{
    const char *first = (const char *)plugin->events;
    return (const struct hvv_event *)(const void *)(first + (size_t)index * plugin->event_size);
}

/* Where it is counted, or NULL after a violation. */
static uint64_t *find_counter(struct hvv_device *dev, uint32_t index, uint32_t queue, bool gauge)
{
    struct hvv_harness *h = hvvh_of(dev);
    const char *service = gauge ? "gauge" : "count";
    if (index >= h->plugin->n_counters) {
        hvvh_violation(h, "counter", "hvv_%s() with counter %u: the table has %u", service, index,
                       h->plugin->n_counters);
        return NULL;
    }
    const struct hvv_counter *counter = counter_at(h->plugin, index);
    if (gauge != !!(counter->flags & HVV_COUNTER_GAUGE))
        hvvh_violation(h, "counter", "hvv_%s() with %s, which is %s", service, counter->name,
                       gauge ? "not a gauge" : "a gauge");
    if (!(counter->flags & HVV_COUNTER_QUEUE))
        return &h->own->counters[index];
    if (queue < h->n_queues)
        return &h->own->queue[queue].counters[index];
    hvvh_violation(h, "counter", "hvv_%s() with %s of queue %u: there are %u", service,
                   counter->name, queue, h->n_queues);
    return NULL;
}

static void count(struct hvv_device *dev, uint32_t counter, uint32_t queue, uint64_t n)
{
    uint64_t *to = find_counter(dev, counter, queue, false);
    hvvh_lock(hvvh_of(dev));
    if (to)
        *to += n;
    hvvh_unlock(hvvh_of(dev));
}

static void gauge(struct hvv_device *dev, uint32_t counter, uint32_t queue, uint64_t value)
{
    uint64_t *to = find_counter(dev, counter, queue, true);
    hvvh_lock(hvvh_of(dev));
    if (to)
        *to = value;
    hvvh_unlock(hvvh_of(dev));
}

/* Words KEY=VALUE, one space between them. */
static bool event_ok(const char *text)
{
    for (const char *word = text; *word;) {
        size_t len = strcspn(word, " ");
        const char *equals = memchr(word, '=', len);
        if (!equals || equals == word || (word[len] == ' ' && !word[len + 1]))
            return false;
        word += len + (word[len] == ' ');
    }
    return true;
}

HVV_PRINTF(3, 0)
static void event(struct hvv_device *dev, uint32_t index, const char *fmt, va_list args)
{
    struct hvv_harness *h = hvvh_of(dev);
    char text[HVV_HARNESS_TEXT];
    int n = vsnprintf(text, sizeof(text), fmt, args);
    if (index >= h->plugin->n_events) {
        hvvh_violation(h, "event", "hvv_event() with event %u: the table has %u", index,
                       h->plugin->n_events);
        return;
    }
    if (n < 0 || (size_t)n > EVENT_TEXT_MAX || !event_ok(text))
        hvvh_violation(h, "event", "the text of %s, \"%.100s\", is not words KEY=VALUE of at most "
                       "%u bytes", event_at(h->plugin, index)->name, text, EVENT_TEXT_MAX);
    hvvh_lock(h);
    if (h->own->published) {
        memcpy(h->event, text, sizeof(text));
        h->own->events[index]++;
    }
    hvvh_unlock(h);
}

void hvvh_services_said(struct hvv_host *host)
{
    host->log = log_line;
    host->error = error;
    host->describe = describe;
    host->count = count;
    host->gauge = gauge;
    host->event = event;
}

void hvvh_said_free(struct hvv_harness *h)
{
    free(h->own->lines);
    for (uint32_t i = 0; i < HVVH_LINES; i++) {
        free(h->own->described[i].key);
        free(h->own->described[i].value);
    }
}

/* ---- For tests ------------------------------------------------------------------------------- */

static uint32_t counter_index(const struct hvv_harness *h, const char *name)
{
    for (uint32_t i = 0; i < h->plugin->n_counters; i++)
        if (strcmp(counter_at(h->plugin, i)->name, name) == 0)
            return i;
    hvvh_misuse("%s has no counter %s", h->plugin->name, name);
}

uint64_t hvv_harness_counter(struct hvv_harness *h, const char *name)
{
    uint32_t index = counter_index(h, name);
    hvvh_lock(h);
    uint64_t sum = h->own->counters[index];
    for (uint32_t i = 0; i < h->n_queues; i++)
        sum += h->own->queue[i].counters[index];
    hvvh_unlock(h);
    return sum;
}

uint64_t hvv_harness_counter_of(struct hvv_harness *h, const char *name, uint32_t queue)
{
    uint32_t index = counter_index(h, name);
    if (queue >= h->n_queues || !(counter_at(h->plugin, index)->flags & HVV_COUNTER_QUEUE))
        hvvh_misuse("counter %s of queue %u does not exist", name, queue);
    hvvh_lock(h);
    uint64_t value = h->own->queue[queue].counters[index];
    hvvh_unlock(h);
    return value;
}

struct counting {
    struct hvv_harness *h;
    const char *name;
    uint64_t value;
};

static bool has_counted(void *arg)
{
    const struct counting *counting = arg;
    return hvv_harness_counter(counting->h, counting->name) >= counting->value;
}

bool hvv_harness_wait_counter(struct hvv_harness *h, const char *name, uint64_t value)
{
    struct counting counting = {h, name, value};
    return hvv_harness_run_until(h, has_counted, &counting);
}

uint32_t hvv_harness_events(struct hvv_harness *h, const char *name)
{
    for (uint32_t i = 0; i < h->plugin->n_events; i++) {
        if (strcmp(event_at(h->plugin, i)->name, name) != 0)
            continue;
        hvvh_lock(h);
        uint32_t n = h->own->events[i];
        hvvh_unlock(h);
        return n;
    }
    hvvh_misuse("%s has no event %s", h->plugin->name, name);
}

bool hvv_harness_logged(struct hvv_harness *h, const char *text)
{
    hvvh_lock(h);
    bool found = h->own->lines && strstr(h->own->lines, text);
    hvvh_unlock(h);
    return found;
}

bool hvv_harness_described(struct hvv_harness *h, const char *key, char *value, size_t size)
{
    bool found = false;
    hvvh_lock(h);
    for (uint32_t i = 0; i < HVVH_LINES && !found; i++) {
        const struct hvvh_line *line = &h->own->described[i];
        if (line->key && strcmp(line->key, key) == 0)
            found = snprintf(value, size, "%s", line->value) < (int)size;
    }
    hvvh_unlock(h);
    return found;
}
