package stories

import (
	"errors"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
)

const (
	web = `
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp", "192.0.2.1:7000/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v6 2}}" { weight = 2 }
}`
	dns = `
service "dns" {
  listen  = ["192.0.2.2:53/udp", "[2001:db8:10::2]:53/udp"]
  forward = "l2"
  backend "{{v6 1}}" {}
  backend "{{v4 2}}" {}
}`
	shop = `
service "shop" {
  listen = ["192.0.2.3:80/tcp"]
  backend "{{v4 1}}" {}
}`
)

// reload has the balancer take another configuration.
func (s *stage) reload(services string) {
	s.t.Helper()
	before := s.status().Config.Loaded
	s.configure(services)
	s.must(s.Reload())
	s.await("the configuration is taken", func() error {
		now, err := s.Status(s.t.Context())
		switch {
		case err != nil:
			return err
		case now.Config.Error != "":
			return errors.New(now.Config.Error)
		case !now.Config.Loaded.After(before):
			return errors.New("it is still the one before")
		}
		return nil
	})
	_, err := s.AwaitReady(s.t.Context())
	s.must(err)
}

func TestPrivilegedAReloadDisturbsNobodyWhomItIsNotAbout(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2, 3, 4)
	s.begin(web + dns)
	asking := s.keepAsking(append(allVIPs, "tcp 192.0.2.1:7000")...)

	s.noneAnswered("http 192.0.2.3:80")
	s.reload(web + dns + shop)
	s.allAnswered("a service that was added", s.ask("http 192.0.2.3:80", 50))

	s.reload(web + dns + strings.Replace(shop, `"192.0.2.3:80/tcp"`, `"192.0.2.3:80/tcp", "[2001:db8:10::3]:80/tcp"`, 1))
	s.allAnswered("a VIP that was added", s.ask("http [2001:db8:10::3]:80", 50))
	s.allAnswered("the VIP beside it", s.ask("http 192.0.2.3:80", 50))

	s.reload(web + dns + strings.Replace(shop, `"192.0.2.3:80/tcp"`, `"[2001:db8:10::3]:80/tcp"`, 1))
	s.noneAnswered("http 192.0.2.3:80")
	s.allAnswered("the VIP that stayed", s.ask("http [2001:db8:10::3]:80", 50))

	s.reload(web + dns + strings.NewReplacer("v4 1", "v4 3", "192.0.2.3", "192.0.2.4").Replace(shop))
	s.spread("http 192.0.2.4:80", weights{"backend-3": 1})
	s.noneAnswered("http [2001:db8:10::3]:80")

	s.reload(web + dns)
	s.noneAnswered("http 192.0.2.4:80")
	s.nothingLost(asking.finish())
}

func TestPrivilegedAReloadHandsAVIPToAnotherService(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2, 3)
	s.begin(web + shop)
	handed, beside := s.keepAsking("http 192.0.2.3:80"), s.keepAsking("http 192.0.2.1:80", "tcp 192.0.2.1:7000")
	s.reload(web + strings.NewReplacer(`"shop"`, `"store"`).Replace(shop))
	handed.join()
	s.reload(strings.Replace(web, `"192.0.2.1:80/tcp"`, `"192.0.2.1:80/tcp", "192.0.2.3:80/tcp"`, 1))
	toOthers := s.changing()
	s.spread("http 192.0.2.3:80", weights{"backend-1": 1, "backend-2": 2})
	s.lostOnlyIn(handed.finish(), toOthers)
	s.nothingLost(beside.finish())
}

func TestPrivilegedAReloadChangesBackendsAndWeightsWithoutALoss(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2)
	names := strings.ReplaceAll(dns, `forward = "l2"`, "forward = \"l2\"\n  idle_timeout = \"2s\"")
	s.begin(web + names)
	asking := s.keepAsking(append(allVIPs, "tcp 192.0.2.1:7000")...)
	for _, row := range []struct {
		promise  string
		web, dns string // their last backend
		want     weights
	}{
		{"a greater weight", `"{{v6 2}}" { weight = 4 }`, `"{{v4 2}}" { weight = 4 }`, weights{"backend-1": 1, "backend-2": 4}},
		{"weight 0", `"{{v6 2}}" { weight = 0 }`, `"{{v4 2}}" { weight = 0 }`, weights{"backend-1": 1}},
		{"a weight again", `"{{v6 2}}" {}`, `"{{v4 2}}" {}`, weights{"backend-1": 1, "backend-2": 1}},
		{"a backend more", "\"{{v6 2}}\" {}\n  backend \"{{v4 3}}\" {}", "\"{{v4 2}}\" {}\n  backend \"{{v6 3}}\" {}", everyoneAlike},
		{"another order", "\"{{v4 3}}\" {}\n  backend \"{{v6 2}}\" {}", "\"{{v6 3}}\" {}\n  backend \"{{v4 2}}\" {}", everyoneAlike},
	} {
		t.Run(row.promise, func(t *testing.T) {
			s := s.in(t)
			s.reload(strings.Replace(web, `"{{v6 2}}" { weight = 2 }`, row.web, 1) + strings.Replace(names, `"{{v4 2}}" {}`, row.dns, 1))
			asking.join()
			for _, vip := range []string{"http [2001:db8:10::1]:80", "udp 192.0.2.2:53"} {
				s.spread(vip, row.want)
			}
		})
	}
	s.nothingLost(asking.finish())
}

func TestPrivilegedAReloadChangesSlotsAndForwardingInPlace(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2, 3)
	s.begin(web + dns)
	asking, beside := s.keepAsking("http 192.0.2.1:80"), s.keepAsking("udp 192.0.2.2:53")
	var changes []window
	for _, setting := range []string{"slots = 1009", "slots = 1009\n  forward = \"l2\"", ""} {
		s.reload(strings.Replace(web, `service "web" {`, "service \"web\" {\n  "+setting, 1) + dns)
		changes = append(changes, s.changing())
		s.spread("http [2001:db8:10::1]:80", weights{"backend-1": 1, "backend-2": 2})
	}
	s.lostOnlyIn(asking.finish(), changes...)
	s.nothingLost(beside.finish())
}

func TestPrivilegedAReloadTakesPacketsOnAnotherInterfaceAndLetsGoOfItAgain(t *testing.T) {
	s := open(t, lab.Options{Backends: 1, SecondSegment: 1}, 1, 2, 3)
	s.begin(web + dns)
	asking := s.keepAsking("http 192.0.2.1:80")
	eth1 := s.Lab.Balancer.Addrs()[2:] // after both of eth0
	s.must(s.Lab.Router.AddRoute(host(lab.VIP4(2)), eth1[0]))
	s.must(s.Lab.Router.AddRoute(host(lab.VIP6(2)), eth1[1]))
	s.noneAnswered("udp 192.0.2.2:53")

	s.interfaces = `["eth0", "eth1"]`
	s.reload(web + dns)
	for _, vip := range []string{"udp 192.0.2.2:53", "udp [2001:db8:10::2]:53"} {
		s.spread(vip, weights{"backend-1": 1, "backend-2": 1})
	}
	s.interfaces = `["eth0"]`
	s.reload(web + dns)
	if got := s.programs(); len(got) != 1 || got[0] != "eth0" {
		t.Errorf("the program is attached to %v", got)
	}
	s.noneAnswered("udp 192.0.2.2:53")
	s.nothingLost(asking.finish())
}
