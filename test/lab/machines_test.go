package lab

import (
	"net/netip"
	"testing"
)

func TestPrivilegedMachinesReachWhoIsOnTheirNetworksAndNobodyElse(t *testing.T) {
	privileged(t)
	on := func(name, network, address string) Interface {
		return Interface{Name: name, Network: network, Address: netip.MustParsePrefix(address)}
	}
	l := ForTest(t, Options{Machines: []Machine{
		{"router", []Interface{on("eth1", "site", "10.20.0.254/24"), on("eth2", "access", "198.51.100.254/24")}},
		{"consul", []Interface{on("eth1", "site", "10.20.0.5/24")}},
		{"client", []Interface{on("eth1", "access", "198.51.100.10/24")}},
	}})
	router, consul, client := l.Machines[0], l.Machines[1], l.Machines[2]
	for _, row := range []struct {
		from    *Host
		to      string
		reaches bool
	}{
		{router, "10.20.0.5", true},
		{router, "198.51.100.10", true},
		{consul, "10.20.0.254", true},
		{client, "198.51.100.254", true},
		{client, "10.20.0.5", false},
	} {
		if got := row.from.reaches(netip.MustParseAddr(row.to)); got != row.reaches {
			t.Errorf("%s reaches %s: %v", row.from.Name, row.to, got)
		}
	}
}
