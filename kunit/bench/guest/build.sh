#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# A small load in the shape of a kernel build: for each of N units make starts a
# shell, which runs a generator, filters and the assembler; then archive and link.
#
#   build.sh N
set -eu
PATH=/usr/bin:/bin
directory=/tmp/build
rm -rf $directory
mkdir -p $directory
cd $directory

n=0
units=
while [ $n -lt "$1" ]; do
	units="$units unit$n.o"
	n=$((n + 1))
done

cat > Makefile <<EOF
all: image
image: built-in.a
	@ld -o \$@ --whole-archive built-in.a -e unit0
built-in.a: $units
	@rm -f \$@; ar rcsD \$@ $units
%.o: %.c
	@sed -e 's/UNIT/\$*/' \$< | sed -e 's/;/\\n/g' | grep -v '^\$\$' > \$*.s; \\
	as -o \$@ \$*.s; \\
	echo "cmd_\$@ := as -o \$@ \$*.s" > .\$@.cmd; \\
	if grep -q unit \$*.s; then mv -f .\$@.cmd \$*.cmd; fi
EOF

n=0
while [ $n -lt "$1" ]; do
	{
		echo ".globl UNIT;UNIT:"
		i=0
		while [ $i -lt 60 ]; do
			echo "add x0, x0, #$i;eor x1, x1, x0;stp x0, x1, [sp, #-16]!;ldp x0, x1, [sp], #16;"
			i=$((i + 1))
		done
		echo "ret;"
	} > unit$n.c
	n=$((n + 1))
done

make --no-print-directory -s
[ -s image ]
