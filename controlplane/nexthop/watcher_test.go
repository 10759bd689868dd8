package nexthop

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var webHop = hop{2, web4}

// wantNews checks that exactly one thing was told, and when; problem is how
// its Problem begins, "" for a way that can be used.
func wantNews(t *testing.T, got []news, at time.Duration, problem string) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("told %d things, want one: %+v", len(got), got)
	}
	n := got[0]
	if n.at != at || !strings.HasPrefix(n.Problem, problem) || (n.Problem == "") != (problem == "") {
		t.Fatalf("at %s told %q, want %q … at %s", n.at, n.Problem, problem, at)
	}
}

func wantSilence(t *testing.T, got []news) {
	t.Helper()
	if len(got) != 0 {
		t.Fatalf("told %+v, want nothing", got)
	}
}

const noAnswer = "neighbour 10.20.0.11 on eth0 does not answer ARP"

func TestNeighbourIsAskedAndItsAnswerTold(t *testing.T) {
	inBubble(t, func(r *rig) {
		if !slices.Equal(r.asked[webHop], []time.Duration{0}) {
			t.Fatalf("asked at %v, want at once", r.asked[webHop])
		}
		if _, known := r.Lookup(web4); known {
			t.Error("an address that is being asked has a resolution already")
		}
		r.pass(5 * time.Millisecond)
		r.happen(becomes(web4, Answered))
		wantNews(t, r.heard(), 5*time.Millisecond, "")
		if found, known := r.Lookup(web4); !known || found.NextHopMAC != [6]byte(peerMAC) {
			t.Errorf("Lookup gives %+v, %v", found, known)
		}
	})
}

func TestSilentNeighbourIsToldAfterTheGraceAndAskedAgainWithBackoff(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.pass(3 * time.Second)
		wantNews(t, r.heard(), grace, noAnswer)
		r.happen(becomes(web4, Failed))
		r.pass(40 * time.Second)
		wantSilence(t, r.heard())
		var got []int
		for _, at := range r.asked[webHop] {
			got = append(got, int(at/time.Second))
		}
		if want := []int{0, 1, 3, 7, 15, 25, 35}; !slices.Equal(got, want) {
			t.Errorf("asked at seconds %v, want %v", got, want)
		}
		r.happen(becomes(web4, Answered))
		wantNews(t, r.heard(), 43*time.Second, "")
	})
}

func TestNeighbourThatFailsAfterItAnsweredIsToldAtOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.pass(time.Minute)
		r.heard()
		r.happen(becomes(web4, Failed))
		wantNews(t, r.heard(), time.Minute, noAnswer)
		if last := r.asked[webHop]; last[len(last)-1] != time.Minute {
			t.Errorf("asked at %v, want again when it failed", last)
		}
	})
}

func TestFlushedNeighbourKeepsItsWayWhileItIsAskedAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.pass(time.Minute)
		r.heard()
		r.happen(neighbourEvent{Neighbour: neighbour(web4, Unasked), gone: true})
		r.pass(grace / 2)
		r.happen(becomes(web4, Answered))
		r.pass(time.Minute)
		wantSilence(t, r.heard())

		r.happen(neighbourEvent{Neighbour: neighbour(web4, Unasked), gone: true})
		r.pass(time.Minute)
		wantNews(t, r.heard(), 2*time.Minute+grace/2+grace, noAnswer)
	})
}

func TestFailureFromBeforeTheFirstAskIsGivenTheGrace(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Failed))
		wantSilence(t, r.heard())
		r.pass(3 * time.Millisecond)
		r.happen(becomes(web4, Answered))
		wantNews(t, r.heard(), 3*time.Millisecond, "")
	})
}

func TestNewMACIsTold(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.heard()
		moved := becomes(web4, Answered)
		moved.MAC = []byte{2, 0, 0, 0, 0, 77}
		r.happen(moved)
		got := r.heard()
		wantNews(t, got, 0, "")
		if got[0].NextHopMAC != [6]byte(moved.MAC) {
			t.Errorf("told %x", got[0].NextHopMAC)
		}
	})
}

func TestRouteIsAskedForAgainOnlyWhereItMayHaveChanged(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.heard()
		before := r.routed
		r.happen(routeEvent{netip.MustParsePrefix("10.30.0.0/16")}, routeEvent{netip.MustParsePrefix("::/0")})
		r.happen(becomes(web4, Answered))
		if r.routed != before {
			t.Errorf("asked for the route %d times, though others changed", r.routed-before)
		}
		r.host().Lock()
		r.routes[web4] = Route{}
		r.host().Unlock()
		r.happen(routeEvent{netip.MustParsePrefix("10.20.0.0/16")})
		wantNews(t, r.heard(), 0, "no route to 10.20.0.11")
	})
}

func TestRouteThatGoesWithoutAWordAfterItsLinkIsNoticed(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.heard()
		down := eth0
		down.Up = false
		r.happen(linkEvent{Link: down})
		wantNews(t, r.heard(), 0, "interface eth0 is down: ip link set eth0 up")
		r.host().Lock()
		r.routes[web4] = Route{Kind: Unicast, Interface: 2, Source: own4, Gateway: gw4}
		r.links[2] = eth0
		r.host().Unlock()
		r.happen(linkEvent{Link: eth0}, becomes(gw4, Answered))
		r.heard()
		r.host().Lock()
		r.routes[web4] = Route{}
		r.host().Unlock()
		r.pass(time.Second)
		wantNews(t, r.heard(), afterLink, "no route to 10.20.0.11")
	})
}

func TestRouteThatWentWithItsInterfaceStaysExplained(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.heard()
		down := eth0
		down.Up = false
		r.host().Lock()
		r.routes[web4] = Route{}
		r.host().Unlock()
		r.happen(linkEvent{Link: down})
		r.pass(time.Second) // past the second look
		wantNews(t, r.heard(), 0, "interface eth0 is down, and the route to 10.20.0.11 with it")
	})
}

func TestAnInterfaceThatHasJustComeUpIsWaitedForWhileThereIsAnotherWay(t *testing.T) {
	eth1 := Link{Index: 3, Name: "eth1", MAC: eth0MAC, MTU: 1500, Up: true, Carrier: true}
	dark := eth1
	dark.Carrier = false
	there := Neighbour{hop: hop{3, web4}, MAC: peerMAC, State: Answered}
	onto := func(r *rig) { // the route moves to eth1, which is up and has no carrier
		r.happen(becomes(web4, Answered))
		r.pass(time.Minute)
		r.heard()
		r.host().Lock()
		r.routes[web4] = Route{Kind: Unicast, Interface: 3, Source: own4}
		r.host().Unlock()
		r.happen(linkEvent{Link: dark})
	}
	inBubble(t, func(r *rig) {
		onto(r)
		r.pass(time.Second)
		r.happen(linkEvent{Link: eth1})
		r.happen(neighbourEvent{Neighbour: there})
		got := r.heard()
		wantNews(t, got, time.Minute+time.Second, "")
		if got[0].Interface != "eth1" {
			t.Errorf("told %+v", got[0])
		}
	})
	inBubble(t, func(r *rig) {
		onto(r)
		r.pass(time.Minute)
		wantNews(t, r.heard(), time.Minute+grace, "interface eth1 has no carrier")
	})
	inBubble(t, func(r *rig) { // the same interface loses its carrier: there is no other way
		r.happen(becomes(web4, Answered))
		r.pass(time.Minute)
		r.heard()
		pulled := eth0
		pulled.Carrier = false
		r.happen(linkEvent{Link: pulled})
		wantNews(t, r.heard(), time.Minute, "interface eth0 has no carrier")
	})
}

func TestAfterLostEventsEverythingIsLookedUpAnew(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.heard()
		r.host().Lock()
		r.routes[web4] = Route{}
		r.host().Unlock()
		r.lose()
		r.pass(time.Second)
		wantNews(t, r.heard(), afterLoss, "no route to 10.20.0.11")
		if r.listed != 2 {
			t.Errorf("listed %d times, want 2", r.listed)
		}
	})
}

func TestKernelThatCannotBeAskedIsNoEvidence(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.heard()
		r.host().Lock()
		r.deaf = true
		r.host().Unlock()
		r.happen(routeEvent{})
		r.lose()
		r.pass(10 * time.Second)
		wantSilence(t, r.heard())
		r.host().Lock()
		r.deaf, r.routes[web4] = false, Route{}
		r.host().Unlock()
		r.pass(firstRetry)
		if got := r.heard(); len(got) != 1 || !strings.HasPrefix(got[0].Problem, "no route") {
			t.Errorf("told %+v once the kernel answered again", got)
		}
	})
}

func TestSetDropsAndKeepsAddresses(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.heard()
		other := netip.MustParseAddr("10.20.0.12")
		r.host().Lock()
		r.routes[other] = r.routes[web4]
		r.host().Unlock()
		r.Set([]netip.Addr{web4, other}, nil)
		r.pass(0)
		wantSilence(t, r.heard())
		r.happen(becomes(other, Answered))
		wantNews(t, r.heard(), 0, "")
		r.Set([]netip.Addr{other}, nil)
		r.pass(0)
		if _, known := r.Lookup(web4); known || !slices.Equal(r.released, []hop{webHop}) {
			t.Errorf("an address that was dropped is known=%v, released %v", known, r.released)
		}
		r.happen(becomes(web4, Failed))
		wantSilence(t, r.heard())
	})
}

func TestFixedNeighbourIsNeitherAskedNorReleased(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Fixed))
		asked := len(r.asked[webHop])
		r.pass(time.Hour)
		r.Set(nil, nil)
		r.pass(0)
		if len(r.asked[webHop]) != asked || len(r.released) != 0 {
			t.Errorf("asked %d times more, released %v", len(r.asked[webHop])-asked, r.released)
		}
	})
}

func TestNeighbourIsKeptAliveWhereTheKernelDoesNot(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.manages = false
		r.happen(becomes(web4, Answered))
		r.pass(100 * time.Second)
		if n := len(r.asked[webHop]); n != 4 { // at once, and after 30, 60 and 90 s
			t.Errorf("asked at %v", r.asked[webHop])
		}
	})
	inBubble(t, func(r *rig) {
		r.happen(becomes(web4, Answered))
		r.pass(time.Hour)
		if n := len(r.asked[webHop]); n != 1 {
			t.Errorf("asked at %v though the kernel keeps it", r.asked[webHop])
		}
	})
}
