#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Run a program that needs a module:
#
#   with_module MODULE PROGRAM [ARGUMENT]...
set -e

/usr/sbin/modprobe "$1"
shift
exec "$@"
