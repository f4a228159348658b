#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# console-flood.sh - in a guest: how long a task with a timer is kept waiting while another task
# writes all the time, first to nowhere, then to the console. A guest that uses all of its processor
# gets less of a busy machine than one that rests, so that is what is compared.
#
# From the environment: seconds (of each), cpu (both tasks run on this one).
set -u

: "${seconds:?}"

echo "flood: without"
[ -z "${cpu:-}" ] || taskset -p "$((1 << cpu))" $$ > /dev/null || exit 1
yes > /dev/null &
timergap "$seconds" || exit 1
kill $! || exit 1
wait
# However slow all this is, more is written than is kept.
head -c 8192 /dev/zero | tr '\0' x > /dev/hvc0
echo "flood: with"
yes > /dev/hvc0 &
timergap "$seconds" || exit 1
kill $! || exit 1
wait
echo "flood: done"
