#!/bin/sh
# Kernel settings for @TARGET@.
# Computed by rookery tune for: @MACHINE@.
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
SYSCTL=@SYSCTL@
FILES=@COUNT@

# A line for each value: rule|number of the value that is compared|key|wanted|reason. "least" is good from there on, "most" up to
# there, "same" only if it is the same.
values() {
	cat <<'END'
@VALUES@
END
}

# path_of N: the path of a file.
path_of() {
	case $1 in
	0) echo "$SYSCTL" ;;
@PATHS@
	*) ;;
	esac
}

# content_of N: what is to be in it.
content_of() {
	case $1 in
	0) cat "$STATE/sysctl" ;;
@FILES@
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

# place KEY: the file of the kernel.
place() {
	case $1 in
	/*) echo "$ROOT$1" ;;
	*) echo "$ROOT/proc/sys/$(echo "$1" | tr . /)" ;;
	esac
}

# value FILE: its words with one blank between them.
value() {
	tr -s '[:space:]' ' ' <"$1" | sed 's/ $//'
}

# good RULE NUMBER NOW WANTED
good() {
	[ "$3" != "$4" ] || return 0
	is=$(echo "$3" | cut -d' ' -f"$2")
	should=$(echo "$4" | cut -d' ' -f"$2")
	case $1 in
	least) [ "$is" -ge "$should" ] ;;
	most) [ "$is" -le "$should" ] ;;
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
		while IFS='|' read -r rule number key wanted reason; do
			file=$(place "$key")
			if ! [ -e "$file" ]; then
				echo "absent  $key: this machine does not have it"
			elif good "$rule" "$number" "$(value "$file")" "$wanted"; then
				echo "good    $key = $(value "$file")"
			else
				short=1
				echo "short   $key = $(value "$file"), wanted $wanted: $reason"
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
	for n in $(numbers); do
		file=$ROOT$(path_of "$n")
		rm -f "$file.new" 2>/dev/null || true
		if [ -e "$STATE/original.$n" ]; then
			{ cp -p "$STATE/original.$n" "$file.new" && mv "$file.new" "$file"; } || failed="$failed $file"
		elif [ -e "$STATE/none.$n" ] && [ -e "$file" ]; then
			rm "$file" || failed="$failed $file"
		fi
	done
	# The last that was set is put back first.
	sed '1!G;h;$!d' "$STATE/changed" >"$STATE/backwards"
	while IFS='|' read -r key old _; do
		file=$(place "$key")
		[ -e "$file" ] || continue
		echo "$old" >"$file" || failed="$failed $key"
	done <"$STATE/backwards"
	sed '1!G;h;$!d' "$STATE/directories" >"$STATE/backwards"
	while read -r directory; do
		rmdir "$directory" 2>/dev/null || true # others may have put something there
	done <"$STATE/backwards"
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
	[ ! -e "$STATE" ] || die "an earlier apply was interrupted: sh tune.sh rollback puts back what it had changed"
	mkdir -p "$STATE"
	: >"$STATE/changed"
	: >"$STATE/directories"
	: >"$STATE/sysctl"
	trap undo EXIT
	for n in $(numbers); do
		file=$ROOT$(path_of "$n")
		if [ -e "$file" ]; then cp -p "$file" "$STATE/original.$n"; else : >"$STATE/none.$n"; fi
	done
	values | while IFS='|' read -r rule number key wanted reason; do
		file=$(place "$key")
		[ -e "$file" ] || continue
		now=$(value "$file")
		! good "$rule" "$number" "$now" "$wanted" || continue
		echo "$key|$now|$wanted" >>"$STATE/changed"
		optional=
		case $key in
		/*) continue ;;
		net.netfilter.*) optional=- ;; # no fault where the module is not loaded
		*) ;;
		esac
		printf '# %s\n%s%s = %s\n\n' "$reason" "$optional" "$key" "$wanted" >>"$STATE/sysctl"
	done
	flush
	for n in $(numbers); do
		if [ "$n" = 0 ] && ! [ -s "$STATE/sysctl" ]; then continue; fi
		make_directories "$(dirname "$ROOT$(path_of "$n")")"
		put "$n"
		echo "file    $(path_of "$n")"
	done
	while IFS='|' read -r key old wanted; do
		file=$(place "$key")
		echo "$wanted" >"$file"
		echo "value   $key: $old -> $wanted"
	done <"$STATE/changed"
	reload
	# What the kernel made of the values, for rollback.
	while IFS='|' read -r key old wanted; do
		now=$(value "$(place "$key")")
		echo "$key|$now" >>"$STATE/done.new"
		[ "$now" = "$wanted" ] || echo "tune.sh: did not take: $key reads $now, $wanted was written" >&2
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
	while IFS='|' read -r key left; do
		file=$(place "$key")
		[ -e "$file" ] || continue
		[ "$(value "$file")" = "$left" ] || echo "  $key is $(value "$file"), and was left as $left"
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
