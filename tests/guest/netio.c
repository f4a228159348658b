/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netio.c - sends bytes and datagrams between two ends of a network and looks at each one that
 * comes. One end serves, in a guest or on the host; the other end asks it to take or to send.
 * Linked statically. Prints one line for each transfer, on both ends; exit status 0 if all went
 * well.
 *
 * usage: netio serve PORT QUITS [ADDRESS]       ends after so many times `quit`; port 0: any, told
 *        netio tcp-send ADDRESS PORT BYTES [plain]         plain: zeroes nobody looks at, for speed
 *        netio tcp-receive ADDRESS PORT BYTES [plain]
 *        netio rtt ADDRESS PORT COUNT                      how long a byte takes there and back
 *        netio udp-send ADDRESS PORT COUNT BYTES RATE      datagrams, their size, how many a second
 *        netio udp-receive ADDRESS PORT COUNT BYTES RATE
 *        netio quit ADDRESS PORT
 *        netio offloads INTERFACE               what the driver leaves to the device, as ethtool -k
 *        netio pcap FILE                        frames in a capture, and the largest one
 *
 * A request is a connection that starts with a struct request; the answer is a port, for UDP. TCP
 * carries pseudo-random bytes that follow from the key in it, so nothing of them can be missing,
 * twice or in another place. Datagrams are numbered and filled likewise; the connection tells when
 * the last one was sent.
 */
#define _GNU_SOURCE

#include "io.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAGIC 0x6e6574696f203031ull
#define PIECE 65536u
#define STALL_SECONDS 60  /* without anything moving, on a machine that is busy */
#define CONNECT_SECONDS 60 /* until the other end is there */
#define QUIET_SECONDS 2   /* after the last datagram, for those that may still come */
#define BURST 32u         /* datagrams sent at once by a sender that is late */
#define DATAGRAM_MIN 24u
#define DATAGRAM_MAX 65000u
#define COUNT_MAX 10000000u

enum what { TCP_SEND, TCP_RECEIVE, UDP_SEND, UDP_RECEIVE, RTT, QUIT };

struct request {
    uint64_t magic, key;
    uint64_t what;   /* seen from who asks */
    uint64_t count;  /* bytes, or datagrams */
    uint64_t bytes;  /* of a datagram; of TCP: 1 if it is plain */
    uint64_t rate;
};

/* What a receiver of datagrams has seen. */
struct seen {
    uint64_t different, twice, late;
};

/* ---- sockets --------------------------------------------------------------------------------- */

static void write_all(int fd, const void *from, size_t n)
{
    const char *at = from;
    while (n > 0) {
        ssize_t done = send(fd, at, n, MSG_NOSIGNAL);
        if (done <= 0)
            fail("cannot send: %s", done < 0 ? strerror(errno) : "nothing moves");
        at += done;
        n -= (size_t)done;
    }
}

static void read_all(int fd, void *to, size_t n)
{
    char *at = to;
    while (n > 0) {
        ssize_t done = recv(fd, at, n, 0);
        if (done <= 0)
            fail("cannot receive: %s", done < 0 ? strerror(errno) : "the other end has closed");
        at += done;
        n -= (size_t)done;
    }
}

static void set_patience(int fd, int seconds)
{
    struct timeval t = {.tv_sec = seconds};
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Returns the length. */
static socklen_t parse_address(const char *address, uint64_t port, struct sockaddr_storage *s)
{
    struct sockaddr_in *in = (struct sockaddr_in *)s;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)s;
    if (port > UINT16_MAX)
        fail("port %llu is above 65535", (unsigned long long)port);
    memset(s, 0, sizeof(*s));
    if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        return sizeof(*in);
    }
    if (inet_pton(AF_INET6, address, &in6->sin6_addr) != 1)
        fail("'%s' is no address", address);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    return sizeof(*in6);
}

/* Tries until the other end listens and the network is up. */
static int connect_to(const char *address, uint64_t port)
{
    struct sockaddr_storage to;
    socklen_t n = parse_address(address, port, &to);
    double end = now() + CONNECT_SECONDS;
    for (;;) {
        int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            fail("no socket: %s", strerror(errno));
        set_patience(fd, 5);
        if (connect(fd, (struct sockaddr *)&to, n) == 0) {
            set_patience(fd, STALL_SECONDS);
            return fd;
        }
        if (now() > end)
            fail("cannot connect to %s port %llu: %s", address, (unsigned long long)port,
                 strerror(errno));
        close(fd);
        usleep(50000); /* nobody tells when somebody listens */
    }
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof(s);
    if (getsockname(fd, (struct sockaddr *)&s, &n) < 0)
        fail("getsockname: %s", strerror(errno));
    return ntohs(s.ss_family == AF_INET ? ((struct sockaddr_in *)&s)->sin_port
                                        : ((struct sockaddr_in6 *)&s)->sin6_port);
}

static void set_port(struct sockaddr_storage *s, uint16_t port)
{
    if (s->ss_family == AF_INET)
        ((struct sockaddr_in *)s)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)s)->sin6_port = htons(port);
}

/* A UDP socket at the address that the connection has here. */
static int udp_beside(int tcp)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof(s);
    int room = 8 << 20;
    if (getsockname(tcp, (struct sockaddr *)&s, &n) < 0)
        fail("getsockname: %s", strerror(errno));
    set_port(&s, 0);
    int fd = socket(s.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&s, n) < 0)
        fail("no UDP socket: %s", strerror(errno));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    return fd;
}

/* To the port that the connection's other end has told. The first datagram says who we are: on its
 * way addresses may have been translated. */
static void udp_greet(int udp, int tcp, uint64_t port, uint64_t key)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof(s);
    if (getpeername(tcp, (struct sockaddr *)&s, &n) < 0)
        fail("getpeername: %s", strerror(errno));
    set_port(&s, (uint16_t)port);
    if (connect(udp, (struct sockaddr *)&s, n) < 0 || send(udp, &key, sizeof(key), 0) < 0)
        fail("cannot send the first datagram: %s", strerror(errno));
}

static void udp_meet(int udp, uint64_t key)
{
    struct sockaddr_storage s;
    uint64_t theirs = 0;
    set_patience(udp, STALL_SECONDS);
    while (theirs != key) {
        socklen_t n = sizeof(s);
        if (recvfrom(udp, &theirs, sizeof(theirs), 0, (struct sockaddr *)&s, &n) < 0)
            fail("the first datagram does not come: %s", strerror(errno));
        if (theirs == key && connect(udp, (struct sockaddr *)&s, n) < 0)
            fail("cannot connect UDP: %s", strerror(errno));
    }
}

/* ---- TCP ------------------------------------------------------------------------------------- */

static void fill(uint64_t *state, char *to, size_t n)
{
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t word = next_random(state);
        memcpy(to + i, &word, n - i < sizeof(word) ? n - i : sizeof(word));
    }
}

static uint64_t add_to_sum(uint64_t sum, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, n - i < sizeof(word) ? n - i : sizeof(word));
        sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
    }
    return sum;
}

static void tell(const char *what, uint64_t bytes, uint64_t sum, double started)
{
    double seconds = now() - started;
    printf("netio: %s %llu bytes, sum %016llx, %.0f Mbit/s\n", what, (unsigned long long)bytes,
           (unsigned long long)sum, (double)bytes * 8e-6 / (seconds > 0 ? seconds : 1e-6));
}

/* The receiver answers with the sum of what it has seen. */
static void tcp_out(int fd, const struct request *r)
{
    static char piece[PIECE];
    uint64_t state = r->key, sum = 0, theirs;
    double started = now();
    for (uint64_t at = 0; at < r->count;) {
        size_t n = r->count - at < PIECE ? (size_t)(r->count - at) : PIECE;
        if (!r->bytes)
            fill(&state, piece, n);
        write_all(fd, piece, n);
        if (!r->bytes)
            sum = add_to_sum(sum, piece, n);
        at += n;
    }
    read_all(fd, &theirs, sizeof(theirs));
    if (theirs != sum)
        fail("the other end has sum %016llx, not %016llx", (unsigned long long)theirs,
             (unsigned long long)sum);
    tell("tcp sent", r->count, sum, started);
}

static void tcp_in(int fd, const struct request *r)
{
    static char piece[PIECE], expected[PIECE];
    uint64_t state = r->key, sum = 0;
    double started = now();
    for (uint64_t at = 0; at < r->count;) {
        size_t n = r->count - at < PIECE ? (size_t)(r->count - at) : PIECE;
        read_all(fd, piece, n);
        at += n;
        if (r->bytes)
            continue;
        fill(&state, expected, n);
        if (memcmp(piece, expected, n) != 0)
            fail("other bytes came between %llu and %llu", (unsigned long long)(at - n),
                 (unsigned long long)at);
        sum = add_to_sum(sum, piece, n);
    }
    write_all(fd, &sum, sizeof(sum));
    tell("tcp received", r->count, sum, started);
}

/* One byte there and back, many times; who asks says how long that took. */
static void rtt_ask(int fd, const struct request *r)
{
    char byte = 0;
    double started = now();
    for (uint64_t i = 0; i < r->count; i++) {
        write_all(fd, &byte, 1);
        read_all(fd, &byte, 1);
    }
    printf("netio: rtt %.1f us, mean of %llu\n", (now() - started) * 1e6 / (double)r->count,
           (unsigned long long)r->count);
}

static void rtt_answer(int fd, const struct request *r)
{
    char byte;
    for (uint64_t i = 0; i < r->count; i++) {
        read_all(fd, &byte, 1);
        write_all(fd, &byte, 1);
    }
}

/* ---- UDP ------------------------------------------------------------------------------------- */

/* Number, key, and bytes that follow from both. */
static void make_datagram(const struct request *r, uint64_t number, char *to)
{
    uint64_t state = (r->key ^ number) | 1;
    memcpy(to, &number, sizeof(number));
    memcpy(to + 8, &r->key, sizeof(r->key));
    fill(&state, to + 16, r->bytes - 16);
}

static void wait_until(double when)
{
    double left = when - now();
    if (left > 0)
        usleep((useconds_t)(left * 1e6));
}

/* Timers can be coarse, so it sends what is due whenever it wakes up, but no long bursts. */
static void udp_out(int tcp, int udp, const struct request *r)
{
    static char datagram[DATAGRAM_MAX];
    double started = now(), due = started, step = 1.0 / (double)r->rate;
    uint64_t seen[3];
    for (uint64_t number = 0; number < r->count;) {
        for (uint32_t i = 0; i < BURST && number < r->count && due <= now(); i++, number++) {
            make_datagram(r, number, datagram);
            if (send(udp, datagram, r->bytes, 0) != (ssize_t)r->bytes)
                fail("cannot send datagram %llu: %s", (unsigned long long)number, strerror(errno));
            due += step;
        }
        if (due <= now())
            due = now() + step;
        wait_until(due);
    }
    write_all(tcp, "!", 1);
    read_all(tcp, seen, sizeof(seen));
    printf("netio: udp sent %llu of %llu bytes, %.0f a second: lost %llu, twice %llu, late %llu\n",
           (unsigned long long)r->count, (unsigned long long)r->bytes,
           (double)r->count / (now() - started), (unsigned long long)(r->count - seen[0]),
           (unsigned long long)seen[1], (unsigned long long)seen[2]);
    if (seen[0] != r->count || seen[1] != 0)
        fail("datagrams were lost or came twice");
}

/* One datagram; its number is marked in came. */
static void look_at(const struct request *r, const char *datagram, ssize_t n, uint8_t *came,
                    uint64_t *newest, struct seen *seen)
{
    static char expected[DATAGRAM_MAX];
    uint64_t number;
    if (n != (ssize_t)r->bytes)
        fail("a datagram of %zd bytes came, not %llu", n, (unsigned long long)r->bytes);
    memcpy(&number, datagram, sizeof(number));
    if (number >= r->count)
        fail("a datagram has number %llu of %llu", (unsigned long long)number,
             (unsigned long long)r->count);
    make_datagram(r, number, expected);
    if (memcmp(datagram, expected, r->bytes) != 0)
        fail("datagram %llu has other bytes", (unsigned long long)number);
    if (came[number]) {
        seen->twice++;
        return;
    }
    came[number] = 1;
    seen->different++;
    if (number < *newest)
        seen->late++;
    else
        *newest = number;
}

/* Until all have come, or none for some time after the sender is done. */
static void udp_in(int tcp, int udp, const struct request *r)
{
    static char datagram[DATAGRAM_MAX + 1];
    uint8_t *came = calloc(r->count, 1);
    uint64_t newest = 0;
    struct seen seen = {0};
    bool done = false;
    if (!came)
        fail("no memory");
    while (!done || seen.different < r->count) {
        struct pollfd fds[] = {{.fd = udp, .events = POLLIN},
                               {.fd = done ? -1 : tcp, .events = POLLIN}};
        int rc = poll(fds, 2, (done ? QUIET_SECONDS : STALL_SECONDS) * 1000);
        if (rc <= 0)
            break;
        ssize_t n = fds[0].revents ? recv(udp, datagram, sizeof(datagram), MSG_DONTWAIT) : -1;
        if (n >= 0)
            look_at(r, datagram, n, came, &newest, &seen);
        else if (fds[1].revents) {
            read_all(tcp, datagram, 1);
            done = true;
        }
    }
    free(came);
    if (!done)
        fail("%llu of %llu datagrams came, and then nothing more",
             (unsigned long long)seen.different, (unsigned long long)r->count);
    uint64_t answer[3] = {seen.different, seen.twice, seen.late};
    write_all(tcp, answer, sizeof(answer));
    printf("netio: udp received %llu of %llu bytes: lost %llu, twice %llu, late %llu\n",
           (unsigned long long)seen.different, (unsigned long long)r->bytes,
           (unsigned long long)(r->count - seen.different), (unsigned long long)seen.twice,
           (unsigned long long)seen.late);
    if (seen.different != r->count || seen.twice != 0)
        fail("datagrams were lost or came twice");
}

/* ---- both ends ------------------------------------------------------------------------------- */

static void check_request(const struct request *r)
{
    bool is_udp = r->what == UDP_SEND || r->what == UDP_RECEIVE;
    if (r->magic != MAGIC || r->what > QUIT || r->key == 0)
        fail("this is no request");
    if (is_udp && (r->bytes < DATAGRAM_MIN || r->bytes > DATAGRAM_MAX || r->rate == 0 ||
                   r->count == 0 || r->count > COUNT_MAX))
        fail("datagrams have %u to %u bytes, there are up to %u, at a rate above 0", DATAGRAM_MIN,
             DATAGRAM_MAX, COUNT_MAX);
}

static void ask(const char *address, uint64_t port, struct request r)
{
    struct timespec t;
    int udp = -1;
    uint64_t theirs;
    clock_gettime(CLOCK_REALTIME, &t);
    r.magic = MAGIC;
    r.key = ((uint64_t)t.tv_sec << 32 ^ (uint64_t)t.tv_nsec ^ (uint64_t)getpid()) | 1;
    check_request(&r);
    int tcp = connect_to(address, port);
    write_all(tcp, &r, sizeof(r));
    read_all(tcp, &theirs, sizeof(theirs)); /* the port, for UDP */
    if (theirs != 0) {
        udp = udp_beside(tcp);
        udp_greet(udp, tcp, theirs, r.key);
    }
    switch ((enum what)r.what) {
    case TCP_SEND: tcp_out(tcp, &r); break;
    case TCP_RECEIVE: tcp_in(tcp, &r); break;
    case UDP_SEND: udp_out(tcp, udp, &r); break;
    case UDP_RECEIVE: udp_in(tcp, udp, &r); break;
    case RTT: rtt_ask(tcp, &r); break;
    case QUIT: break;
    }
}

/* Our network may go when we end; the other end has the answer once it closes. */
static void wait_for_end(int tcp)
{
    char rest;
    if (recv(tcp, &rest, 1, 0) != 0)
        fail("the other end does not close");
}

static void answer(int tcp, const struct request *r)
{
    bool is_udp = r->what == UDP_SEND || r->what == UDP_RECEIVE;
    int udp = is_udp ? udp_beside(tcp) : -1;
    uint64_t port = is_udp ? port_of(udp) : 0;
    write_all(tcp, &port, sizeof(port));
    if (is_udp)
        udp_meet(udp, r->key);
    switch ((enum what)r->what) {
    case TCP_SEND: tcp_in(tcp, r); break;
    case TCP_RECEIVE: tcp_out(tcp, r); break;
    case UDP_SEND: udp_in(tcp, udp, r); break;
    case UDP_RECEIVE: udp_out(tcp, udp, r); break;
    case RTT: rtt_answer(tcp, r); break;
    case QUIT: wait_for_end(tcp); break;
    }
}

static int try_listen(const char *address, uint64_t port)
{
    struct sockaddr_storage at;
    socklen_t n = parse_address(address, port, &at);
    int on = 1, off = 0, fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, 16) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Without an address at all of both kinds, if the kernel has IPv6. */
static int listen_at(const char *address, uint64_t port)
{
    int fd = try_listen(address ? address : "::", port);
    if (fd < 0 && !address)
        fd = try_listen("0.0.0.0", port);
    if (fd < 0)
        fail("cannot listen at port %llu: %s", (unsigned long long)port, strerror(errno));
    return fd;
}

/* Each request but the last one in a process of its own, so that several go on at once. */
static int serve(const char *address, uint64_t port, uint64_t quits)
{
    int listener = listen_at(address, port), status, failed = 0;
    printf("netio: serving at port %u\n", port_of(listener));
    while (quits > 0) {
        struct request r;
        int tcp = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (tcp < 0)
            fail("accept: %s", strerror(errno));
        set_patience(tcp, STALL_SECONDS);
        read_all(tcp, &r, sizeof(r));
        check_request(&r);
        if (r.what == QUIT) {
            quits--;
            answer(tcp, &r);
        } else if (fork() == 0) {
            answer(tcp, &r);
            exit(0);
        }
        close(tcp);
        while (waitpid(-1, &status, WNOHANG) > 0)
            failed |= status != 0;
    }
    while (wait(&status) > 0)
        failed |= status != 0;
    if (failed)
        fail("a transfer failed");
    return 0;
}

/* ---- looking at things ----------------------------------------------------------------------- */

static int tell_offloads(const char *interface)
{
    static const struct {
        const char *name;
        uint32_t command;
    } all[] = {
        {"tx-checksum", ETHTOOL_GTXCSUM}, {"rx-checksum", ETHTOOL_GRXCSUM},
        {"scatter-gather", ETHTOOL_GSG}, {"tso", ETHTOOL_GTSO}, {"gso", ETHTOOL_GGSO},
    };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    printf("netio: %s has", interface);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct ethtool_value value = {.cmd = all[i].command};
        struct ifreq request = {.ifr_data = (char *)&value};
        snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
        if (ioctl(fd, SIOCETHTOOL, &request) < 0)
            fail("%s of %s: %s", all[i].name, interface, strerror(errno));
        printf(" %s %s", all[i].name, value.data ? "on" : "off");
    }
    printf("\n");
    close(fd);
    return 0;
}

/* Both kinds of time stamps, in this machine's byte order. */
static int tell_pcap(const char *path)
{
    struct {
        uint32_t magic, version, zone, figures, snaplen, link;
    } head;
    struct {
        uint32_t seconds, fraction, kept, bytes;
    } record;
    FILE *file = fopen(path, "re");
    uint32_t frames = 0, largest = 0;
    if (!file || fread(&head, sizeof(head), 1, file) != 1)
        fail("cannot read %s", path);
    if ((head.magic != 0xa1b2c3d4 && head.magic != 0xa1b23c4d) || head.link != 1)
        fail("%s is no capture of Ethernet frames", path);
    while (fread(&record, sizeof(record), 1, file) == 1) {
        char rest[65536 + 64];
        if (record.kept > head.snaplen || record.kept > record.bytes ||
            record.kept > sizeof(rest) || fread(rest, 1, record.kept, file) != record.kept)
            fail("record %u of %s is damaged", frames, path);
        frames++;
        if (record.bytes > largest)
            largest = record.bytes;
    }
    printf("netio: %u frames, the largest of %u bytes\n", frames, largest);
    fclose(file);
    return 0;
}

/* ---- start ----------------------------------------------------------------------------------- */

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end)
        fail("'%s' is no number", text);
    return n;
}

static int usage(void)
{
    fputs("usage: netio serve PORT QUITS [ADDRESS]\n"
          "       netio tcp-send|tcp-receive ADDRESS PORT BYTES [plain]\n"
          "       netio rtt ADDRESS PORT COUNT\n"
          "       netio udp-send|udp-receive ADDRESS PORT COUNT BYTES RATE\n"
          "       netio quit ADDRESS PORT\n"
          "       netio offloads INTERFACE\n"
          "       netio pcap FILE\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    setlinebuf(stdout);
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(word, "serve") && (argc == 4 || argc == 5))
        return serve(argv[4], number(argv[2]), number(argv[3]));
    if (!strcmp(word, "offloads") && argc == 3)
        return tell_offloads(argv[2]);
    if (!strcmp(word, "pcap") && argc == 3)
        return tell_pcap(argv[2]);
    bool plain = argc == 6 && !strcmp(argv[5], "plain");
    if ((!strcmp(word, "tcp-send") || !strcmp(word, "tcp-receive")) && (argc == 5 || plain))
        ask(argv[2], number(argv[3]), (struct request){
            .what = !strcmp(word, "tcp-send") ? TCP_SEND : TCP_RECEIVE,
            .count = number(argv[4]), .bytes = plain});
    else if (!strcmp(word, "rtt") && argc == 5 && number(argv[4]) > 0)
        ask(argv[2], number(argv[3]), (struct request){.what = RTT, .count = number(argv[4])});
    else if ((!strcmp(word, "udp-send") || !strcmp(word, "udp-receive")) && argc == 7)
        ask(argv[2], number(argv[3]), (struct request){
            .what = !strcmp(word, "udp-send") ? UDP_SEND : UDP_RECEIVE, .count = number(argv[4]),
            .bytes = number(argv[5]), .rate = number(argv[6])});
    else if (!strcmp(word, "quit") && argc == 4)
        ask(argv[2], number(argv[3]), (struct request){.what = QUIT});
    else
        return usage();
    return 0;
}
