#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# scripts - every shell script is clean for shellcheck, one line each.
cd "${srcdir:-.}" || exit 1
command -v shellcheck >/dev/null || { echo "skip scripts: shellcheck is not installed"; exit 0; }
grep -rlE '^#!/bin/(ba)?sh' bootstrap .ci scripts tests sdk host plugins 2>/dev/null | sort |
    while read -r script; do
        if found=$(shellcheck -x -P SCRIPTDIR -f gcc "$script"); then
            echo "ok scripts: $script"
        else
            echo "not ok scripts: $script: $(echo "$found" | head -n 3 | tr '\n' ' ')"
        fi
    done
