package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/packet"
)

// contender is a way to balance. It gets a lab of its own, so that all of them take
// turns and nothing of one is in the way of another.
type contender struct {
	name    string
	needs   []string // programs
	answers bool     // come back through the balancer
	frames  bool     // it forwards packets; else only connections
	asked   bool     // clients connect to it, too
	noisy   bool     // it costs others time while they take turns: only where it is named
	begin   func(*stage, context.Context) error
}

// contenders begin with what is no balancer: what they take, everybody does.
var contenders = []contender{
	{name: "wire", frames: true, asked: true, begin: (*stage).bounce},
	{name: "wire-back", frames: true, answers: true, begin: (*stage).bounce},
	{name: "pointsman-l2", frames: true, asked: true, begin: pointsman("l2")},
	{name: "pointsman-ipip", frames: true, asked: true, begin: pointsman("ipip")},
	{name: "pointsman-watched", frames: true, noisy: true, begin: watched(pointsman("ipip"))},
	{name: "nftables-fwd", frames: true, asked: true, needs: []string{"nft"}, begin: (*stage).forwardByNFT},
	{name: "ipvs-dr", frames: true, asked: true, needs: []string{"ipvsadm"}, begin: ipvs("-g")},
	{name: "ipvs-tun", frames: true, asked: true, needs: []string{"ipvsadm"}, begin: ipvs("-i")},
	{name: "pointsman-nat", frames: true, asked: true, answers: true, begin: pointsman("nat")},
	{name: "nftables-dnat", frames: true, asked: true, answers: true, needs: []string{"nft"}, begin: translateByNFT("")},
	{name: "nftables-flowtable", frames: true, asked: true, answers: true, needs: []string{"nft"}, begin: translateByNFT(flowtable)},
	{name: "ipvs-nat", frames: true, asked: true, answers: true, needs: []string{"ipvsadm"}, begin: ipvs("-m")},
	{name: "haproxy", asked: true, needs: []string{"haproxy"}, begin: (*stage).proxy},
}

// stage is a contender at work.
type stage struct {
	contender
	*balancer.Balancer
	port    iface     // the switch's, to the balancer
	eth0    iface     // the balancer's
	count   *ebpf.Map // what has arrived
	senders map[string]*sender
}

// packages are where Debian has the programs.
var packages = map[string]string{"nft": "nftables", "haproxy": "haproxy", "ipvsadm": "ipvsadm"}

// missing says what there is not, or is empty.
func (c contender) missing() string {
	for _, program := range c.needs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Sprintf("%s is missing: apt-get install %s", program, packages[program])
		}
	}
	return ""
}

// open builds the lab. After an error nothing is left.
func (c contender) open(ctx context.Context, binary string) (s *stage, err error) {
	network, err := lab.New(lab.Options{Backends: 2, Ports: lab.Ports{TCP: []uint16{askPort}}})
	if err != nil {
		return nil, err
	}
	s = &stage{contender: c, Balancer: balancer.New(network, binary), senders: map[string]*sender{}}
	if err := s.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.name, err), s.close())
	}
	return s, nil
}

func (s *stage) build(ctx context.Context) (err error) {
	if s.eth0, err = find(s.Host, "eth0"); err != nil {
		return err
	}
	bridge, port := s.Host.Port("eth0")
	if s.port, err = find(bridge, port); err != nil {
		return err
	}
	if err := s.begin(s, ctx); err != nil {
		return err
	}
	if err := s.Lab.Router.TakeFrames("eth1"); err != nil {
		return err
	}
	if s.answers {
		err = s.reflect()
	} else {
		err = s.decapsulate(ctx)
	}
	if err == nil {
		err = s.countArrivals()
	}
	return err
}

func (s *stage) close() error {
	for _, sender := range s.senders {
		sender.close()
	}
	if s.count != nil {
		s.count.Close()
	}
	return errors.Join(s.Close(), s.Lab.Close())
}

// decapsulate makes the backends those of the VIP.
func (s *stage) decapsulate(ctx context.Context) error {
	for _, b := range s.Lab.Backends {
		if err := s.Decap(ctx, b, vip); err != nil {
			return err
		}
	}
	return nil
}

// reflect lets the backends answer frames.
func (s *stage) reflect() error {
	for _, b := range s.Lab.Backends {
		program, err := reflectorProgram()
		if err != nil {
			return err
		}
		eth0, err := find(b, "eth0")
		if err != nil {
			return err
		}
		err = eth0.attach(program)
		program.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// countArrivals counts frames where they end: at the backends, or as answers at the
// router.
func (s *stage) countArrivals() (err error) {
	if s.count, err = words(1); err != nil {
		return err
	}
	program, err := counterProgram(s.count)
	if err != nil {
		return err
	}
	defer program.Close()
	ends := map[*lab.Host]string{s.Lab.Router: "eth1"}
	for _, b := range s.Lab.Backends {
		ends[b] = "eth0"
	}
	for host, name := range ends {
		at, err := find(host, name)
		if err != nil {
			return err
		}
		if err := at.count(program); err != nil {
			return err
		}
	}
	return nil
}

// mac is a backend's.
func mac(b *lab.Host) (packet.MAC, error) {
	eth0, err := find(b, "eth0")
	return eth0.mac, err
}

// write writes a file into the lab's directory.
func (s *stage) write(name, text string) (path string, err error) {
	path = filepath.Join(s.Lab.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// fill puts the stage's addresses into a text.
func (s *stage) fill(text string) (string, error) {
	var pairs []string
	for i, b := range s.Lab.Backends {
		address, err := mac(b)
		if err != nil {
			return "", err
		}
		pairs = append(pairs, fmt.Sprintf("BACKEND%d", i+1), b.Addr4.String(), fmt.Sprintf("MAC%d", i+1), fmt.Sprintf("%x:%x:%x:%x:%x:%x",
			address[0], address[1], address[2], address[3], address[4], address[5]))
	}
	own := s.eth0.mac
	pairs = append(pairs, "OWNMAC", fmt.Sprintf("%x:%x:%x:%x:%x:%x", own[0], own[1], own[2], own[3], own[4], own[5]),
		"VIP", vip.String(), "STATEDIR", s.StateDir(), "POOL", lab.VIPNet4.String())
	return strings.NewReplacer(pairs...).Replace(text), nil
}

var asked = netip.AddrPortFrom(vip, askPort)
