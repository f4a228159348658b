/* SPDX-License-Identifier: BSD-3-Clause */
/* options.c - see options.h. */
#include "options.h"

#include <stdio.h>

static const struct backend_ops *const by_word[] = {&backend_user, &backend_socket, &backend_null,
                                                    &backend_loop};

/* Options that only one back-end knows. */
static const struct {
    const char *option;
    const struct backend_ops *backend;
} belongs[] = {
    {"create", &backend_tap},     {"bridge", &backend_tap},      {"hostfwd", &backend_user},
    {"network", &backend_user},   {"restrict", &backend_user},   {"path", &backend_socket},
    {"peer", &backend_socket},    {"isolated", &backend_switch}, {"flood", &backend_null},
};

/* ---- The back-end ---------------------------------------------------------------------------- */

static int32_t check_belongings(struct hvv_device *dev, const struct backend_ops *backend)
{
    for (size_t i = 0; i < sizeof(belongs) / sizeof(belongs[0]); i++)
        if (belongs[i].backend != backend && hvv_option_given(dev, belongs[i].option))
            return hvv_error_option(dev, EINVAL, belongs[i].option,
                                    "it is for the back-end %s, and this device has %s; leave it "
                                    "out", belongs[i].backend->name, backend->name);
    return 0;
}

/* A word that stands for a back-end, or the name of a tap. */
static const struct backend_ops *from_word(const char *word, const char **name)
{
    for (size_t i = 0; i < sizeof(by_word) / sizeof(by_word[0]); i++)
        if (strcmp(by_word[i]->name, word) == 0)
            return by_word[i];
    *name = word;
    return &backend_tap;
}

int32_t options_backend(struct hvv_device *dev, const struct backend_ops **backend,
                        const char **name)
{
    const char *word = hvv_option_string(dev, "backend");
    const char *tap = hvv_option_string(dev, "tap");
    const char *lan = hvv_option_string(dev, "switch");
    int n = (word != NULL) + (tap != NULL) + (lan != NULL);
    *name = NULL;
    if (n == 0)
        return hvv_error_option(dev, EINVAL, "backend",
                                "a network device needs somewhere to send frames: the name of a "
                                "tap, user, socket, null, loop, or switch=NAME");
    if (n > 1)
        return hvv_error_option(dev, EINVAL, word ? "backend" : "switch",
                                "%s and %s are both given; a device has one back-end",
                                word ? word : tap, lan ? lan : tap);
    if (word) {
        *backend = from_word(word, name);
    } else {
        *backend = tap ? &backend_tap : &backend_switch;
        *name = tap ? tap : lan;
    }
    return check_belongings(dev, *backend);
}

/* ---- The address ----------------------------------------------------------------------------- */

#define FNV_OFFSET 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

static uint64_t hash(uint64_t sum, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ (uint8_t)text[i]) * FNV_PRIME;
    return sum;
}

/* Of this machine and this device, so that two daemons on one network do not choose the same. */
static void make_mac(struct hvv_device *dev, uint8_t *mac)
{
    char machine[64];
    size_t n = 0;
    FILE *file = fopen("/etc/machine-id", "re");
    if (file) {
        n = fread(machine, 1, sizeof(machine), file);
        fclose(file);
    }
    uint64_t sum = hash(hash(FNV_OFFSET, machine, n), dev->id, strlen(dev->id));
    for (uint32_t i = 0; i < FRAME_MAC_BYTES; i++)
        mac[i] = (uint8_t)(sum >> 8 * i);
    mac[0] = 0x02; /* locally administered, of one station */
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Six pairs of hexadecimal digits with ':' or '-' between them. */
static bool parse_mac(const char *text, uint8_t *mac)
{
    for (uint32_t i = 0; i < FRAME_MAC_BYTES; i++, text += 3) {
        int high = digit(text[0]);
        int low = high < 0 ? -1 : digit(text[1]);
        if (low < 0)
            return false;
        mac[i] = (uint8_t)(high << 4 | low);
        char end = text[2];
        if (i == FRAME_MAC_BYTES - 1)
            return end == '\0';
        if (end != ':' && end != '-')
            return false;
    }
    return false;
}

int32_t options_mac(struct hvv_device *dev, uint8_t *mac)
{
    static const uint8_t none[FRAME_MAC_BYTES];
    const char *text = hvv_option_string(dev, "mac");
    if (!text) {
        make_mac(dev, mac);
        return 0;
    }
    if (!parse_mac(text, mac))
        return hvv_error_option(dev, EINVAL, "mac", "'%s' is not six pairs of hexadecimal digits "
                                "such as 52:54:00:12:34:56", text);
    if (mac[0] & 1)
        return hvv_error_option(dev, EINVAL, "mac", "%s is a multicast address; the first byte of "
                                "a station's is even", text);
    if (memcmp(mac, none, sizeof(none)) == 0)
        return hvv_error_option(dev, EINVAL, "mac", "%s is no station's address; leave mac= out "
                                "for one that is made up", text);
    return 0;
}
