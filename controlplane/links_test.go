package controlplane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane/kernel"
)

// alone runs a test a second time, in a process with a network namespace of its own,
// since the goroutines of a daemon are on many threads. It is true in there.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces and BPF programs need root")
	}
	const name = "POINTSMAN_TEST_ALONE"
	if os.Getenv(name) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), name+"="+t.Name())
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("in a namespace of its own:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// must is for what a test does to the network.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func link(t *testing.T, name string) netlink.Link {
	t.Helper()
	found, err := netlink.LinkByName(name)
	must(t, err)
	return found
}

func pair(name, peer string) netlink.Link {
	return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}
}

func addPair(t *testing.T, name, peer string) {
	t.Helper()
	must(t, netlink.LinkAdd(pair(name, peer)))
	must(t, netlink.LinkSetUp(link(t, name)), netlink.LinkSetUp(link(t, peer)))
}

func rename(t *testing.T, name, as string) {
	t.Helper()
	renamed := link(t, name)
	must(t, netlink.LinkSetDown(renamed), netlink.LinkSetName(renamed, as), netlink.LinkSetUp(renamed))
}

// attached is the id of the program on an interface, 0 if there is none.
func attached(t *testing.T, name string) uint32 {
	t.Helper()
	if xdp := link(t, name).Attrs().Xdp; xdp != nil {
		return xdp.ProgId
	}
	return 0
}

// TestPrivilegedTheKernelTellsOfEveryChangeOfAnInterface takes one event at a time.
func TestPrivilegedTheKernelTellsOfEveryChangeOfAnInterface(t *testing.T) {
	if !alone(t) {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	heard, over := make(chan struct{}, 1<<20), make(chan error)
	go func() { over <- watchLinks(ctx, func() { heard <- struct{}{} }) }()
	defer func() { cancel(); must(t, <-over) }()
	for len(heard) == 0 { // until it listens, nobody hears
		must(t, netlink.LinkSetUp(link(t, "lo")), netlink.LinkSetDown(link(t, "lo")))
	}
	for _, row := range []struct {
		promise string
		change  func() error
	}{
		{"that it is there", func() error { return netlink.LinkAdd(pair("eth0", "peer0")) }},
		{"that it is up", func() error { return netlink.LinkSetUp(link(t, "eth0")) }},
		{"that it is down", func() error { return netlink.LinkSetDown(link(t, "eth0")) }},
		{"that it is renamed", func() error { return netlink.LinkSetName(link(t, "eth0"), "away0") }},
		{"that it is renamed back", func() error { return netlink.LinkSetName(link(t, "away0"), "eth0") }},
		{"that it is gone", func() error { return netlink.LinkDel(link(t, "eth0")) }},
	} {
		t.Run(row.promise, func(t *testing.T) {
			for len(heard) > 0 { // of the change before
				<-heard
			}
			must(t, row.change())
			select {
			case <-heard:
			case <-t.Context().Done():
				t.Fatal("nothing was heard")
			}
		})
	}
}

// TestPrivilegedAnInterfaceIsAttachedAgainByItsEventAlone lets nothing but events
// lead to another look at attachments.
func TestPrivilegedAnInterfaceIsAttachedAgainByItsEventAlone(t *testing.T) {
	if !alone(t) {
		return
	}
	h := newHousehold(t)
	h.PinDir = filepath.Join("/sys/fs/bpf", fmt.Sprintf("pointsman-test-links-%d", os.Getpid()))
	h.eventsOnly = true
	h.Open = func(s Sizes) (DataPlane, error) {
		return kernel.Open(kernel.Options{PinDir: h.PinDir, Secret: s.Secret, Limits: s.Limits, Slots: s.Slots, Flows: s.Flows})
	}
	h.write(t, `
interfaces = ["eth0"]
vip_pools  = ["2001:db8:feed::/64"]
state_dir  = "STATE"
limits {
  flows = 4096
  slots = 4096
}
service "web" {
  listen = ["[2001:db8:feed::10]:443/tcp"]
  slots  = 251
  backend "198.51.100.7" {}
}
`)
	must(t, netlink.LinkSetUp(link(t, "lo")))
	addPair(t, "eth0", "peer0")
	defer func() {
		if _, err := kernel.Detach(h.PinDir); err != nil {
			t.Error(err)
		}
	}()
	end := h.run(t)
	defer end()
	h.log.await(t, "attached", "interface=eth0")
	program := attached(t, "eth0")
	if program == 0 {
		t.Fatal("no program is attached")
	}
	again := func(what string) {
		t.Helper()
		h.log.await(t, "repaired", "eth0")
		if now := attached(t, "eth0"); now != program {
			t.Errorf("%s: program %d is attached, want %d", what, now, program)
		}
	}

	must(t, netlink.LinkDel(link(t, "eth0")))
	h.log.await(t, "not attached to every interface", "there is no such interface")
	addPair(t, "eth0", "peer0")
	again("it vanished and came back as another")

	rename(t, "eth0", "away0")
	h.log.await(t, "not attached to every interface", "there is no such interface")
	rename(t, "away0", "eth0")
	again("it was renamed away and back")

	must(t, netlink.LinkSetDown(link(t, "eth0")), netlink.LinkSetUp(link(t, "eth0")))
	if now := attached(t, "eth0"); now != program {
		t.Errorf("it went down and up: program %d is attached, want %d", now, program)
	}

	rename(t, "eth0", "old0")
	addPair(t, "eth0", "peer1")
	again("another took its name")
	if now := attached(t, "old0"); now != 0 {
		t.Errorf("program %d is attached to what had the name before", now)
	}
}
