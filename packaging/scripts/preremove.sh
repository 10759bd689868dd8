#!/bin/sh
# Before the files go: dpkg says "remove" or "upgrade"; rpm says how many versions will
# be left. An upgrade changes nothing: packets go on, and the old daemon with them.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl disable --now pointsman.service ||
		echo "pointsman: the daemon could not be stopped" >&2
fi
# What is in the kernel goes, too: packets would go on for ever to backends that nobody
# looks after, and the command that ends it would be gone.
said=$(pointsman detach 2>&1) ||
	echo "pointsman: forwarding may go on until the next boot: $said" >&2
if [ -e /var/lib/pointsman/decap.json ]; then
	pointsman decap --off >/dev/null ||
		echo "pointsman: what decap has set on this host could not be undone" >&2
fi
