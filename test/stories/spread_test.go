package stories

import (
	"testing"

	"github.com/pointsman/pointsman/test/lab"
)

func TestPrivilegedRequestsSpreadByWeightOverEveryProtocolAndFamily(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2)
	s.begin(`
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "{{v4 1}}" { weight = 100 }
  backend "{{v4 2}}" { weight = 60 }
  backend "{{v4 3}}" { weight = 20 }
}
service "talk" {
  listen  = ["192.0.2.1:7000/tcp", "[2001:db8:10::1]:7000/tcp"]
  forward = "l2"
  backend "{{v6 1}}" {}
  backend "{{v6 2}}" {}
  backend "{{v6 3}}" { weight = 0 }
}
service "dns" {
  listen = ["192.0.2.2:53/udp", "[2001:db8:10::2]:53/udp"]
  backend "{{v6 1}}" { weight = 1 }
  backend "{{v6 2}}" { weight = 2 }
  backend "{{v6 3}}" { weight = 3 }
}`)
	for _, row := range []struct {
		promise string
		vip     string
		want    weights
	}{
		{"HTTP over IPv4 by weights with a common divisor", "http 192.0.2.1:80", weights{"backend-1": 5, "backend-2": 3, "backend-3": 1}},
		{"HTTP over IPv6 by the same", "http [2001:db8:10::1]:80", weights{"backend-1": 5, "backend-2": 3, "backend-3": 1}},
		{"TCP over IPv4, none to weight 0", "tcp 192.0.2.1:7000", weights{"backend-1": 1, "backend-2": 1}},
		{"TCP over IPv6, none to weight 0", "tcp [2001:db8:10::1]:7000", weights{"backend-1": 1, "backend-2": 1}},
		{"UDP over IPv4", "udp 192.0.2.2:53", weights{"backend-1": 1, "backend-2": 2, "backend-3": 3}},
		{"UDP over IPv6", "udp [2001:db8:10::2]:53", weights{"backend-1": 1, "backend-2": 2, "backend-3": 3}},
	} {
		t.Run(row.promise, func(t *testing.T) { s.in(t).spread(row.vip, row.want) })
	}
}
