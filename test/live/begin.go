package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
)

func hostPrefix(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// bounce is the least that anybody can do: XDP sends frames to one backend, and its
// answers to the router.
func (s *stage) bounce(context.Context) error {
	to, err := mac(s.Lab.Backends[0])
	if err != nil {
		return err
	}
	router, err := find(s.Lab.Router, "eth1")
	if err != nil {
		return err
	}
	program, err := bouncerProgram(s.eth0.mac, to, router.mac)
	if err != nil {
		return err
	}
	defer program.Close()
	return s.eth0.attach(program)
}

func pointsman(forward string) func(*stage, context.Context) error {
	port := strconv.Itoa(framePort)
	if forward == "nat" {
		port = strconv.Itoa(reflectPort)
	}
	return func(s *stage, ctx context.Context) error {
		text, err := s.fill(`
interfaces = ["eth0"]
vip_pools  = ["POOL"]
state_dir  = "STATEDIR"
service "frames" {
  listen  = ["VIP:` + strconv.Itoa(framePort) + `/tcp", "VIP:` + strconv.Itoa(framePort) + `/udp"]
  forward = "` + forward + `"
  backend "BACKEND1:` + port + `" {}
  backend "BACKEND2:` + port + `" {}
}
service "asked" {
  listen  = ["` + asked.String() + `/tcp"]
  forward = "` + forward + `"
  backend "BACKEND1" {}
  backend "BACKEND2" {}
}
`)
		if err != nil {
			return err
		}
		if err := s.Configure(text); err != nil {
			return err
		}
		if err := s.Start(); err != nil {
			return err
		}
		_, err = s.AwaitReady(ctx)
		return err
	}
}

// watched has everybody look on who can.
func watched(begin func(*stage, context.Context) error) func(*stage, context.Context) error {
	return func(s *stage, ctx context.Context) error {
		if err := begin(s, ctx); err != nil {
			return err
		}
		at := fmt.Sprintf("%s:%d", vip, framePort)
		for _, command := range s.Onlookers("frames", at+"/tcp", filepath.Join(s.Lab.Dir, "frames.pcapng")) {
			if _, err := s.Host.Start(exec.Command(s.Binary, command...)); err != nil {
				return err
			}
		}
		_, err := s.Sit(io.Discard, "top", "--socket", s.Socket())
		return err
	}
}

// route makes the balancer a router whose stack gets the frames.
func (s *stage) route() error {
	for key, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/send_redirects": "0", "net/ipv4/conf/eth0/send_redirects": "0",
	} {
		if err := s.Host.Sysctl(key, value); err != nil {
			return err
		}
	}
	return s.Host.TakeFrames("eth0")
}

func (s *stage) nft(ctx context.Context, rules string) error {
	text, err := s.fill(rules)
	if err != nil {
		return err
	}
	file, err := s.write("rules.nft", text)
	if err != nil {
		return err
	}
	_, err = s.Host.Run(ctx, "nft", "-f", file)
	return err
}

// forwardByNFT keeps no state: the hash of a flow says which backend's MAC a frame
// goes to, before the stack sees it.
func (s *stage) forwardByNFT(ctx context.Context) error {
	if err := s.route(); err != nil {
		return err
	}
	return s.nft(ctx, `
table netdev balance {
	chain arriving {
		type filter hook ingress device "eth0" priority 0;
		ip daddr VIP ip protocol { tcp, udp } ether saddr set OWNMAC ether daddr set jhash ip saddr . th sport mod 2 map { 0 : MAC1, 1 : MAC2 } fwd to "eth0"
	}
}
`)
}

// flowtable lets connections that have had answers pass by most of the stack.
const flowtable = `
	flowtable fast {
		hook ingress priority 0;
		devices = { eth0 };
	}
	chain passing {
		type filter hook forward priority 0;
		ct state established flow add @fast
	}
`

// translateByNFT is NAT by the kernel's connection tracking. Checksums are not looked
// at there, because a network card would have done so.
func translateByNFT(more string) func(*stage, context.Context) error {
	return func(s *stage, ctx context.Context) error {
		if err := s.route(); err != nil {
			return err
		}
		err := s.nft(ctx, fmt.Sprintf(`
table ip balance {
	%s
	chain arriving {
		type nat hook prerouting priority dstnat;
		ip daddr VIP ip protocol { tcp, udp } th dport %d dnat to jhash ip saddr . th sport mod 2 map { 0 : BACKEND1 . %d, 1 : BACKEND2 . %[3]d }
		ip daddr VIP tcp dport %d dnat to jhash ip saddr . tcp sport mod 2 map { 0 : BACKEND1, 1 : BACKEND2 }
	}
	chain leaving {
		type nat hook postrouting priority srcnat;
		oifname "eth0" masquerade
	}
}
`, more, framePort, reflectPort, askPort))
		if err != nil {
			return err
		}
		return s.Host.Sysctl("net/netfilter/nf_conntrack_checksum", "0")
	}
}

// ipvs balances by the kernel's own balancer, with the hash that is nearest to ours.
func ipvs(method string) func(*stage, context.Context) error {
	return func(s *stage, ctx context.Context) error {
		if err := s.route(); err != nil {
			return err
		}
		if err := s.Host.AddAddress("lo", hostPrefix(vip)); err != nil {
			return err
		}
		for _, service := range []struct {
			flag        string
			from, there int
		}{{"-t", framePort, reflectPort}, {"-u", framePort, reflectPort}, {"-t", askPort, askPort}} {
			if method != "-m" {
				service.there = service.from
			}
			at := fmt.Sprintf("%s:%d", vip, service.from)
			if _, err := s.Host.Run(ctx, "ipvsadm", "-A", service.flag, at, "-s", "mh", "-b", "mh-port"); err != nil {
				return err
			}
			for _, b := range s.Lab.Backends {
				if method == "-m" {
					// Answers must find back, since the backend sees the client.
					if err := b.AddRoute(hostPrefix(s.Lab.Client.Addr4), s.Host.Addr4); err != nil {
						return err
					}
				}
				to := fmt.Sprintf("%s:%d", b.Addr4, service.there)
				if _, err := s.Host.Run(ctx, "ipvsadm", "-a", service.flag, at, "-r", to, method); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// proxy ends clients' connections, and has others with the backends.
func (s *stage) proxy(ctx context.Context) error {
	if err := s.Host.TakeFrames("eth0"); err != nil {
		return err
	}
	if err := s.Host.AddAddress("lo", hostPrefix(vip)); err != nil {
		return err
	}
	text, err := s.fill(fmt.Sprintf(`
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen asked
    bind VIP:%d
    balance roundrobin
    server one BACKEND1:%[1]d
    server two BACKEND2:%[1]d
`, askPort))
	if err != nil {
		return err
	}
	file, err := s.write("haproxy.cfg", text)
	if err != nil {
		return err
	}
	_, err = s.Host.Start(exec.Command("haproxy", "-db", "-f", file))
	return err
}
