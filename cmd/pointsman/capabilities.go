package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// capability is a right that the daemon cannot do without.
type capability struct {
	bit  uint
	name string
	why  string
}

// needed are all of them. Without CAP_PERFMON the verifier refuses the program,
// which compares pointers.
var needed = []capability{
	{unix.CAP_BPF, "CAP_BPF", "to make maps"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "to load the program"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "to attach it to interfaces"},
}

// checkCapabilities says which rights are missing, before the kernel says it in
// its own words.
func checkCapabilities() error {
	effective, err := effectiveCapabilities()
	if err != nil {
		return fmt.Errorf("reading this process's capabilities: %w", err)
	}
	return lacking(effective, os.Args[0])
}

func effectiveCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, err
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// has tells whether a right is among the effective ones. CAP_SYS_ADMIN has had both
// of the younger ones in it.
func has(effective uint64, bit uint) bool {
	return effective>>bit&1 == 1 || bit != unix.CAP_NET_ADMIN && effective>>unix.CAP_SYS_ADMIN&1 == 1
}

// lacking is an error that names what is missing, and how to get it.
func lacking(effective uint64, program string) error {
	var missing, names []string
	for _, c := range needed {
		names = append(names, strings.ToLower(c.name))
		if !has(effective, c.bit) {
			missing = append(missing, fmt.Sprintf("%s (%s)", c.name, c.why))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("starting: this process lacks %s; run it as root; under systemd, name them in CapabilityBoundingSet=, "+
		"and in AmbientCapabilities= where User= is not root; or give them to the file: setcap %s+ep %s",
		strings.Join(missing, " and "), strings.Join(names, ","), program)
}
