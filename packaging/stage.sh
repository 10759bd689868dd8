#!/bin/sh
# Lays out below the folder $2 what packages contain, with the program $1.
set -eu
program=$1 root=$2
here=$(dirname "$0")

put() { install -D -m 644 "$1" "$root$2"; }
say() { # a path, then what to ask the program for
	to="$root$1"; shift
	mkdir -p "$(dirname "$to")"
	"$program" "$@" >"$to"
	chmod 644 "$to"
}

umask 022
rm -rf "$root"
install -D -m 755 "$program" "$root/usr/bin/pointsman"
sed 's|/usr/local/bin/|/usr/bin/|' "$here/pointsman.service" | install -D -m 644 /dev/stdin "$root/usr/lib/systemd/system/pointsman.service"
put "$here/group.conf" /usr/lib/systemd/system/pointsman.service.d/group.conf
put "$here/sysusers.conf" /usr/lib/sysusers.d/pointsman.conf
put "$here/tmpfiles.conf" /usr/lib/tmpfiles.d/pointsman.conf
put "$here/prometheus/pointsman.rules.yml" /usr/share/pointsman/prometheus/pointsman.rules.yml
put "$here/grafana/pointsman.json" /usr/share/pointsman/grafana/pointsman.json
put "$here/pointsman.hcl" /usr/share/doc/pointsman/examples/pointsman.hcl
put "$here/../LICENSE" /usr/share/doc/pointsman/copyright
for document in README.md docs/configuration.md docs/metrics.md docs/alerts.md; do
	put "$here/../$document" "/usr/share/doc/pointsman/$(basename "$document")"
done
say /usr/share/man/man8/pointsman.8 man
gzip -9n "$root/usr/share/man/man8/pointsman.8"
say /usr/share/bash-completion/completions/pointsman completion bash
say /usr/share/fish/vendor_completions.d/pointsman.fish completion fish
# Where zsh looks is the distribution's to say.
say /usr/share/zsh/_pointsman completion zsh
mv "$root/usr/share/zsh/_pointsman" "$root.zsh"
rmdir "$root/usr/share/zsh"
