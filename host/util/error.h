/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * error.h - why something an operator asked for was refused.
 *
 * Functions that can fail for a reason a person has to understand take a `struct error *` and
 * return a negative errno. The text is written once, at the lowest level that knows the name of the
 * thing, the value and the limit; callers above only pass it on.
 */
#ifndef HOST_UTIL_ERROR_H
#define HOST_UTIL_ERROR_H

#include <stdarg.h>

struct error {
    int err;          /* positive errno, 0 as long as nothing went wrong */
    char device[64];  /* the device at fault, or "" */
    char option[32];  /* the option at fault, or "" */
    char text[512];   /* one sentence */
};

/* Sets the error and returns -err. The first error set wins: what fails later is a consequence. */
int error_set(struct error *error, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int error_vset(struct error *error, int err, const char *option, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));

/* The same, naming the option at fault. */
int error_option(struct error *error, int err, const char *option, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Notes which device the error is about, if it is not noted yet. */
void error_device(struct error *error, const char *id);

#endif
