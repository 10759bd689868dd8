#!/bin/sh
# After the files came: dpkg says "configure" and, on an upgrade, the version that was
# there; rpm says how many versions there are now.
set -e

case "$1" in
configure) [ -z "$2" ] && first=yes ;;
1) first=yes ;;
2) ;;
*) exit 0 ;;
esac

if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers pointsman.conf
elif ! getent group pointsman >/dev/null; then
	groupadd --system pointsman
fi
if command -v systemd-tmpfiles >/dev/null; then
	systemd-tmpfiles --create pointsman.conf
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# The new daemon takes over what the kernel holds, and no packet notices. A file
	# that only the old one understood must not leave the package half installed.
	systemctl try-restart pointsman.service ||
		echo "pointsman: the new version does not start, packets go on: see systemctl status pointsman" >&2
fi
if [ "$first" = yes ]; then
	echo "pointsman: write /etc/pointsman/pointsman.hcl, then: pointsman check && systemctl enable --now pointsman"
fi
