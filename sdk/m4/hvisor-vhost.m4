# SPDX-License-Identifier: BSD-3-Clause
# hvisor-vhost.m4 - for projects that build device plugins of hvisor-vhost.              serial 1

# HVV_PLUGIN_INIT([MINIMUM-VERSION])
# ----------------------------------
# Finds the headers and the test harness with pkg-config, stops if they are not there, and sets for
# use in a Makefile.am:
#   HVV_CFLAGS               to compile a plugin or its test
#   HVV_PLUGIN_CFLAGS        to compile what goes into a plugin, beside them
#   HVV_PLUGIN_LDFLAGS       to link a plugin; no symbol may be missing
#   HVV_HARNESS_CFLAGS, HVV_HARNESS_LIBS   to compile and link a test
#   HVV_PLUGINDIR            where plugins are installed; configure --with-plugindir=DIR changes it
AC_DEFUN([HVV_PLUGIN_INIT], [
AC_REQUIRE([PKG_PROG_PKG_CONFIG])
PKG_CHECK_MODULES([HVV], [hvisor-vhost m4_ifval([$1], [>= $1])])
PKG_CHECK_MODULES([HVV_HARNESS], [hvisor-vhost-harness m4_ifval([$1], [>= $1])])
AC_ARG_WITH([plugindir], [AS_HELP_STRING([--with-plugindir=DIR],
  [where the plugin is installed; default: where hvisor-vhost looks])],
  [HVV_PLUGINDIR=$withval],
  [HVV_PLUGINDIR=`$PKG_CONFIG --variable=plugindir hvisor-vhost`])
AS_IF([test -z "$HVV_PLUGINDIR"],
  [AC_MSG_ERROR([hvisor-vhost.pc has no plugindir: give --with-plugindir])])
AC_SUBST([HVV_PLUGINDIR])
AC_SUBST([HVV_PLUGIN_CFLAGS], ["-fPIC -fvisibility=hidden"])
AC_SUBST([HVV_PLUGIN_LDFLAGS], ["-shared -Wl,-z,defs"])
])
