#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# projects - what a third party does, with nothing but what `make install` puts in place: the
# template (autotools, and meson if it is there) and the examples are built outside of this tree,
# run their tests, keep all rules of the installed checker, and are loaded by the installed daemon,
# which adds a device of each.
set -u
tmp=$(mktemp -d) || exit 99
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
sanitize=${HVV_SANITIZE:-}

# say NAME LOG: ok if the last command was.
say()
{
    # shellcheck disable=SC2181
    if [ $? -eq 0 ]; then
        echo "ok sdk: $1"
    else
        echo "not ok sdk: $1: $(tail -n 4 "$2" | tr '\n' ' ')"
        return 1
    fi
}

for tool in autoreconf automake pkg-config; do
    command -v $tool >/dev/null || { echo "skip sdk: $tool is not installed"; exit 0; }
done

# ---- install, and forget where that came from ----
make -C "$HVV_BUILD" install DESTDIR="$tmp/root" >"$tmp/install.log" 2>&1
say "make install" "$tmp/install.log" || exit 1
pc=$(find "$tmp/root" -name hvisor-vhost.pc)
prefix=$(sed -n 's/^prefix=//p' "$pc")
root=$tmp/root$prefix
sed -i "s|^prefix=.*|prefix=$root|" "${pc%/*}"/*.pc # it was moved, so the one line that says where
export PKG_CONFIG_PATH=${pc%/*} ACLOCAL_PATH=$root/share/aclocal PATH=$root/bin:$root/sbin:$PATH
source=$HVV_SOURCE build=$HVV_BUILD
unset HVV_SOURCE HVV_BUILD HVV_TEST_PLUGINS MAKEFLAGS MFLAGS MAKELEVEL srcdir DESTDIR CTL CTL_DAEMON
unset TESTS TEST_LOGS
cd "$tmp" || exit 1

# A file that names our tree would not work elsewhere.
found=$(grep -rlIF -e "$source" -e "$build" "$root/share" "$root/include" "$root/bin" "${pc%/*}" |
    grep -vE '/(hvisor-vhost-ctl)$')
[ -z "$found" ]
say "nothing that is installed names the tree" <(echo "$found")

# ---- projects ----
autotools()
(
    cd "$1" && autoreconf -i && ./configure CFLAGS="-g -O1 -Wall -Wextra -Werror $sanitize" &&
        make ${sanitize:+HVV_PLUGIN_LDFLAGS=-shared} check
)

project()
{
    "${@:2}" >"$1.log" 2>&1
    say "$1: builds, and its test passes" "$1.log"
    local status=$?
    cat "$1"/test-*.log "$1"/build/meson-logs/testlog.txt 2>/dev/null | grep '^not ok'
    return $status
}

hvisor-vhost-new-plugin my-dice >new.log 2>&1
say "a new project" new.log
for example in rng echo input; do
    cp -r "$root/share/hvisor-vhost/examples/$example" . && chmod -R u+w $example
done
built=()
for name in my-dice rng echo input; do
    project $name autotools $name && built+=("$name")
done
made=$(nm -D --defined-only my-dice/my-dice.so | awk '{ print $3 }' | grep -v '^__')
[ "$made" = hvv_plugin_v1 ]
say "a plugin exports one symbol" <(echo "$made")
grep -rlE 'hvisor-vhost-[0-9.]*/|sdk/' my-dice --include='*.[ch7]' --include='*.a[cm]' >names.log
[ ! -s names.log ]
say "a new project does not name our tree" names.log
plugindir=$(pkg-config --variable=plugindir hvisor-vhost)
(make -C my-dice install DESTDIR="$tmp/other" && [ -e "$tmp/other$plugindir/my-dice.so" ]) \
    >install-plugin.log 2>&1
say "a plugin is installed where plugins are" install-plugin.log
if command -v mandoc >/dev/null; then
    for page in my-dice/*.7 rng/*.7 echo/*.7 input/*.7; do
        found=$(mandoc -Tlint -W warning "$page" 2>&1)
        [ -z "$found" ]
        say "mandoc ${page##*/}" <(echo "$found")
    done
fi

meson_project()
(
    hvisor-vhost-new-plugin of-meson --meson && cd of-meson &&
        meson setup -Dwerror=true build && meson test -C build
)
if [ -n "$sanitize" ]; then
    echo "skip sdk: of-meson: not with sanitizers"
elif ! command -v meson >/dev/null || ! command -v ninja >/dev/null; then
    echo "skip sdk: of-meson: meson or ninja is not installed"
else
    project of-meson meson_project && built+=(of-meson)
fi

# ---- from a build tree that is not installed ----
(
    export PKG_CONFIG_PATH=$build/sdk HVV_PKGDATADIR=$source/sdk
    unset ACLOCAL_PATH
    hvisor-vhost-new-plugin uninstalled && cd uninstalled &&
        flags=$(pkg-config --cflags --libs hvisor-vhost-harness) &&
        read -ra flags <<<"$flags" && read -ra more <<<"$sanitize" &&
        ${CC:-cc} -D_GNU_SOURCE test-uninstalled.c uninstalled.c "${more[@]}" "${flags[@]}" -o t &&
        ./t
) >uninstalled.log 2>&1
say "a build tree serves as well" uninstalled.log

# ---- names ----
while IFS='|' read -r name why; do
    # shellcheck disable=SC2086
    hvisor-vhost-new-plugin $name >name.log 2>&1 </dev/null
    status=$?
    [ $status -ne 0 ] && [ "$(wc -l <name.log)" -eq 1 ] && grep -qF -- "$why" name.log
    say "the name '$name' is refused" name.log
done <<'NAMES'
Dice|is no name for a plugin
9dice|is no name for a plugin
a/b|is no name for a plugin
di.ce|is no name for a plugin
-dice|unknown option
abcdefghijabcdefghijabcdefghijab|at most 31
blk|a plugin of hvisor-vhost itself
my-dice|is there already
a b|one name
dice --directory|needs the name of a directory
test --meson|meson has a target called test
NAMES

# ---- the checker has nothing against them ----
mkdir plugins
mkfifo keys # in place of an event device
for name in "${built[@]}"; do
    find "$name" -name "$name.so" -exec cp {} plugins/ \;
done
for name in "${built[@]}"; do
    if [ -n "$sanitize" ]; then
        echo "skip sdk: the checker and $name: not with sanitizers"
        continue
    fi
    options=()
    [ "$name" != input ] || options=(keys)
    hvisor-vhost-check-plugin "plugins/$name.so" "${options[@]}" >check.log 2>&1
    say "the installed checker: $name keeps all rules" <(grep '^not ok' check.log || cat check.log)
done

# ---- the daemon takes them ----
hvisor-vhost -p plugins --control "$tmp/c" --socket-dir "$tmp" 2>daemon.log &
pid=$!
ctl()
{
    hvisor-vhost-ctl --control "$tmp/c" "$@" >ctl.log 2>&1
}
ctl --wait 15 list
say "the installed daemon starts" daemon.log
for name in "${built[@]}"; do
    path=
    [ "$name" != input ] || path=$tmp/keys,
    ctl add "$name:${path}id=d-$name"
    say "a device of $name is added" ctl.log
done
ctl fill d-my-dice bytes=9 && grep -q 9 ctl.log
say "its command runs" ctl.log
ctl shout d-echo on=yes && grep -q yes ctl.log
say "so does that of echo" ctl.log
! ctl add my-dice:fill=300 && grep -q '1 to 256' ctl.log
say "an option out of range is refused" ctl.log
for name in "${built[@]}"; do
    ctl remove "d-$name"
    say "a device of $name is removed" ctl.log
done
