package controlplane

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// neighbours is a file in which web asks Consul, and n services do not. They
// have web's own backends, too.
func neighbours(n int) []byte {
	var file strings.Builder
	file.WriteString(`
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24"]
consul {}
service "web" {
  listen = ["192.0.2.10:443/tcp", "192.0.2.10:443/udp"]
  slots  = 251
  consul {}
}
`)
	for i := range n {
		fmt.Fprintf(&file, `
service "static-%d" {
  listen = ["192.0.2.%d:443/tcp"]
  slots  = 251
  backend "10.20.0.11" {}
  backend "10.20.0.%d" {}
  health "tcp" {}
}
`, i, 20+i, 20+i)
	}
	return []byte(file.String())
}

// webTables is everything in the tables that leads packets to the backends of web.
type webTables struct {
	Service  map[uint32]dataplane.ServiceEntry
	VIPs     map[dataplane.VIP]dataplane.VIPEntry
	Backends map[uint32]dataplane.BackendEntry
	Slots    []uint32
}

func (s *stage) webTables() webTables {
	tables, err := s.plane.Tables()
	if err != nil {
		s.t.Fatal(err)
	}
	web := webTables{Service: maps.Clone(tables.Services), VIPs: maps.Clone(tables.VIPs), Backends: maps.Clone(tables.Backends)}
	maps.DeleteFunc(web.Service, func(_ uint32, e dataplane.ServiceEntry) bool { return e.Name != "web" })
	other := func(id uint32) bool { _, is := web.Service[id]; return !is }
	maps.DeleteFunc(web.VIPs, func(_ dataplane.VIP, e dataplane.VIPEntry) bool { return other(e.Service) })
	maps.DeleteFunc(web.Backends, func(_ uint32, e dataplane.BackendEntry) bool { return other(e.Service) })
	for _, e := range web.Service {
		web.Slots = append(web.Slots, tables.Slots[e.FirstSlot:][:e.SlotCount]...)
	}
	return web
}

func TestWithoutConsulAServiceStaysEntryForEntryWhileOthersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.end() }()
		s.start(neighbours(2))
		s.view(s.watch("web"), "10.20.0.11 passing\n10.20.0.12 passing 3")
		synctest.Wait()
		before := s.webTables()
		if len(before.VIPs) != 2 || len(before.Backends) != 2 || len(before.Slots) != 251 {
			t.Fatalf("web begins with %+v", before)
		}
		then := func(verb, what, text string, data []byte) {
			t.Helper()
			s.event(verb, what, text, data)
			synctest.Wait()
			if now := s.webTables(); !reflect.DeepEqual(now, before) {
				t.Fatalf("after %s %s, web has\n%+v\nwant\n%+v", verb, text, now, before)
			}
		}
		then("restart", "", "", neighbours(1))
		then("held", "web", "connection refused", nil)
		for n := range 5 {
			then("reload", "", "", neighbours(n))
			for i := range n {
				then("probe", "", fmt.Sprintf("static-%d 10.20.0.11 well\nstatic-%d 10.20.0.%d well", i, i, 20+i), nil)
				if report, _ := s.daemon.published.Load().report.Service(fmt.Sprintf("static-%d", i)); report.State != desired.OK {
					t.Fatalf("static-%d is %s while web waits", i, report.State)
				}
			}
			then("wait", time.Minute.String(), "", nil)
		}
		then("reload", "", "", neighbours(0))
		then("wait", time.Hour.String(), "", nil)
	})
}
