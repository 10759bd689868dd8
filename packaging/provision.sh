#!/bin/sh
# Makes a Debian 12 machine one of the network in docs/vagrant.md. The Vagrantfile runs it
# at each start of a machine. Run again it changes nothing; it says what it does change.
#
# What to be comes in the environment:
#   ROLE        client, router, balancer, backend or consul
#   NAME        of the machine
#   ADDRESS     of the machine, on the interface that it is about
#   ROUTER      of the machine's network
#   VIP         that is balanced; VIP_POOL, the prefix that it is in
#   CLIENTS     the prefix where clients are; SITE, where all others are
#   BALANCERS   the addresses of the balancers
#   CONSUL      the address of Consul's server
#   PACKAGE     pointsman's deb; CONSUL_BINARY, consul. Nothing is installed where empty
#   ROOT        below which files are written, for the test
set -eu

etc=${ROOT:=}/etc
changed=no

say() { echo "$NAME: $*"; }

# put writes what it reads to a file, unless the file has it already.
put() {
	mkdir -p "$(dirname "$ROOT$1")"
	cat >"$ROOT$1.new"
	if cmp -s "$ROOT$1.new" "$ROOT$1"; then
		rm "$ROOT$1.new"
	else
		mv "$ROOT$1.new" "$ROOT$1"
		changed=yes
		say "wrote $1"
	fi
}

# serve has a service run, now and after each boot, and anew where its files are new.
serve() {
	if [ "$changed" = yes ]; then
		systemctl daemon-reload
		systemctl enable "$1"
		systemctl restart "$1"
		changed=no
	else
		systemctl start "$1"
	fi
}

interface() { ip -o -4 address show to "$ADDRESS" | awk '{ print $2; exit }'; }

# route sends a prefix to some hosts, evenly.
route() {
	prefix=$1 hops=
	shift
	for hop; do hops="$hops nexthop via $hop"; done
	# shellcheck disable=SC2086 # words are meant
	ip route replace "$prefix" $hops
}

kernel() {
	put /etc/sysctl.d/60-pointsman-lab.conf
	sysctl -q -p "$etc/sysctl.d/60-pointsman-lab.conf"
	changed=no
}

install_program() {
	[ -n "${PACKAGE:-}" ] || return 0
	wanted=$(dpkg-deb -f "$PACKAGE" Version)
	# shellcheck disable=SC2016 # dpkg's variable
	if [ "$(dpkg-query -W -f '${Version}' pointsman 2>/dev/null)" != "$wanted" ]; then
		DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i "$PACKAGE" >/dev/null
		say "installed pointsman $wanted"
	fi
}

# need installs Debian's package of a program that is not there.
need() {
	command -v "$1" >/dev/null && return
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
	say "installed $1"
}

# agent runs Consul; what it reads is the part of the configuration that differs.
agent() {
	if [ -n "${CONSUL_BINARY:-}" ] && ! cmp -s "$CONSUL_BINARY" /usr/local/bin/consul; then
		install -m 755 "$CONSUL_BINARY" /usr/local/bin/consul
		say "installed consul"
	fi
	mkdir -p "$ROOT/var/lib/consul"
	put /etc/consul.d/agent.hcl <<-X
		node_name = "$NAME"
		bind_addr = "$ADDRESS"
		data_dir  = "$ROOT/var/lib/consul"
		$(cat)
	X
	put /etc/systemd/system/consul.service <<-X
		[Unit]
		Description=Consul
		After=network-online.target
		[Service]
		ExecStart=/usr/local/bin/consul agent -config-dir $etc/consul.d
		ExecReload=/bin/kill -HUP \$MAINPID
		Restart=on-failure
		[Install]
		WantedBy=multi-user.target
	X
	serve consul
}

member() {
	agent <<-X
		retry_join     = ["$CONSUL"]
		retry_interval = "1s"
	X
}

be_client() { route "$VIP_POOL" "$ROUTER"; route "$SITE" "$ROUTER"; need curl; }

# The policy has flows spread by their ports, too: here all are of one client.
be_router() {
	kernel <<-X
		net.ipv4.ip_forward = 1
		net.ipv4.fib_multipath_hash_policy = 1
	X
	# shellcheck disable=SC2086 # words are meant
	route "$VIP_POOL" $BALANCERS
}

# The server leads as soon as it can: it is alone, and no network is slow.
be_consul() {
	agent <<-X
		server           = true
		bootstrap_expect = 1
		performance {
		  raft_multiplier = 1
		}
	X
}

be_balancer() {
	install_program
	route "$CLIENTS" "$ROUTER"
	member
	put /etc/pointsman/pointsman.hcl <<-X
		interfaces  = ["$(interface)"]
		vip_pools   = ["$VIP_POOL"]
		hash_secret = "the same on all balancers"

		consul {}

		service "web" {
		  listen  = ["$VIP:80/tcp"]
		  forward = "ipip"
		  consul { allowed_backends = ["$SITE"] }
		}
	X
	if [ "$changed" = yes ] && systemctl -q is-active pointsman; then
		systemctl reload pointsman
		changed=no
	fi
	serve pointsman
}

be_backend() {
	install_program
	need python3
	route "$CLIENTS" "$ROUTER"
	put /srv/web/index.html <<-X
		$NAME
	X
	put /etc/systemd/system/web.service <<-X
		[Unit]
		Description=A page that says which backend has sent it
		[Service]
		ExecStart=/usr/bin/python3 -m http.server --directory /srv/web 80
		Restart=on-failure
		[Install]
		WantedBy=multi-user.target
	X
	serve web
	from=
	for balancer in $BALANCERS; do from="$from --from $balancer"; done
	put /etc/systemd/system/pointsman-decap.service <<-X
		[Unit]
		Description=Takes the balancers' packets out of their tunnel
		After=network-online.target
		[Service]
		Type=oneshot
		RemainAfterExit=yes
		ExecStart=/usr/bin/pointsman decap --interface $(interface) --vip $VIP$from
		[Install]
		WantedBy=multi-user.target
	X
	serve pointsman-decap
	put /etc/consul.d/web.hcl <<-X
		service {
		  name    = "web"
		  address = "$ADDRESS"
		  port    = 80
		  check {
		    http     = "http://$ADDRESS/"
		    interval = "1s"
		    timeout  = "500ms"
		  }
		}
	X
	member
}

case "$ROLE" in
client | router | consul | balancer | backend) "be_$ROLE" ;;
*)
	echo "ROLE is client, router, balancer, backend or consul, and not $ROLE" >&2
	exit 2
	;;
esac
