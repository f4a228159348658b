/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * net-tap-refusal.c - rows of net-tap.c: taps and bridges that have to be refused, a daemon without
 * privileges, and hvisor-tool's file.
 */
#include "net-tap.h"
#include "snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__ /* what is freed is kept for a while */
#define SLACK_KIB 65536u
#else
#define SLACK_KIB 512u
#endif
#define CWD in_dir(d, "i").s
#define ADD1 "{s:[s], s:s}", "devices"

/* ---- bad input ------------------------------------------------------------------------------- */

static void drop_text(json_t *list, const char *text)
{
    for (size_t i = json_array_size(list); i-- > 0;)
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            json_array_remove(list, i);
}

/* All about all interfaces, but for what the kernel changes some time after a carrier has gone. */
static char *interfaces(void)
{
    size_t i;
    json_t *link, *links = json_loads(ip_says("-j -d link show"), 0, NULL);
    json_array_foreach(links, i, link) {
        json_object_del(link, "operstate");
        json_object_del(link, "qdisc");
        drop_text(json_object_get(link, "flags"), "NO-CARRIER");
        drop_text(json_object_get(link, "flags"), "LOWER_UP");
    }
    char *text = json_dumps(links, JSON_SORT_KEYS);
    json_decref(links);
    return text;
}

static bool refuses(struct daemon *d, const struct snapshot *s, const char *spec, const char *parts)
{
    char *before = interfaces();
    bool refused = daemon_refuses(d, parts, "device.add", ADD1, spec, "cwd", CWD);
    char *after = interfaces();
    bool ok = refused ? before && after && strcmp(before, after) == 0 : row_fail("%s", spec);
    if (refused && !ok)
        row_fail("%s: something is left: %s instead of %s", spec, after, before);
    free(before);
    free(after);
    return ok && snapshot_returns(d, s, NULL, SLACK_KIB, spec);
}

void net_refusals(struct daemon *d)
{
    static const char *const specs[][2] = {
        {"net:t9", "there is no tap t9|ip tuntap add dev t9 mode tap|create"},
        {"net:tap=t9,queues=2", "there is no tap t9|multi_queue"},
        {"net:t9,create,bridge=none", "no bridge none|ip link add none type bridge"},
        {"net:t9,create,bridge=out0", "out0 is no bridge but veth"},
        {"net:t9,create,bridge=a-name-that-is-too-long", "a-name-that-is-too-long|23|15"},
        {"net:a-name-of-16-byt", "a-name-of-16-byt|16|15"},
        {"net:a-name-of-16-byt,create", "a-name-of-16-byt|16|15"},
        {"net:a/b,create", "'a/b'"},
        {"net:tap%d,create", "'tap%d'"},
        {"net:out0", "out0 is no tap but veth"},
        {"net:out0,create", "out0 is no tap but veth"},
        {"net:lo", "lo is no tap"},
        {"net:tun0", "tun0 is a tun device"},
        {"net:t0,queues=2", "queues=2|the tap t0 has 1|multi_queue"},
        {"net:t0,mtu=9000", "9000|1500|ip link set t0 mtu 9000"},
        {"net:t9,create,mtu=65535", "MTU of 65535|65521"},
        {"net:t9,create,queues=3,mtu=65535", "MTU of 65535|65521"},
        {"net:t0,bridge=br1", "t0 is a port of br0"},
        {"net:used", "used is used by another device"},
        {"net:used,create", "used is used by another device"},
        {"net:t1", "t1 is used by process"},
        {"net:t9,create,mac=52:54:00:12:34", "'52:54:00:12:34'|six pairs"},
        {"net:t9,create,mac=52:54:00:12:34:5g", "'52:54:00:12:34:5g'|six pairs"},
        {"net:t9,create,mac=52:54:00:12:34:56:78", "'52:54:00:12:34:56:78'|six pairs"},
        {"net:t9,create,mac=01:00:5e:00:00:01", "01:00:5e:00:00:01 is a multicast address"},
        {"net:t9,create,mac=00:00:00:00:00:00", "00:00:00:00:00:00 is no station's address"},
        {"net:t9,create,isolated", "it is for the back-end switch|this device has tap"},
        {"net:t9,create,switch=lan", "t9 and lan are both given"},
        {"net:switch=lan,create", "it is for the back-end tap|this device has switch"},
        {"net:switch=lan,colour=red", "net has no option \"colour\""},
        {"net:switch=", "switch is empty"},
        {"net:mtu=1500", "needs somewhere to send frames"},
    };
    struct snapshot s;
    MUST(ip("link add br0 type bridge") && ip("link add br1 type bridge"));
    MUST(ip("link add out0 type veth peer name t2") && ip("tuntap add dev tun0 mode tun"));
    MUST(ip("tuntap add dev t0 mode tap") && ip("link set t0 master br0"));
    MUST(hold_tap("t1", false));
    MUST(daemon_add(d, "net:used,create,id=used", "net:warm,create,bridge=br1,queues=2,id=w",
                    NULL));
    MUST(daemon_remove(d, "w", NULL) && snapshot_take(&s, d));
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        MUST(refuses(d, &s, specs[i][0], specs[i][1]));
    snapshot_free(&s);
    MUST(ip("link del tun0"));
}

/* All the tap's queues have to be ours. */
void net_in_use_multiqueue(struct daemon *d)
{
    MUST(ip("tuntap add dev t0 mode tap multi_queue") && hold_tap("t0", true));
    MUST(daemon_refuses(d, "t0 is used by process|flow-net-tap", "device.add", ADD1, "net:t0",
                        "cwd", CWD));
    close(holder);
    holder = -1;
    MUST(daemon_add(d, "net:t0,id=n", NULL));
    MUST(daemon_refuses(d, "another device of this daemon", "device.add", ADD1,
                        "net:t0,queues=2", "cwd", CWD));
}

/* The daemon runs as nobody. */
void net_unprivileged(struct daemon *d)
{
    struct snapshot s;
    MUST(ip("tuntap add dev t0 mode tap user 65534") && ip("link set t0 up"));
    MUST(ip("tuntap add dev t1 mode tap user 0") && ip("link add br0 type bridge"));
    MUST(daemon_start(d));
    MUST(daemon_add(d, "net:t0,id=w", NULL) && daemon_remove(d, "w", NULL) && snapshot_take(&s, d));
    MUST(refuses(d, &s, "net:t9,create", "creating the tap t9|CAP_NET_ADMIN|mode tap user"));
    MUST(refuses(d, &s, "net:t1", "belongs to user 0|user 65534|CAP_NET_ADMIN"));
    MUST(refuses(d, &s, "net:t0,bridge=br0",
                 "joining br0|CAP_NET_ADMIN|ip link set t0 master br0"));
    snapshot_free(&s);
    MUST(daemon_add(d, "net:t0,id=n", NULL) && open_guest(d, "n", plain) && open_wire("t0"));
    MUST(post(0, 2) && send_wire(4) && guest_hears(0, 4) && send_guest(0, 5) && wire_hears(5));
}

/* ---- hvisor-tool's file ---------------------------------------------------------------------- */

/* Its zones and devices, as its users have written them: a tap that is there, a MAC of numbers. */
void net_hvisor_file(struct daemon *d)
{
    static const char board[] =
        "{\"zones\": [{\"id\": 1, \"devices\": [{\"type\": \"net\", \"status\": \"enable\", "
        "\"addr\": \"0xa003600\", \"len\": \"0x200\", \"irq\": 75, \"tap\": \"t0\", "
        "\"mac\": [\"0x00\", \"0x16\", 62, 16, 16, \"0x10\"]}]}]}";
    struct output o;
    FILE *f = fopen(in_dir(d, "i/board.json").s, "we");
    CHECK(f && fputs(board, f) >= 0 && fclose(f) == 0, "board.json: %s", strerror(errno));
    MUST(ctl(&o, d, "add", "-f", "board.json", NULL));
    CHECK(o.code == 1 && has_text(o.err, "t0"), "a tap that is not there is not refused: %s",
          o.err);
    CHECK(daemon_count(d) == 0, "something is left of the refused file");
    MUST(ip("tuntap add dev t0 mode tap"));
    MUST(ctl(&o, d, "add", "-f", "board.json", NULL));
    CHECK(o.code == 0, "the file is refused: %s", o.err);
    MUST(ctl(&o, d, "show", "net0", NULL));
    CHECK(has_text(o.out, "00:16:3e:10:10:10") && has_text(o.out, "0xa003600"), "%s", o.out);
}
