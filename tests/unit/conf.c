/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conf.c - tests of host/conf/conf.c, conf-file.c and conf-scan.c: command lines and configuration
 * files, and that the manual pages say what the table of settings says. Zones are in conf-zones.c.
 *
 * A test that needs a file makes its own directory, goes there and removes it.
 */
#include "conf/conf.h"

#include "conf/conf-format.h"
#include "conf/conf-scan.h"
#include "conf/setting.h"
#include "conf-try.h"
#include "leak.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <hvv/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef TOP_SRCDIR
#define TOP_SRCDIR "."
#endif

/* ---- Command line ---------------------------------------------------------------------------- */

static const char *default_of(const char *name)
{
    for (size_t i = 0; i < settings_n; i++)
        if (strcmp(settings[i].name, name) == 0)
            return settings[i].dflt;
    cr_assert_fail("there is no setting %s", name);
    return NULL;
}

Test(conf, defaults)
{
    struct conf conf;
    good(&conf, "");
    cr_assert_eq(conf.n_plugin_dirs, 1);
    cr_assert_str_eq(conf.plugin_dirs[0], default_of("plugin-dir"));
    cr_assert_str_eq(conf.control, default_of("control"));
    cr_assert_str_eq(conf.socket_dir, default_of("socket-dir"));
    cr_assert_eq(conf.socket_mode, 0600);
    cr_assert_eq(conf.workers, 1);
    cr_assert_eq(conf.poll_us, 32);
    cr_assert_eq(conf.stuck_seconds, 5);
    cr_assert_eq(conf.log_level, HVV_LOG_INFO);
    cr_assert_not(conf.syslog);
    cr_assert_eq(conf.n_devices, 0);
    conf_clear(&conf);
    expect_empty(&conf);
    conf_clear(&conf); /* harmless */
    leak_check();
}

Test(conf, command_line)
{
    struct dir dir;
    struct conf conf;
    dir_make(&dir);
    good(&conf, "-p plug --plugin-dir=/abs --control c.sock --socket-dir ./s --socket-mode 0660 "
                "--workers 8 --poll-us 0 --stuck-seconds 3600 --log-level debug --syslog "
                "-d blk:/a,,b,ro --device rng");
    cr_assert_eq(conf.n_plugin_dirs, 2);
    expect_path(&dir, conf.plugin_dirs[0], "plug");
    cr_assert_str_eq(conf.plugin_dirs[1], "/abs");
    expect_path(&dir, conf.control, "c.sock");
    expect_path(&dir, conf.socket_dir, "./s");
    cr_assert_eq(conf.socket_mode, 0660);
    cr_assert_eq(conf.workers, 8);
    cr_assert_eq(conf.poll_us, 0);
    cr_assert_eq(conf.stuck_seconds, 3600);
    cr_assert_eq(conf.log_level, HVV_LOG_DEBUG);
    cr_assert(conf.syslog);
    cr_assert_eq(conf.n_devices, 2);
    expect_spec(&conf.devices[0], "blk:/a,,b,ro");
    expect_spec(&conf.devices[1], "rng");
    cr_assert_str_eq(conf.devices_dir, dir.path);
    conf_clear(&conf);
    good(&conf, "--workers each --control /a --control /b");
    cr_assert_eq(conf.workers, 0);
    cr_assert_str_eq(conf.control, "/b");
    conf_clear(&conf);
    dir_remove(&dir);
    leak_check();
}

Test(conf, bad_command_lines)
{
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"--nonsense", "there is no option --nonsense"},
        {"--s", "there is no option --s, or it is the start of several"},
        {"-x", "there is no option -x"},
        {"-xh", "there is no option -x"},
        {"--workers", "--workers needs a value: write --workers=N"},
        {"-p", "--plugin-dir needs a value"},
        {"--syslog=on", "--syslog takes no value"},
        {"--check=1", "--check takes no value"},
        {"blk:/img", "\"blk:/img\" is not an option: to add a device write --device blk:/img"},
        {"-- --help", "\"--help\" is not an option"},
        {"--workers 0", "--workers=0 is neither a number from 1 to 64 nor \"each\""},
        {"--workers 65", "--workers=65"},
        {"--workers 4294967297", "--workers=4294967297"},
        {"--workers 1x", "--workers=1x"},
        {"--workers=", "--workers= is"},
        {"--workers EACH", "--workers=EACH"},
        {"--poll-us 10001", "--poll-us=10001 is not a number from 0 to 10000"},
        {"--poll-us -1", "--poll-us=-1"},
        {"--poll-us +1", "--poll-us=+1"},
        {"--poll-us 0x10", "--poll-us=0x10"},
        {"--poll-us 99999999999999999999", "--poll-us=9999"},
        {"--stuck-seconds 0", "--stuck-seconds=0 is not a number from 1 to 3600"},
        {"--stuck-seconds 3601", "--stuck-seconds=3601"},
        {"--socket-mode 888", "--socket-mode=888 is not a file mode"},
        {"--socket-mode 7", "--socket-mode=7"},
        {"--socket-mode 1777", "--socket-mode=1777"},
        {"--socket-mode 00600", "--socket-mode=00600"},
        {"--socket-mode rw", "--socket-mode=rw"},
        {"--socket-mode=", "--socket-mode="},
        {"--log-level loud", "--log-level=loud is not a log level: choose error, warning, info"},
        {"--control=", "--control is empty"},
        {"--socket-dir=", "--socket-dir is empty"},
        {"-p /a --plugin-dir=", "--plugin-dir is empty"},
        {"-d rng -d blk:", "blk: an option is empty"},
        {"--config=", "--config is empty"},
        {"-c /no/such/file", "cannot open /no/such/file: No such file or directory"},
        {"-c /", "cannot read /: Is a directory"},
        {"--check --workers 0", "--workers=0"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bad(rows[i].line, rows[i].says);
    leak_check();
}

/* What is printed to the standard output, ended by a zero. Returns what conf_parse() did. */
static int printed(const char *line, char *text, size_t size)
{
    struct conf conf;
    struct error error;
    int saved = dup(1);
    FILE *file = tmpfile();
    cr_assert(file && saved >= 0);
    fflush(stdout);
    cr_assert_geq(dup2(fileno(file), 1), 0);
    int rc = parse(&conf, line, &error);
    fflush(stdout);
    cr_assert_geq(dup2(saved, 1), 0);
    close(saved);
    rewind(file);
    size_t n = fread(text, 1, size - 1, file);
    text[n] = '\0';
    fclose(file);
    if (rc == 0)
        conf_clear(&conf);
    else
        expect_empty(&conf);
    return rc;
}

Test(conf, help)
{
    char text[8192], wanted[128];
    cr_assert_gt(printed("--help", text, sizeof(text)), 0);
    for (size_t i = 0; i < settings_n; i++) {
        const struct setting *s = &settings[i];
        int n = s->letter ? snprintf(wanted, sizeof(wanted), "\n  -%c, --%s", s->letter, s->name)
                          : snprintf(wanted, sizeof(wanted), "\n      --%s", s->name);
        snprintf(wanted + n, sizeof(wanted) - (size_t)n,
                 s->kind == SETTING_SWITCH ? "[=%s]" : " %s", s->arg ? s->arg : "");
        cr_assert(strstr(text, wanted), "\"%s\" is not in the help text", wanted);
        cr_assert(strstr(text, s->help));
    }
    cr_assert_gt(printed("-h", text, sizeof(text)), 0);
    cr_assert_eq(strncmp(text, "Usage: hvisor-vhost ", 20), 0);
    leak_check();
}

Test(conf, version_and_check)
{
    char text[256];
    cr_assert_gt(printed("-V", text, sizeof(text)), 0);
    cr_assert_eq(strncmp(text, "hvisor-vhost ", 13), 0);
    cr_assert_gt(printed("-d rng --version --workers 0", text, sizeof(text)), 0);
    cr_assert_gt(printed("--check -d blk:/img", text, sizeof(text)), 0);
    cr_assert_str_eq(text, "");
    cr_assert_eq(printed("-d blk:/img", text, sizeof(text)), 0);
    cr_assert_str_eq(text, "");
    cr_assert_lt(printed("--check -d blk:", text, sizeof(text)), 0);
    cr_assert_str_eq(text, "");
    leak_check();
}

/* Without a current directory only absolute paths can work. */
Test(conf, no_current_directory)
{
    struct conf conf;
    char made[] = "/tmp/hvv-conf-XXXXXX";
    cr_assert(mkdtemp(made) && chdir(made) == 0 && rmdir(made) == 0);
    bad("--control c.sock", "--control=c.sock is a relative path");
    bad("-c f", "--config=f is a relative path");
    good(&conf, "--control /c.sock -d rng");
    cr_assert_null(conf.devices_dir);
    conf_clear(&conf);
    cr_assert_eq(chdir("/"), 0);
    leak_check();
}

/* ---- File ------------------------------------------------------------------------------------ */

Test(conf, file)
{
    struct dir dir;
    struct conf conf;
    dir_make(&dir);
    good_file(&conf, whole_file);
    cr_assert_eq(conf.n_plugin_dirs, 2);
    expect_path(&dir, conf.plugin_dirs[0], "sub/plug");
    cr_assert_str_eq(conf.plugin_dirs[1], "/abs");
    expect_path(&dir, conf.control, "sub/c.sock");
    expect_path(&dir, conf.socket_dir, "sub/s");
    cr_assert_eq(conf.socket_mode, 0640);
    cr_assert_eq(conf.workers, 4);
    cr_assert_eq(conf.poll_us, 100);
    cr_assert_eq(conf.stuck_seconds, 16);
    cr_assert_eq(conf.log_level, HVV_LOG_WARNING);
    cr_assert(conf.syslog);
    expect_path(&dir, conf.trap, "sub/t.sock");
    cr_assert_str_eq(conf.hvisor, "/dev/h");
    cr_assert(conf.zones.n == 1 && conf.zones.zones[0].n_slots == 1);
    cr_assert_eq(conf.n_devices, 3);
    expect_spec(&conf.devices[0], "blk:img.raw,ro");
    expect_spec(&conf.devices[1], "blk:path=/x,,y # 99999999999 \" \\,queues=2,ro=on,direct=off,"
                "size=10G,queue-size=64,queue-max=7");
    expect_spec(&conf.devices[2], "net:tag=a,tag=b,lun=1,lun=2,lun=on");
    expect_path(&dir, conf.devices_dir, "sub");
    conf_clear(&conf);
    dir_remove(&dir);
    leak_check();
}

Test(conf, command_line_beats_file)
{
    struct dir dir;
    struct conf conf;
    dir_make(&dir);
    write_bytes(whole_file, strlen(whole_file));
    good(&conf, "-p other --workers each -c sub/f --control here -d rng --poll-us 7");
    cr_assert_eq(conf.n_plugin_dirs, 1);
    expect_path(&dir, conf.plugin_dirs[0], "other");
    cr_assert_eq(conf.workers, 0);
    cr_assert_eq(conf.poll_us, 7);
    cr_assert_eq(conf.stuck_seconds, 16);
    expect_path(&dir, conf.control, "here");
    cr_assert_eq(conf.n_devices, 1);
    expect_spec(&conf.devices[0], "rng");
    cr_assert_str_eq(conf.devices_dir, dir.path);
    conf_clear(&conf);
    dir_remove(&dir);
    leak_check();
}

Test(conf, small_files)
{
    static const char *const texts[] = {
        "", "\n", "# nothing", "/* nothing */", "plugin_dirs = []; devices = ();",
        "workers = 1", "workers : 1\r\npoll_us : 32\r\n", "workers = 1, poll_us = 32,",
    };
    struct dir dir;
    struct conf conf;
    dir_make(&dir);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        good_file(&conf, texts[i]);
        cr_assert_eq(conf.n_plugin_dirs, 1);
        cr_assert_eq(conf.workers, 1);
        cr_assert_eq(conf.n_devices, 0);
        conf_clear(&conf);
    }
    good_file(&conf, "workers = \"each\"; plugin_dirs = \"/one\"; devices = \"rng\"; "
                     "poll_us = 0x7L; log_level = \"de\" \"bug\"");
    cr_assert_eq(conf.workers, 0);
    cr_assert_str_eq(conf.plugin_dirs[0], "/one");
    cr_assert_eq(conf.poll_us, 7);
    cr_assert_eq(conf.log_level, HVV_LOG_DEBUG);
    expect_spec(&conf.devices[0], "rng");
    conf_clear(&conf);
    good_file(&conf, "devices = [ \"rng\", \"blk:/x\" ]");
    cr_assert_eq(conf.n_devices, 2);
    conf_clear(&conf);
    dir_remove(&dir);
    leak_check();
}

Test(conf, bad_files)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"\n\nworker = 1;", "sub/f:3: there is no setting worker: did you mean workers"},
        {"zzz = 1;", "sub/f:1: there is no setting zzz: see hvisor-vhost.conf(5)"},
        {"plugin-dirs = \"/x\";", "there is no setting plugin-dirs: did you mean plugin_dirs"},
        {"config = \"/x\";", "sub/f:1: there is no setting config"},
        {"check = true;", "sub/f:1: there is no setting check"},
        {"\nworkers = 1;\nworkers = 2;", "sub/f:3: duplicate setting name"},
        {"\nworkers = ;", "sub/f:2: syntax error"},
        {"workers 1", "sub/f:1: syntax error"},
        {"size = 10G;", "sub/f:1: syntax error"},
        {"\xef\xbb\xbfworkers = 1;", "sub/f:1: syntax error"},
        {"workers = 65;", "sub/f:1: workers=65 is neither a number from 1 to 64 nor \"each\""},
        {"workers = -1;", "sub/f:1: workers=-1 is"},
        {"workers = 1.5;", "sub/f:1: workers is of the wrong type: write a whole number, or"},
        {"workers = true;", "sub/f:1: workers is of the wrong type"},
        {"workers = [ 1 ];", "sub/f:1: workers is of the wrong type"},
        {"workers = { n = 1; };", "sub/f:1: workers is of the wrong type"},
        {"poll_us = 10001;", "sub/f:1: poll_us=10001 is not a number from 0 to 10000"},
        {"socket_mode = 0600;", "sub/f:1: socket_mode is of the wrong type: write a string"},
        {"socket_mode = \"9\";", "sub/f:1: socket_mode=9 is not a file mode"},
        {"control = 1;", "sub/f:1: control is of the wrong type: write a string"},
        {"control = \"\";", "sub/f:1: control is empty"},
        {"syslog = 1;", "sub/f:1: syslog is of the wrong type: write true or false"},
        {"syslog = \"on\";", "sub/f:1: syslog is of the wrong type"},
        {"log_level = \"x\";", "sub/f:1: log_level=x is not a log level"},
        {"plugin_dirs = 1;", "sub/f:1: plugin_dirs is of the wrong type: write a list of strings"},
        {"plugin_dirs = ( \"a\", 1 );", "plugin_dirs is of the wrong type"},
        {"plugin_dirs = ( ( \"a\" ) );", "plugin_dirs is of the wrong type"},
        {"plugin_dirs = [ \"a\", \"\" ];", "sub/f:1: plugin_dirs is empty"},
        {"plugin_dirs = [ \"a\", 1 ];", "sub/f:1: mismatched element type in array"},
        {"devices = 7;", "sub/f:1: devices is of the wrong type: write a list of strings and gr"},
        {"devices = ( 7 );", "devices is of the wrong type"},
        {"devices = ( ( \"rng\" ) );", "devices is of the wrong type"},
        {"devices = (\n\"rng\",\n\"blk:\" );", "sub/f:3: blk: an option is empty"},
        {"devices = ( { } );", "sub/f:1: this device has no plugin: add plugin = \"NAME\""},
        {"devices = ( { path = \"/x\"; } );", "this device has no plugin"},
        {"devices = ( { plugin = 1; } );", "sub/f:1: plugin is of the wrong type"},
        {"devices = ( { plugin = \"B\"; } );", "sub/f:1: \"B\" is not the name of a plugin"},
        {"devices = ( { plugin = \"b\";\n size = 1.5; } );", "sub/f:2: size is of the wrong type"},
        {"devices = ( { plugin = \"b\"; x = { y = 1; }; } );", "x is of the wrong type"},
        {"devices = ( { plugin = \"b\"; x = ( ( 1 ) ); } );", "x is of the wrong type"},
        {"devices = ( { plugin = \"b\"; X = 1; } );", "sub/f:1: b: \"X\" is not the name of an op"},
        {"devices = ( { plugin = \"b\"; a2345678901234567890123456789012 = 1; } );",
         "is not the name of an option"},
        {"devices = ( { plugin = \"b\"; x = \"a\\nb\"; } );", "x has a control character"},
    };
    struct dir dir;
    dir_make(&dir);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bad_file(rows[i].text, rows[i].says);
    dir_remove(&dir);
    leak_check();
}

/* What libconfig would let through, or do something else with than the operator meant. */
Test(conf, what_libconfig_misreads)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"workers = 4294967297;", "sub/f:1: the number 4294967297 does not fit in 32 bits: write"},
        {"\n\nworkers = 2147483648;", "sub/f:3: the number 2147483648 does not fit"},
        {"workers = -2147483649;", "sub/f:1: the number -2147483649 does not fit"},
        {"workers = +4294967297;", "sub/f:1: the number +4294967297 does not fit"},
        {"workers = 4294967297L;", "the number 4294967297 does not fit"},
        {"workers = 0x100000001;", "the number 0x100000001 does not fit"},
        {"workers = 0X80000000;", "the number 0X80000000 does not fit"},
        {"workers = 99999999999999999999999999999999999999999999999999;",
         "the number 9999999999999999999999999999999999999999 does not fit"},
        {"devices = ( { plugin = \"blk\";\n size = 10737418240; } );", "sub/f:2: the number 107"},
        {"/* \n */ x = \"a\nb\\\"\\\\\"\n5000000000", "sub/f:4: the number 5000000000"},
        {"a-1=\"\\\"5000000000", "sub/f:1: this string does not end"},
        {"workers = 1; \"forgotten", "sub/f:1: this string does not end: close it"},
        {"\nx = \"a\n\n", "sub/f:2: this string does not end"},
        {"workers = 1;\n/* forgotten\n\n", "sub/f:2: this comment does not end: close it"},
        {"/*/", "this comment does not end"},
        {"@include \"/dev/null\"", "sub/f:1: '@' (as in @include) is not supported"},
        {"workers = 1\n  @include \"x\"", "sub/f:2: '@' (as in @include) is not supported"},
        {"x = ((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))",
         "sub/f:1: brackets are nested more than 16 deep"},
    };
    struct dir dir;
    dir_make(&dir);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bad_file(rows[i].text, rows[i].says);
    dir_remove(&dir);
    leak_check();
}

Test(conf, scan_lets_through)
{
    static const char *const texts[] = {
        "", "2147483647", "-2147483648", "+2147483647", "0x7fffffff", "0x7FFFFFFFL", "0",
        "00000000001", "0x000000000001", "99999999999.5", "1e99", "1.99999999999", ".99999999999",
        "9e-99999999999",
        "name99999999999 n-99999999999 n_99999999999 *99999999999", "\"99999999999\"",
        "# 99999999999", "// 99999999999", "/* 99999999999 **/", "\"\\\" 99999999999\"", "\"\\\\\"",
        "((((((((((((((((1))))))))))))))))", ")))))", "$%&\x80\xff/", "\"\\", "-", "+", "-x", "0x",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct error error = {0};
        int rc = conf_scan(texts[i], "f", &error);
        bool open_string = strcmp(texts[i], "\"\\") == 0;
        cr_assert_eq(rc, open_string ? -EINVAL : 0, "%s: %s", texts[i], error.text);
    }
    leak_check();
}

Test(conf, not_a_text_file)
{
    struct dir dir;
    dir_make(&dir);
    write_bytes("workers = 1;\0 workers = 2;", 26);
    bad("-c sub/f", "sub/f has a zero byte");
    char *large = malloc((1u << 20) + 1);
    memset(large, ' ', (1u << 20) + 1);
    write_bytes(large, (1u << 20) + 1);
    bad("-c sub/f", "sub/f is larger than the 1048576 bytes");
    write_bytes(large, 1u << 20);
    struct conf conf;
    good(&conf, "-c sub/f");
    conf_clear(&conf);
    free(large);
    dir_remove(&dir);
    leak_check();
}

/* A path and a key as long as can be still leave room for what is wrong. */
Test(conf, long_names_in_errors)
{
    struct dir dir;
    char name[256] = "", line[512], text[4096] = "devices = ( { plugin = \"blk\"; ";
    dir_make(&dir);
    memset(text + strlen(text), 'k', 3000);
    strcat(text, " = 1; } );");
    write_bytes(text, strlen(text));
    bad("-c sub/f", "is not the name of an option: options are written");
    memset(name, 'n', 255);
    cr_assert_eq(rename("sub/f", name), 0);
    snprintf(line, sizeof(line), "-c %s", name);
    bad(line, "is not the name of an option: options are written");
    cr_assert_eq(unlink(name), 0);
    dir_remove(&dir);
    leak_check();
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* A good file with some bytes changed: an error or settings in range, nothing else. */
Test(conf, random_files)
{
    static const char bytes[] = "\"\"\"{}()[]=;,:\n#/*\\@-+.0x9eL aZ_\x80";
    struct dir dir;
    uint32_t state = 7;
    unsigned accepted = 0;
    dir_make(&dir);
    for (unsigned round = 0; round < 3000; round++) {
        char text[sizeof(whole_file)];
        memcpy(text, whole_file, sizeof(text));
        for (unsigned changes = next_random(&state) % 4 + 1; changes > 0; changes--)
            text[next_random(&state) % (sizeof(text) - 1)] =
                bytes[next_random(&state) % (sizeof(bytes) - 1)];
        write_bytes(text, strlen(text));
        struct conf conf;
        struct error error;
        int rc = parse(&conf, "-c sub/f", &error);
        cr_assert_leq(rc, 0);
        if (rc < 0) {
            cr_assert(error.err == -rc && strncmp(error.text, "sub/f:", 6) == 0, "%s", error.text);
            continue;
        }
        accepted++;
        cr_assert(conf.workers <= 64 && conf.poll_us <= 10000 && conf.stuck_seconds <= 3600);
        cr_assert(conf.control[0] == '/' && conf.socket_dir[0] == '/' && conf.n_plugin_dirs > 0);
        conf_clear(&conf);
    }
    cr_assert_gt(accepted, 100);
    cr_assert_lt(accepted, 2900);
    dir_remove(&dir);
    leak_check();
}

/* ---- Manual pages ---------------------------------------------------------------------------- */

static char *read_page(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/host/man/%s", TOP_SRCDIR, name);
    FILE *file = fopen(path, "re");
    cr_assert(file, "cannot open %s", path);
    char *text = calloc(1, 1u << 16);
    cr_assert_lt(fread(text, 1, (1u << 16) - 1, file), (1u << 16) - 1);
    fclose(file);
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    while ((text = strstr(text, what))) {
        text += strlen(what);
        n++;
    }
    return n;
}

/* The item that starts with `head`, up to the next one. */
static void expect_item(const char *page, const char *head, const char *dflt)
{
    const char *start = strstr(page, head);
    cr_assert(start, "\"%s\" is not in the manual page", head + 1);
    cr_assert_eq(count(page, head), 1, "%s", head + 1);
    const char *end = strstr(start + 1, "\n.It ");
    char *item = strndup(start, end ? (size_t)(end - start) : strlen(start));
    cr_assert(!dflt || strstr(item, dflt), "\"%s\" does not name the default %s", head + 1, dflt);
    free(item);
}

Test(conf, page_of_daemon)
{
    char *page = read_page("hvisor-vhost.8");
    for (size_t i = 0; i < settings_n; i++) {
        const struct setting *s = &settings[i];
        char head[128];
        int n = snprintf(head, sizeof(head), s->letter ? "\n.It Fl %c , Fl -" : "\n.It Fl -",
                         s->letter);
        const char *form = s->kind == SETTING_SWITCH ? " Ns Op = Ns Ar " : s->arg ? " Ar " : "";
        snprintf(head + n, sizeof(head) - (size_t)n, "%s%s%s\n", s->name, form,
                 s->arg ? s->arg : "");
        expect_item(page, head, NULL);
    }
    cr_assert_eq(count(page, "\n.It Fl "), settings_n, "an option is described that is not there");
    free(page);
    leak_check();
}

Test(conf, page_of_file)
{
    char *page = read_page("hvisor-vhost.conf.5");
    unsigned keys = 0;
    for (size_t i = 0; i < settings_n; i++) {
        const struct setting *s = &settings[i];
        char head[128];
        if (!s->key)
            continue;
        keys++;
        snprintf(head, sizeof(head), "\n.It Ic %s ", s->key);
        expect_item(page, head, s->dflt && s->dflt[0] != '/' ? s->dflt : NULL);
    }
    expect_item(page, "\n.It Ic zones ", NULL); /* of the file alone */
    cr_assert_eq(count(page, "\n.It Ic "), keys + 1, "a setting is described that is not there");
    free(page);
    leak_check();
}

/* The example in the manual page is a file that works. */
Test(conf, example_in_page)
{
    char *page = read_page("hvisor-vhost.conf.5");
    char *start = strstr(strstr(page, "\n.Sh EXAMPLES"), "\n.Bd -literal");
    cr_assert(start);
    start = strchr(start + 1, '\n') + 1;
    char *end = strstr(start, "\n.Ed");
    cr_assert(end);
    *end = '\0';
    struct dir dir;
    struct conf conf;
    dir_make(&dir);
    good_file(&conf, start);
    cr_assert_gt(conf.n_devices, 0);
    cr_assert_gt(conf.zones.n, 0);
    conf_clear(&conf);
    dir_remove(&dir);
    free(page);
    leak_check();
}
