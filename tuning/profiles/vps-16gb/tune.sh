#!/bin/sh
# Kernel settings for 1,899,000 connections, 189,900 messages a second, as gateway.
# Computed by rookery tune for: a rented machine of 16 GB with eight processors.
#
#   sh tune.sh check      say which values fall short; changes nothing
#   sh tune.sh apply      save what is there, set the values, write files that make them last (as root)
#   sh tune.sh rollback   put everything back (as root)
#
# Exit status: 0 all is well, 1 something falls short or failed, 2 the command is not understood.
# ROOT=DIRECTORY stands for /, to try it on a copy.
set -eu

ROOT=${ROOT:-}
STATE=$ROOT/var/lib/rookery-tune-script
SYSCTL=/etc/sysctl.d/zz-rookery-tune.conf
FILES=2

# A line for each value: rule|which number of it is compared|file|key|wanted|reason. "least" is good from there on, "most" up to
# there, "same" only if it is the same.
values() {
	cat <<'END'
least|1|/proc/sys/fs/nr_open|fs.nr_open|1900000|no limit of open files of a process can be set higher than this
least|1|/proc/sys/net/core/somaxconn|net.core.somaxconn|65535|connections that the gateway has not accepted yet wait in a queue that is never longer than this; what comes when it is full is dropped and sent again by the client seconds later
least|1|/proc/sys/net/core/netdev_max_backlog|net.core.netdev_max_backlog|4096|packets that one processor hands to another (loopback, RPS, drivers without NAPI) wait in a queue of this length, and are dropped when it is full
least|1|/proc/sys/net/netfilter/nf_conntrack_max|net.netfilter.nf_conntrack_max|2854912|where a firewall or NAT tracks connections, each is an entry of a table, and packets of new ones are dropped when it is full
least|1|/proc/sys/net/netfilter/nf_conntrack_buckets|net.netfilter.nf_conntrack_buckets|1048576|the table is searched for every packet, and with many entries in a bucket each search takes longer
most|1|/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established|net.netfilter.nf_conntrack_tcp_timeout_established|86400|a connection whose end was not seen stays in the table for this long, five days by default; heartbeats keep those that live
least|2|/proc/sys/net/ipv4/tcp_mem|net.ipv4.tcp_mem|513024 684032 1026048|the buffers of all sockets together, in pages and not bytes: over the second number the kernel shrinks windows, over the third it drops. The default is a tenth of the memory, for few connections with full buffers
least|1|/proc/sys/net/ipv4/tcp_max_orphans|net.ipv4.tcp_max_orphans|524288|connections that the gateway has closed while data was on its way are the kernel's to finish; beyond this many it resets them, and their last messages are lost
most|3|/proc/sys/net/ipv4/tcp_wmem|net.ipv4.tcp_wmem|4096 16384 524288|a consumer that is slow holds up to the third number of bytes in the kernel; the second is only where autotuning begins, and takes no memory before there is data
most|1|/proc/sys/net/ipv4/tcp_notsent_lowat|net.ipv4.tcp_notsent_lowat|131072|a socket counts as full when this much is unsent, so that what waits for a slow consumer stays in the gateway, which gathers it or reads it from the log later, and not in the kernel
END
}

# path_of N: the path of a file.
path_of() {
	case $1 in
	0) echo "$SYSCTL" ;;
	1) echo '/etc/modules-load.d/rookery-tune.conf' ;;
	2) echo '/etc/systemd/system/rookery.service.d/zz-rookery-tune.conf' ;;
	*) ;;
	esac
}

# content_of N: what is to be in it.
content_of() {
	case $1 in
	0) cat "$STATE/sysctl" ;;
	1) cat <<'END'
# Written by rookery tune for 1,899,000 connections, 189,900 messages a second, as gateway.
# Not to be edited: rookery tune apply writes it anew, rookery tune rollback takes it away.

nf_conntrack
END
		;;
	2) cat <<'END'
# Written by rookery tune for 1,899,000 connections, 189,900 messages a second, as gateway.
# Not to be edited: rookery tune apply writes it anew, rookery tune rollback takes it away.

[Service]
LimitNOFILE=1900000
END
		;;
	*) ;;
	esac
}

# flush: so that a power cut loses nothing of it. A copy needs none.
flush() {
	[ -n "$ROOT" ] || sync
}

die() {
	echo "tune.sh: $*" >&2
	exit 1
}

# look FILE: puts its words into $reads, with one blank between them. By cat: the shell's read takes a byte at a time, and the
# kernel gives a setting to the first read only.
look() {
	reads=$(cat "$1")
	set -f
	# shellcheck disable=SC2086  # it is to be split into words
	set -- $reads
	set +f
	reads=$*
}

# nth NUMBER WORDS: puts one of the words into $word.
nth() {
	word=0
	[ "$#" -gt "$1" ] || return 0
	shift "$1"
	word=$1
}

# good RULE NUMBER NOW WANTED
good() {
	[ "$3" != "$4" ] || return 0
	# shellcheck disable=SC2086  # they are to be split into words
	nth "$2" $3
	is=$word
	# shellcheck disable=SC2086
	nth "$2" $4
	case $1 in
	least) [ "$is" -ge "$word" ] ;;
	most) [ "$is" -le "$word" ] ;;
	*) return 1 ;;
	esac
}

# numbers: 0 1 2 ... of the files.
numbers() {
	n=0
	while [ "$n" -le "$FILES" ]; do
		echo "$n"
		n=$((n + 1))
	done
}

check() {
	if values | {
		short=0
		while IFS='|' read -r rule number file key wanted reason; do
			if ! [ -e "$ROOT$file" ]; then
				echo "absent  $key: this machine does not have it"
				continue
			fi
			look "$ROOT$file"
			if good "$rule" "$number" "$reads" "$wanted"; then
				echo "good    $key = $reads"
			else
				short=1
				echo "short   $key = $reads, wanted $wanted: $reason"
			fi
		done
		exit "$short"
	}; then well=0; else well=1; fi
	for n in $(numbers); do
		[ "$n" != 0 ] || continue
		file=$ROOT$(path_of "$n")
		if ! [ -e "$file" ]; then
			well=1
			echo "short   $(path_of "$n") is not there"
		elif ! content_of "$n" | cmp -s - "$file"; then
			well=1
			echo "short   $(path_of "$n") has another content"
		fi
	done
	return "$well"
}

# put N: write a file in one step.
put() {
	file=$ROOT$(path_of "$1")
	content_of "$1" >"$file.new"
	flush
	mv "$file.new" "$file"
	cp "$file" "$STATE/written.$1"
}

# make_directories DIRECTORY: those that are missing, each noted.
make_directories() {
	[ ! -d "$1" ] || return 0
	make_directories "$(dirname "$1")"
	echo "$1" >>"$STATE/directories"
	mkdir "$1"
}

reload() {
	[ -z "$ROOT" ] || return 0
	if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	if [ -e /run/udev/control ]; then udevadm control --reload; fi
}

# put_back: everything as it was, as far as it was changed. It goes on when something can't be.
put_back() {
	failed=
	# One that was killed at its very beginning has not made these.
	for list in backwards directories; do
		[ -e "$STATE/$list" ] || : >"$STATE/$list"
	done
	for n in $(numbers); do
		file=$ROOT$(path_of "$n")
		rm -f "$file.new" 2>/dev/null || true
		if [ -e "$STATE/original.$n" ]; then
			{ cp -p "$STATE/original.$n" "$file.new" && mv "$file.new" "$file"; } || failed="$failed $file"
		elif [ -e "$STATE/none.$n" ] && [ -e "$file" ]; then
			rm "$file" || failed="$failed $file"
		fi
	done
	# The last that was set is put back first. Nothing is written before: the disk may be full.
	while IFS='|' read -r file key old _; do
		[ -e "$ROOT$file" ] || continue
		echo "$old" >"$ROOT$file" || failed="$failed $key"
	done <"$STATE/backwards"
	sed '1!G;h;$!d' "$STATE/directories" | while read -r directory; do
		rmdir "$directory" 2>/dev/null || true # others may have put something there
	done
	reload || failed="$failed systemd or udev"
	[ -z "$failed" ] || die "this could not be put back:$failed; what was there is in $STATE"
	rm -r "$STATE"
	flush
}

undo() {
	trap - EXIT
	put_back
	die "it failed, everything is put back"
}

need_root() {
	[ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || die "only root can do this"
}

apply() {
	need_root
	if [ -e "$STATE/done" ]; then
		[ -z "$(changes)" ] || die "it was applied, and somebody has changed this since:
$(changes)
rollback says more"
		echo "It is applied already."
		return 0
	fi
	[ ! -e "$ROOT/var/lib/rookery-tune" ] || die "rookery tune apply was run on this machine: roll that back first, rookery tune rollback"
	[ ! -e "$STATE" ] || die "an earlier apply was interrupted: sh tune.sh rollback puts back what it had changed"
	for n in $(numbers); do
		[ ! -h "$ROOT$(path_of "$n")" ] || die "$(path_of "$n") is a symbolic link, and not a file of this script: take it away if nobody needs it"
	done
	mkdir -p "$(dirname "$STATE")"
	mkdir "$STATE" || die "another apply is at work" # of two only one makes it
	: >"$STATE/changed"
	: >"$STATE/backwards"
	: >"$STATE/directories"
	: >"$STATE/sysctl"
	trap undo EXIT
	for n in $(numbers); do
		file=$ROOT$(path_of "$n")
		if [ -e "$file" ]; then cp -p "$file" "$STATE/original.$n"; else : >"$STATE/none.$n"; fi
	done
	values | while IFS='|' read -r rule number file key wanted reason; do
		[ -e "$ROOT$file" ] || continue
		look "$ROOT$file"
		! good "$rule" "$number" "$reads" "$wanted" || continue
		# In a container some are for looking at only. To open one changes nothing, and the kernel refuses that to root, too.
		(: >>"$ROOT$file") 2>/dev/null || {
			echo "fixed   $key can't be set from here"
			continue
		}
		echo "$file|$key|$reads|$wanted" >>"$STATE/changed"
		case $file in
		/proc/sys/net/netfilter/*) optional=- ;; # no fault where the module is not loaded
		/proc/sys/*) optional= ;;
		*) continue ;; # of a network card: no setting of sysctl.d
		esac
		printf '# %s\n%s%s = %s\n\n' "$reason" "$optional" "$key" "$wanted" >>"$STATE/sysctl"
	done
	sed '1!G;h;$!d' "$STATE/changed" >"$STATE/backwards"
	flush
	for n in $(numbers); do
		if [ "$n" = 0 ] && ! [ -s "$STATE/sysctl" ]; then continue; fi
		make_directories "$(dirname "$ROOT$(path_of "$n")")"
		put "$n"
		echo "file    $(path_of "$n")"
	done
	while IFS='|' read -r file key old wanted; do
		echo "$wanted" >"$ROOT$file"
		echo "value   $key: $old -> $wanted"
	done <"$STATE/changed"
	reload
	# What the kernel made of the values, for rollback.
	while IFS='|' read -r file key _ wanted; do
		look "$ROOT$file"
		echo "$file|$key|$reads" >>"$STATE/done.new"
		[ "$reads" = "$wanted" ] || echo "tune.sh: did not take: $key reads $reads, $wanted was written" >&2
	done <"$STATE/changed"
	[ -e "$STATE/done.new" ] || : >"$STATE/done.new"
	flush
	mv "$STATE/done.new" "$STATE/done"
	trap - EXIT
	echo "A gateway that runs keeps its limit of open files and its accept queues until it is started again."
}

# changes: what is not as it was left.
changes() {
	for n in $(numbers); do
		[ -e "$STATE/written.$n" ] || continue
		cmp -s "$STATE/written.$n" "$ROOT$(path_of "$n")" || echo "  $(path_of "$n") has another content, or is gone"
	done
	while IFS='|' read -r file key left; do
		[ -e "$ROOT$file" ] || continue # its module is not loaded any more
		look "$ROOT$file"
		[ "$reads" = "$left" ] || echo "  $key is $reads, and was left as $left"
	done <"$STATE/done"
}

rollback() {
	need_root
	[ -e "$STATE" ] || die "nothing was applied by this script"
	if [ -e "$STATE/done" ] && [ -n "$(changes)" ]; then
		die "nothing is put back, since somebody has changed this:
$(changes)
put it back as it was left, then roll back"
	fi
	# What is killed from here on is half of it, like an apply that was: the next rollback must not take it for changes of somebody.
	[ ! -e "$STATE/done" ] || mv "$STATE/done" "$STATE/undone"
	put_back
	echo "Everything is as it was."
}

case ${1:-} in
check) check ;;
apply) apply ;;
rollback) rollback ;;
*)
	echo "usage: sh tune.sh check|apply|rollback" >&2
	exit 2
	;;
esac
