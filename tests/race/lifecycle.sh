#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# lifecycle.sh - runs race-lifecycle under valgrind: nothing may be lost, or used once it is freed.
# Slow, so only with HVV_TEST_ALL=1; not in a build with sanitizers, which valgrind cannot run.
set -u

if [ "${HVV_TEST_ALL:-0}" != 1 ]; then
    echo "skip lifecycle-valgrind: it is slow, HVV_TEST_ALL=1 runs it"
    exit 77
fi
if [ -n "${HVV_SANITIZE:-}" ]; then
    echo "skip lifecycle-valgrind: this build has sanitizers"
    exit 77
fi
if ! command -v valgrind >/dev/null; then
    echo "skip lifecycle-valgrind: valgrind is not installed, scripts/deps test does that"
    exit 77
fi
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
program=$HVV_BUILD/race-lifecycle
[ ! -x "$HVV_BUILD/.libs/race-lifecycle" ] || program=$HVV_BUILD/.libs/race-lifecycle
if valgrind --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite \
    --error-exitcode=9 --log-file="$log" "$program"; then
    echo "ok lifecycle-valgrind"
else
    sed 's/^/# /' "$log" | head -n 200
    echo "not ok lifecycle-valgrind: valgrind found something"
    exit 1
fi
