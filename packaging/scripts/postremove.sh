#!/bin/sh
# After the files went. Only dpkg knows "purge"; rpm leaves what the daemon has learned.
set -e

if [ "$1" = purge ]; then
	rm -rf /var/lib/pointsman /run/pointsman
	# The operator's own files, such as Consul's token, stay.
	rmdir --ignore-fail-on-non-empty /etc/pointsman 2>/dev/null || true
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
