package controlplane

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

// events are what the API tells of since the last look, a line each. A look at one
// service leaves it to the next to tell of it again.
func (s *stage) events(service string) string {
	list, _ := s.daemon.Events(service, s.lastEvent)
	if service == "" {
		s.lastEvent = list.Generation
	}
	var b strings.Builder
	if list.Missed {
		b.WriteString("some are forgotten\n")
	}
	for _, e := range list.Events {
		fmt.Fprintf(&b, "%s %s %s %s %s: %s -> %s", e.At.UTC().Format("15:04:05"), e.Kind, e.Level, e.Service+e.Backend+e.Interface, e.Text, e.Was, e.State)
		if e.ConsulAt != nil {
			fmt.Fprintf(&b, ", Consul %s", e.ConsulAt.UTC().Format("15:04:05"))
		}
		if e.AppliedAt != nil {
			fmt.Fprintf(&b, ", applied %s", e.AppliedAt.UTC().Format("15:04:05"))
		}
		if e.Changes > 0 {
			fmt.Fprintf(&b, ", %d changes", e.Changes)
		}
		fmt.Fprintf(&b, "%s\n", because(strings.TrimSpace(e.By+" "+e.Reason)))
	}
	return b.String()
}

// flap lets probes find a backend ill and well in turn: SERVICE ADDRESS N PAUSE.
func (s *stage) flap(words []string) {
	var times int
	fmt.Sscan(words[2], &times)
	pause, err := time.ParseDuration(words[3])
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range times {
		word := []string{"ill refused", "well"}[i%2]
		s.prober.hear(words[0]+" "+words[1]+" "+word, s.daemon.inbox.judged)
		time.Sleep(pause)
	}
}

func TestEventsAreForgottenFromTheOldestOnAndNumbersAreNeverUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChronicle(slog.New(slog.DiscardHandler))
		began := c.last
		for range mostEvents + 3 {
			c.tell(slog.LevelInfo, api.Event{Kind: kindOverride, Text: "drain begins"})
		}
		all, _ := c.since("", 0)
		if len(all.Events) != mostEvents || all.Missed || all.Events[0].ID != began+4 || all.Generation != began+mostEvents+3 {
			t.Errorf("%d are remembered from %d on, missed %v", len(all.Events), all.Events[0].ID-began, all.Missed)
		}
		for since, missed := range map[uint64]bool{began: true, began + 2: true, began + 3: false, began + 4: false, began - 7: true} {
			if list, _ := c.since("", since); list.Missed != missed {
				t.Errorf("since %d, some are missed: %v", since-began, list.Missed)
			}
		}
		time.Sleep(time.Minute)
		if next := newChronicle(slog.New(slog.DiscardHandler)); next.last <= c.last {
			t.Error("the next daemon uses numbers again")
		}
	})
}

func TestWhoWaitsForAnEventGetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChronicle(slog.New(slog.DiscardHandler))
		_, more := c.since("", c.last)
		heard := make(chan struct{})
		go func() { <-more; close(heard) }()
		synctest.Wait()
		select {
		case <-heard:
			t.Error("there was nothing to be heard")
		default:
		}
		c.tell(slog.LevelInfo, api.Event{Kind: kindOverride})
		<-heard
	})
}

func TestALoopIsNotWokenForWhatItMayNotTellYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChronicle(slog.New(slog.DiscardHandler))
		if at := c.wake(); !at.IsZero() {
			t.Errorf("with nothing to tell it wakes at %v", at)
		}
		for range mostTellings + 2 {
			c.tell(slog.LevelInfo, api.Event{Kind: kindBackend, Service: "web", Backend: "10.20.0.11:443"})
		}
		time.Sleep(flapWindow - time.Millisecond)
		c.flush()
		if at := c.wake(); time.Until(at) != flushEvery {
			t.Errorf("it wakes in %s", time.Until(at))
		}
	})
}
