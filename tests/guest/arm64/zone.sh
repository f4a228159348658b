#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# zone.sh - in a zone: runs the commands that come by the console, one line each, a number and the
# command, and says `zone: NUMBER status STATUS` after each. `end` ends it, and so the zone. root.sh
# is at the other end.
exec < /dev/console
stty -echo
# Nothing of the kernel's is to be in the middle of a line; /init looks at it in the end.
dmesg -n 1
echo "zone: ready"
while read -r number command; do
    [ "$command" != end ] || exit 0
    status=0
    sh -c "$command" < /dev/null 2>&1 || status=$?
    echo "zone: $number status $status"
done
echo "zone: the console has ended"
exit 1
