#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The commands bin/xdp-otel and bin/python3 of the sidecar's archive: start the archive's Python through its own
# dynamic linker, so that it runs in any directory, and where there is another C library or none.
set -eu

program=$0
if [ -L "$program" ]; then program=$(readlink -f "$program"); fi
top=$(cd "${program%/*}/.." && pwd -P)
for linker in "$top"/lib/*-linux-gnu/ld-linux-*; do :; done
for python in "$top"/bin/python3.*; do :; done

case ${0##*/} in
	python*) ;;
	*) set -- -I -m sidecar "$@" ;;
esac
# Python finds its modules from bin/python3, and starts itself with it.
exec "$linker" --inhibit-cache --library-path "${linker%/*}" --argv0 "$top/bin/python3" "$python" "$@"
