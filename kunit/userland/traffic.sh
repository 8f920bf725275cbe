#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Make the kernel create, change, move and free page tables in one particular
# way, then have the scanner look at all of them:
#
#   traffic ITEM
#
# The exit status says whether the item worked; what the scanner found is for
# the host to judge, from the lines "# scan NAME: VALUE". Without a scanner the
# line is "# scan: none".
set -eu

PATH=/usr/sbin:/usr/bin:/tests
scanner=/sys/kernel/debug/kpkeys_hardened_pgtables/scan
disk=/dev/vda

fail()
{
	echo "# $*"
	exit 1
}

scan()
{
	# A scanner with nothing to look after may refuse.
	{ [ -e $scanner ] && sed 's/^/# scan /' $scanner; } || echo "# scan: none"
}

# field NAME FILE: the number of a line "NAME [:] NUMBER"
field()
{
	sed -n "s/^$1:\{0,1\} *\([0-9]*\).*/\1/p" "$2"
}

# grown NAME BEFORE: the counter of /proc/vmstat is above what it was
grown()
{
	now=$(field "$1" /proc/vmstat)
	echo "# $1: $2 before, $now now"
	[ "$now" -gt "$2" ] || fail "$1 has not grown"
}

# until_true SECONDS COMMAND...: wait for the command to succeed
until_true()
{
	tries=$(($1 * 5))
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "waited in vain for: $*"
		sleep 0.2
	done
}

# A file system on the empty disk, for the swap file and for files with pages
# of their own. What an earlier item has made is used again.
scratch()
{
	mountpoint -q /mnt && return
	mkfs.ext4 -q -F $disk
	mkdir -p /mnt
	mount $disk /mnt
}

# Four times more memory than the group may have.
swap()
{
	scratch
	mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
	echo +memory > /sys/fs/cgroup/cgroup.subtree_control
	mkdir -p /sys/fs/cgroup/small
	echo 32M > /sys/fs/cgroup/small/memory.max
	dd if=/dev/zero of=/mnt/swap bs=1M count=160 status=none
	chmod 600 /mnt/swap
	mkswap -q /mnt/swap
	swapon /mnt/swap
	out=$(field pswpout /proc/vmstat)
	in=$(field pswpin /proc/vmstat)
	sh -c 'echo $$ > /sys/fs/cgroup/small/cgroup.procs; exec memwork fill 128 2'
	grown pswpout "$out"
	grown pswpin "$in"
	swapoff /mnt/swap
	rmdir /sys/fs/cgroup/small
	rm /mnt/swap
}

migration()
{
	before=$(field pgmigrate_success /proc/vmstat)
	memwork migrate
	grown pgmigrate_success "$before"
}

compaction()
{
	before=$(field compact_migrate_scanned /proc/vmstat)
	memwork fragment &
	pid=$!
	# Not waited for, it is an orphan of which init says that it was killed.
	trap 'kill $pid; wait $pid' EXIT
	until_true 60 test -e /tmp/fragmented
	echo 1 > /proc/sys/vm/compact_memory
	trap - EXIT
	kill $pid
	wait $pid || :
	rm /tmp/fragmented
	grown compact_migrate_scanned "$before"
}

ksm()
{
	memwork ksm
}

userfaultfd()
{
	/tests/mm/uffd-stress anon 16 4
	/tests/mm/uffd-stress shmem 16 4
	/tests/mm/uffd-stress hugetlb 8 4
}

memory_is()
{
	[ "$(field MemTotal /proc/meminfo)" "$1" "$2" ]
}

# ask_memory SIZE TEST KB: have the host give that many bytes, or take back.
# It reads the console, where the last line may linger: say it again.
ask_memory()
{
	for try in $(seq 60); do
		echo "# ask: memory $1"
		sleep 1
		memory_is "$2" "$3" && return
	done
	fail "the memory is still $(field MemTotal /proc/meminfo) KB"
}

memory()
{
	before=$(field MemTotal /proc/meminfo)
	for round in 1 2; do
		ask_memory 268435456 -gt $((before + 200000))
		# The new memory is movable, and the last processor's own.
		taskset -c "$(($(nproc) - 1))" memwork fill 200 1
		scan
		ask_memory 0 -le "$before"
	done
}

cpu()
{
	last=/sys/devices/system/cpu/cpu$(($(nproc) - 1))/online
	memwork map 6 &
	for round in 1 2 3 4 5; do
		echo 0 > "$last"
		echo 1 > "$last"
	done
	wait $!
}

suspend()
{
	stats=/sys/power/suspend_stats/success
	before=$(cat $stats)
	for round in 1 2 3; do
		rtcwake -u -m freeze -s 2
	done
	echo "# suspended $(($(cat $stats) - before)) times"
	[ "$(cat $stats)" -eq $((before + 3)) ]
}

# Two modules each time: one needs the other.
modules()
{
	for round in $(seq 100); do
		modprobe vfat
		grep -q '^vfat ' /proc/modules
		modprobe -r vfat
	done
	! grep '^v\{0,1\}fat ' /proc/modules
}

processes()
{
	memwork processes 600
}

# Private and shared, small and huge, by all processors at once.
mappings()
{
	memwork map 6
	scratch
	dd if=/dev/urandom of=/mnt/file bs=1M count=8 status=none
	cp /mnt/file /mnt/copy
	memwork file /mnt/copy
	sync
	echo 3 > /proc/sys/vm/drop_caches
	cmp /mnt/file /mnt/copy
}

# The memory of this boot is gone with it: the root goes to the disk.
kexec()
{
	scratch
	for name in /*; do
		case $name in
		/dev|/mnt|/proc|/sys|/tmp) mkdir -p "/mnt$name" ;;
		*) cp -a "$name" /mnt ;;
		esac
	done
	mkdir /tmp/boot
	mv /mnt/boot/Image /tmp/boot
	umount /mnt
	scan
	command=$(sed 's/ -- .*//' /proc/cmdline)
	memwork kexec /tmp/boot/Image "$command root=$disk rootwait rw init=/init -- kexec_after"
	fail "the kernel came back"
}

# What the kernel left behind is this boot's own.
kexec_after()
{
	grep -q "root=$disk" /proc/cmdline
	memwork processes 50
}

# Nothing but a look at what is there.
nothing()
{
	:
}

"$1"
scan
