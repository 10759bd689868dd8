package controlplane

import (
	"testing"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/nexthop"
	"github.com/pointsman/pointsman/dataplane"
)

func TestTagsAreTheirTCIAndShownAsNumbers(t *testing.T) {
	mac := [6]byte{2, 0, 0, 0, 0, 9}
	for _, row := range []struct {
		promise string
		vlan    [2]nexthop.Tag
		want    [2]uint16
		shown   string
	}{
		{"none", [2]nexthop.Tag{}, [2]uint16{}, "lo 02:00:00:00:00:09"},
		{"one", [2]nexthop.Tag{{ID: 100}}, [2]uint16{100}, "lo vlan 100 02:00:00:00:00:09"},
		{"a provider's and a customer's", [2]nexthop.Tag{{ID: 100, Service: true}, {ID: 200}}, [2]uint16{100 | dataplane.ServiceTag, 200}, "lo vlan 100.200 02:00:00:00:00:09"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			got := hop(nexthop.Resolution{Index: 1, NextHopMAC: mac, VLAN: row.vlan})
			if got.VLAN != row.want || nextHop(got.Hop) != row.shown {
				t.Errorf("%x, shown as %q; want %x and %q", got.VLAN, nextHop(got.Hop), row.want, row.shown)
			}
		})
	}
}

func TestTheLimitsOfTheFileReachTheDataPlane(t *testing.T) {
	file := &config.File{Limits: config.Limits{Services: 1, VIPs: 2, Backends: 3, Slots: 4, Flows: 5, ICMPErrors: 6}}
	want := Sizes{Limits: dataplane.Limits{Services: 1, VIPs: 2, Backends: 3}, Slots: 4, Flows: 5, Errors: 6, Secret: 7}
	if got := sizes(file, 7); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
