package kernel

import (
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

func TestForwardingModesHaveTheNumbersOfC(t *testing.T) {
	for in, c := range map[dataplane.Forward]lbForward{
		dataplane.IPIP: lbForwardFORWARD_IPIP, dataplane.L2: lbForwardFORWARD_L2, dataplane.GUE: lbForwardFORWARD_GUE,
		dataplane.NAT: lbForwardFORWARD_NAT,
	} {
		if lbForward(in) != c {
			t.Errorf("%s is %d in Go and %d in C", in, in, c)
		}
	}
}

func TestABackendEntryFillsOneCacheLine(t *testing.T) {
	spec, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	if size := spec.Maps[lbMapBackends].ValueSize; size != 64 {
		t.Errorf("an entry is %d bytes, want 64", size)
	}
	if size := spec.Maps[lbMapSlots].ValueSize; size != 64 {
		t.Errorf("a line of slots is %d bytes, want 64", size)
	}
}

func TestATunnelNeedsASourceOfItsFamily(t *testing.T) {
	for name, change := range map[string]func(*dataplane.Hop){
		"no source":                 func(hop *dataplane.Hop) { *hop = dataplane.Hop{Interface: hop.Interface} },
		"a source of IPv6":          func(hop *dataplane.Hop) { hop.Source = source6 },
		"no interface of departure": func(hop *dataplane.Hop) { hop.Interface = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			backend := backendTo(backend4, dataplane.IPIP, loopback)
			change(&backend.Hop)
			if _, err := encodeBackend(dataplane.BackendEntry{ID: backend.ID, Forward: backend.Forward, Hop: backend.Hop}); err == nil {
				t.Error("it was encoded")
			}
		})
	}
}
