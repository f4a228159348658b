/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * leak.h - fails a test that leaks. Criterion runs each test in a child that ends without the leak
 * check of AddressSanitizer, so a test calls this at the end of its body. Does nothing in a build
 * without AddressSanitizer.
 */
#ifndef TESTS_UNIT_LEAK_H
#define TESTS_UNIT_LEAK_H

#include <criterion/criterion.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAK_CHECKED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define LEAK_CHECKED 1
#endif

#ifdef LEAK_CHECKED
#include <sanitizer/lsan_interface.h>
#define leak_check() cr_assert(__lsan_do_recoverable_leak_check() == 0, "memory leaked")
#else
#define leak_check() ((void)0)
#endif

#endif
