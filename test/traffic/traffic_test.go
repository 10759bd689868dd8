package traffic

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

func TestLatencyIsWhatAShareOfTheAnswersTookAtMost(t *testing.T) {
	var answers Answers
	for i := range 100 {
		answers = append(answers, Answer{Took: time.Duration(i+1) * time.Millisecond})
	}
	answers = append(answers, Answer{Took: time.Hour, Err: os.ErrDeadlineExceeded})
	for _, row := range []struct {
		share float64
		want  time.Duration
	}{{0, time.Millisecond}, {0.5, 51 * time.Millisecond}, {0.99, 100 * time.Millisecond}, {1, 100 * time.Millisecond}} {
		if got := answers.Latency(row.share); got != row.want {
			t.Errorf("Latency(%v) is %v, want %v", row.share, got, row.want)
		}
	}
	if got := (Answers{}).Latency(0.5); got != 0 {
		t.Errorf("no answers took %v", got)
	}
}

func TestSinceKeepsWhatWasSentAtATimeOrLater(t *testing.T) {
	start := time.Now()
	var answers Answers
	for i := range 4 {
		answers = append(answers, Answer{Sent: start.Add(time.Duration(i) * time.Second)})
	}
	if got := answers.Since(start.Add(2 * time.Second)); len(got) != 2 {
		t.Errorf("%d answers, want 2", len(got))
	}
	if got := answers.Since(start.Add(time.Hour)); len(got) != 0 {
		t.Errorf("%d answers since later than all", len(got))
	}
}

func TestPrivilegedLoadCountsAnswersByBackendAndFailures(t *testing.T) {
	l := newLab(t)
	b := l.Backends[0]
	for _, kind := range []Kind{HTTP, TCP, UDP} {
		load := Load{From: l.Client, Kind: kind, To: port(b, kind), Requests: 50, Workers: 4, Timeout: 2 * time.Second}
		answers := load.Run(t.Context())
		if answers.Counts()[b.Name] != 50 || !slices.Equal(answers.Backends(), []string{b.Name}) {
			t.Errorf("%s: %v, failed %v", kind, answers.Counts(), answers.Failed())
		}
		if answers.Latency(0.5) <= 0 {
			t.Errorf("%s: answers took no time", kind)
		}
		b.Kill()
		load.Requests = 3
		if failed := load.Run(t.Context()).Failed(); len(failed) != 3 {
			t.Errorf("%s: %d of 3 requests to a dead backend failed", kind, len(failed))
		}
		if err := b.Revive(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPrivilegedLoadWithoutANumberEndsWithItsContext(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	answers := Load{From: l.Client, Kind: UDP, To: port(l.Backends[0], UDP), Pause: time.Millisecond}.Run(ctx)
	if len(answers) < 10 || len(answers.Failed()) > 0 {
		t.Errorf("%d answers, failed %v", len(answers), answers.Failed())
	}
}

func TestPrivilegedFlowsSayWhichOfThemBroke(t *testing.T) {
	l := newLab(t)
	b := l.Backends[0]
	flows, err := Open(t.Context(), l.Client, TCP, port(b, TCP), 5)
	if err != nil {
		t.Fatal(err)
	}
	defer flows.Close()
	for range 2 {
		if broken := flows.Use(time.Second); len(broken) > 0 {
			t.Fatalf("broken: %v", broken[0].Broken)
		}
	}
	b.Kill()
	if broken := flows.Use(time.Second); len(broken) != 5 || len(flows.Broken()) != 5 {
		t.Errorf("%d of 5 flows broke with their backend", len(broken))
	}
	if again := flows.Use(time.Second); len(again) != 0 {
		t.Errorf("%d flows broke twice", len(again))
	}
}

func TestPrivilegedAConversationNoticesWhoBreaksAndWhoFallsSilent(t *testing.T) {
	l := newLab(t)
	b := l.Backends[0]
	for _, kind := range []Kind{HTTP, TCP, UDP} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		flows, err := Open(ctx, l.Client, kind, port(b, kind), 6)
		if err != nil {
			t.Fatal(err)
		}
		c := &Conversation{Flows: flows, Every: 5 * time.Millisecond, Patience: 500 * time.Millisecond}
		over := make(chan struct{})
		go func() { defer close(over); c.Run(ctx) }()
		until := func(what string, is func() bool) {
			t.Helper()
			for tick := time.NewTicker(time.Millisecond); !is(); <-tick.C {
				if ctx.Err() != nil {
					t.Fatalf("%s: it never came to be that %s", kind, what)
				}
			}
		}
		now := time.Now()
		until("all are heard", func() bool { return c.Silent(now) == 0 })
		flows[:2].Close()
		if c.Open() != 4 || len(flows.Of(b.Name)) != 6 || len(flows.Of("backend-2")) != 0 {
			t.Errorf("%s: %d are open after two of six were closed", kind, c.Open())
		}
		b.Kill()
		until("four break", func() bool { return len(c.Broken()) == 4 })
		<-over
		if broken := flows.Broken(); len(broken) != 4 || c.Open() != 0 {
			t.Errorf("%s: %d broke, %d are open", kind, len(broken), c.Open())
		}
		if err := b.Revive(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMain(m *testing.M) {
	PlayPart()
	os.Exit(m.Run())
}

func TestPrivilegedAMassSaysHowManyOfItBroke(t *testing.T) {
	const count, patience = 700, 10 * time.Second
	l := newLab(t)
	b := l.Backends[0]
	echo, err := StartEcho(b, 9000)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMass(l.Client, []netip.Addr{l.Client.Addr4}, netip.AddrPortFrom(b.Addr4, 9000))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, want int) func(int, error) {
		return func(broken int, why error) {
			t.Helper()
			if broken != want || (why != nil) != (want > 0) {
				t.Errorf("%s, %d are broken, want %d: %v", what, broken, want, why)
			}
		}
	}
	expect("opened", 0)(m.Open(count, patience))
	expect("used", 0)(m.Use(patience))
	if err := m.Reset(100); err != nil {
		t.Fatal(err)
	}
	expect("after a hundred were reset", 0)(m.Use(patience))
	echo.Kill()
	expect("without anybody to answer", count-100)(m.Use(patience))
	expect("opened to nobody", 5)(m.Open(5, patience))
}

func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building network namespaces needs root")
	}
	return lab.ForTest(t, lab.Options{Backends: 1})
}

func port(b *lab.Host, kind Kind) netip.AddrPort {
	ports := map[Kind][]uint16{HTTP: lab.DefaultPorts.HTTP, TCP: lab.DefaultPorts.TCP, UDP: lab.DefaultPorts.UDP}
	return netip.AddrPortFrom(b.Addr6, ports[kind][0])
}
