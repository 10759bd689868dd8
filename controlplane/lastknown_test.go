package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/dataplane"
)

func someKnown() lastKnown {
	c := &config.Consul{Datacenter: "dc1"}
	return lastKnown{secret: "0123456789abcdef", sets: map[question]answer{
		asked(c, config.ConsulSource{Service: "web", Tags: []string{"prod", "<&>"}}): {dawn, []consul.Instance{
			{Node: "n1", ID: "web-1", Addr: netip.MustParseAddr("10.20.0.11"), Port: 443, Status: consul.Passing, WeightPassing: 7, WeightWarning: 1},
			{Node: "n2", ID: "web-2", Addr: netip.MustParseAddr("2001:db8::12"), Port: 443, Status: consul.Maintenance, WeightPassing: 1},
			{Node: "n3", ID: "web-3", Status: consul.Critical, Rejected: "port is 0"},
			{Node: "n4", ID: "web-4", Addr: netip.MustParseAddr("10.20.0.14"), Port: 443, Status: consul.Warning},
		}},
		asked(c, config.ConsulSource{Service: "nobody"}): {dawn.Add(time.Minute), nil},
	}, drains: map[desired.Drained]time.Time{
		{Service: "web", Backend: dataplane.ID{Addr: netip.MustParseAddr("2001:db8::12"), Port: 443}}: dawn,
		{Service: "web", Backend: dataplane.ID{Addr: netip.MustParseAddr("10.20.0.14")}}:              dawn.Add(time.Hour),
	}}
}

func TestWhatIsKnownIsReadAsItWasWritten(t *testing.T) {
	want := someKnown()
	got, err := decodeLastKnown(want.encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if a, b := want.encode(), someKnown().encode(); string(a) != string(b) {
		t.Error("the same is written in two ways")
	}
}

func TestNoDamageToTheFilePassesForTheTruth(t *testing.T) {
	want := someKnown()
	text := want.encode()
	for i := range text {
		for _, bit := range []byte{1, 0x20, 0x80} {
			spoilt := []byte(string(text))
			spoilt[i] ^= bit
			if got, err := decodeLastKnown(spoilt); err == nil && !reflect.DeepEqual(got, want) {
				t.Fatalf("byte %d is another, and the file says %+v", i, got)
			}
		}
		if got, err := decodeLastKnown(text[:i]); err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("cut after %d bytes, the file says %+v", i, got)
		}
	}
}

func TestAFileOfAnotherVersionIsSaidToBe(t *testing.T) {
	if _, err := decodeLastKnown([]byte(`{"schema_version": 2, "sets": {}}`)); !errors.Is(err, errForeign) {
		t.Errorf("got %v", err)
	}
}

func TestAnotherQuestionIsNotAnsweredByTheNotes(t *testing.T) {
	same := config.ConsulSource{Service: "web", Warning: "drop", AllowedBackends: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	base := asked(&config.Consul{Address: "http://one:8500"}, config.ConsulSource{Service: "web"})
	if asked(&config.Consul{Address: "https://two:8501", Token: "t"}, same) != base {
		t.Error("how Consul is reached and what is made of its answer are part of the question")
	}
	for what, q := range map[string]question{
		"service":       asked(&config.Consul{}, config.ConsulSource{Service: "www"}),
		"tags":          asked(&config.Consul{}, config.ConsulSource{Service: "web", Tags: []string{"prod"}}),
		"filter":        asked(&config.Consul{}, config.ConsulSource{Service: "web", Filter: "x == y"}),
		"datacenter":    asked(&config.Consul{Datacenter: "dc2"}, config.ConsulSource{Service: "web"}),
		"peer":          asked(&config.Consul{}, config.ConsulSource{Service: "web", Peer: "other"}),
		"port_name":     asked(&config.Consul{}, config.ConsulSource{Service: "web", PortName: "https"}),
		"ignore_checks": asked(&config.Consul{}, config.ConsulSource{Service: "web", IgnoreChecks: []string{"c"}}),
	} {
		if q == base {
			t.Errorf("%s is no part of the question", what)
		}
	}
}

// keeping runs a keeper in a folder of its own.
func keeping(t *testing.T, log *record) (k *keeper, end func()) {
	k, _ = openKeeper(filepath.Join(t.TempDir(), "state"), slog.New(slog.NewTextHandler(log, nil)))
	done := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- k.Run(ctx) }()
	return k, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestABurstIsKeptByFewWritingsAndTheLastWordWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, end := keeping(t, &record{})
		known := someKnown()
		for i := range 1000 {
			known.secret = strings.Repeat("0", 15) + string(rune('a'+i%6))
			k.keep(known, true)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		_, read := openKeeper(filepath.Dir(k.path), slog.New(slog.DiscardHandler))
		if read.secret != known.secret {
			t.Errorf("the last word was %s, kept is %s", known.secret, read.secret)
		}
		burst := writings(t, k)
		if burst < 8 || burst > 12 {
			t.Errorf("1000 words in a second were written %d times", burst)
		}
		k.keep(known, false)
		time.Sleep(time.Minute)
		if n := writings(t, k) - burst; n != 0 {
			t.Errorf("what is only confirmed was written at once: %d times", n)
		}
		time.Sleep(keepAge)
		if n := writings(t, k) - burst; n != 1 {
			t.Errorf("what is only confirmed is written after a while: %d times", n)
		}
		known.secret = "ffffffffffffffff"
		k.keep(known, true)
		end()
		if _, read := openKeeper(filepath.Dir(k.path), slog.New(slog.DiscardHandler)); read.secret != known.secret {
			t.Errorf("the daemon's last word is %s, kept is %s", known.secret, read.secret)
		}
	})
}

func TestADiskThatRefusesIsToldOfOnceAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log record
		k, end := keeping(t, &log)
		defer end()
		dir := filepath.Dir(k.path)
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the folder should be
			t.Fatal(err)
		}
		k.keep(someKnown(), true)
		time.Sleep(3 * time.Minute)
		if said := log.take(); strings.Count(said, "level=WARN") != 1 || !strings.Contains(said, dir+" must be a directory") {
			t.Errorf("the log has %q", said)
		}
		if text := k.warning(); !strings.Contains(text, "cannot be kept") || !strings.Contains(text, dir) {
			t.Errorf("the status warns of %q", text)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keepRetry + time.Second)
		if said := log.take(); !strings.Contains(said, "kept again") || k.warning() != "" {
			t.Errorf("when it can be written again, the log has %q and the status warns of %q", said, k.warning())
		}
		if _, read := openKeeper(dir, slog.New(slog.DiscardHandler)); !reflect.DeepEqual(read, someKnown()) {
			t.Errorf("kept is %+v", read)
		}
	})
}

// writings is how often the file was replaced by another.
func writings(t *testing.T, k *keeper) int {
	t.Helper()
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writings
}
