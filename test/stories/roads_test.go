package stories

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// roads has backend-1 on the segment that the packets come from, backend-2 on
// that of the balancer's other interface, and backend-3 behind a gateway.
var roads = lab.Options{Backends: 1, SecondSegment: 1, Behind: 1}

// road is a way that packets travel, with a service and a VIP of its own.
type road struct {
	promise, forward string
	clients          string // the VIP's family
	backend          string // as the configuration writes it
	name             string // who answers
}

func everyRoad() []road {
	var all []road
	for i, place := range []string{"on the segment they came from", "on another interface, by redirect", "behind a gateway"} {
		name := fmt.Sprintf("backend-%d", i+1)
		for _, inner := range []string{"4", "6"} {
			for _, outer := range []string{"4", "6"} {
				address := fmt.Sprintf("{{v%s %d}}", outer, i+1)
				all = append(all, road{fmt.Sprintf("IPv%s in IPv%s to a backend %s", inner, outer, place), "ipip", inner, address, name})
				all = append(all, road{fmt.Sprintf("IPv%s in GUE over IPv%s to a backend %s", inner, outer, place), "gue", inner, address, name})
				if place != "behind a gateway" {
					all = append(all, road{fmt.Sprintf("IPv%s by l2 to the IPv%s neighbour %s", inner, outer, place), "l2", inner, address, name})
				}
			}
		}
	}
	return all
}

// vip is the address of the nth service.
func (r road) vip(n byte) string {
	if r.clients == "4" {
		return lab.VIP4(n).String()
	}
	return "[" + lab.VIP6(n).String() + "]"
}

func TestPrivilegedPacketsReachBackendsOnEveryRoad(t *testing.T) {
	var services strings.Builder
	var numbers []byte
	for i, r := range everyRoad() {
		n := byte(i + 1)
		numbers = append(numbers, n)
		fmt.Fprintf(&services, `
service "road-%d" {
  listen  = ["%[2]s:7000/tcp", "%[2]s:53/udp"]
  forward = %q
  slots   = 251
  backend "%s" {}
}`, n, r.vip(n), r.forward, r.backend)
	}
	s := open(t, roads, numbers...)
	s.begin(services.String())
	s.overhear()
	for i, r := range everyRoad() {
		t.Run(r.promise, func(t *testing.T) {
			s, vip := s.in(t), r.vip(numbers[i])
			for _, vip := range []string{"tcp " + vip + ":7000", "udp " + vip + ":53"} {
				answers := s.ask(vip, 20)
				s.allAnswered(vip, answers)
				if n := answers.Counts()[r.name]; n != len(answers) {
					t.Errorf("%s: %s answered %d of %d requests", vip, r.name, n, len(answers))
				}
			}
			s.fullSegments(vip+":7000", r.name)
		})
	}
}

// fullSegments sends enough on one connection that its segments are as long as
// the client's wire lets them be, and reads it back. A name of "" is anybody's.
func (s *stage) fullSegments(vip, name string) {
	s.t.Helper()
	conn, err := s.Lab.Client.Dial(s.t.Context(), "tcp", vip)
	s.must(err)
	defer conn.Close()
	s.must(conn.SetDeadline(time.Now().Add(patience)))
	line := strings.Repeat("all aboard ", 5000)
	_, err = fmt.Fprintln(conn, line)
	s.must(err)
	lines := bufio.NewReader(conn)
	if name == "" {
		greeting, err := lines.Peek(len("backend-1"))
		s.must(err)
		name = string(greeting)
	}
	for _, want := range []string{name + "\n", name + " " + line + "\n"} {
		got, err := lines.ReadString('\n')
		if err != nil || got != want {
			s.t.Fatalf("%s answered %.40q… of %d bytes, %v; want %.40q… of %d", vip, got, len(got), err, want, len(want))
		}
	}
}
