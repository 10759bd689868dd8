package controlplane

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// overrides are what the API lists, a line each.
func (s *stage) overrides() string {
	list, err := s.daemon.Overrides("", "")
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for _, o := range list.Overrides {
		fmt.Fprintf(&b, "%s %s %s %d, %s, for %s by %s%s\n", o.Service, o.Address, o.Kind, o.Weight, o.State, time.Until(o.Until), o.By, because(o.Reason))
	}
	return b.String()
}

var dawn = time.Date(2026, 1, 1, 6, 0, 0, 0, time.UTC)

func drainOf(addr string, since time.Time, ttl time.Duration) desired.Override {
	return desired.Override{
		Service: "web", Backend: dataplane.ID{Addr: netip.MustParseAddr(addr)}, Kind: desired.Drain,
		Reason: "new kernel", By: "ada", Since: since, Until: since.Add(ttl),
	}
}

func openIn(t *testing.T, dir string) *overrides {
	t.Helper()
	o, err := openOverrides(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func put(t *testing.T, o *overrides, wish desired.Override) desired.Override {
	t.Helper()
	taken, err := o.put(wish)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

func TestOverridesOutliveTheDaemon(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	o := openIn(t, dir)
	v4, v6 := drainOf("10.20.0.11", dawn, time.Hour), drainOf("2001:db8::11", dawn, time.Hour)
	v6.Backend.Port = 8443
	put(t, o, v4)
	put(t, o, v6)
	again := openIn(t, dir).list()
	if len(again) != 2 || again[0] != v4 || again[1] != v6 {
		t.Errorf("kept %v", again)
	}
	if _, known, err := o.drop(v4); !known || err != nil {
		t.Errorf("dropping it: %v, %v", known, err)
	}
	if again := openIn(t, dir).list(); len(again) != 1 || again[0] != v6 {
		t.Errorf("after one is taken back, kept %v", again)
	}
	info, err := os.Stat(filepath.Join(dir, "overrides.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
}

func TestARenewedDrainBeganWithTheFirst(t *testing.T) {
	o := openIn(t, t.TempDir())
	put(t, o, drainOf("10.20.0.11", dawn, time.Hour))
	renewed := put(t, o, drainOf("10.20.0.11", dawn.Add(50*time.Minute), time.Hour))
	if renewed.Since != dawn || renewed.Until != dawn.Add(110*time.Minute) || len(o.list()) != 1 {
		t.Errorf("renewed is %+v among %d", renewed, len(o.list()))
	}
	later := put(t, o, drainOf("10.20.0.11", dawn.Add(5*time.Hour), time.Hour))
	if later.Since != dawn.Add(5*time.Hour) {
		t.Errorf("one after the end of the last began at %v", later.Since)
	}
}

func TestAnOverrideEndsByItself(t *testing.T) {
	o := openIn(t, t.TempDir())
	put(t, o, drainOf("10.20.0.11", dawn, time.Hour))
	put(t, o, drainOf("10.20.0.12", dawn, 2*time.Hour))
	if at := o.wake(); at != dawn.Add(time.Hour) {
		t.Errorf("the first end is at %v", at)
	}
	if over := o.expire(dawn.Add(time.Hour - 1)); len(over) != 0 {
		t.Errorf("too early, %v ended", over)
	}
	over := o.expire(dawn.Add(time.Hour))
	if len(over) != 1 || over[0].Backend.String() != "10.20.0.11" || len(o.list()) != 1 {
		t.Errorf("%v ended, %v is left", over, o.list())
	}
}

func TestWhatCannotBeKeptIsNotPromised(t *testing.T) {
	dir := t.TempDir()
	o := openIn(t, filepath.Join(dir, "state"))
	if err := os.WriteFile(filepath.Join(dir, "state"), nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	if _, err := o.put(drainOf("10.20.0.11", dawn, time.Hour)); err == nil || len(o.list()) != 0 {
		t.Errorf("got %v, and %v holds", err, o.list())
	}
}

func TestDamagedOverridesAreSetAside(t *testing.T) {
	for promise, text := range map[string]string{
		"no JSON":         "{",
		"no address":      `{"schema_version": 1, "overrides": [{"service": "web", "backend": "elsewhere"}]}`,
		"another version": `{"schema_version": 2}`,
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "overrides.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var log record
		o, err := openOverrides(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil || len(o.list()) != 0 {
			t.Errorf("%s: got %v, %v", promise, o, err)
		}
		if said := log.take(); !strings.Contains(said, "level=WARN") || !strings.Contains(said, path+".set-aside") {
			t.Errorf("%s: the log has %q", promise, said)
		}
		if kept, err := os.ReadFile(path + ".set-aside"); err != nil || string(kept) != text {
			t.Errorf("%s: set aside is %q, %v", promise, kept, err)
		}
	}
}

func TestAnUnreadableFileIsNotTakenForNone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "overrides.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := openOverrides(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a folder in its place is no error")
	}
}

func TestWishesOfManyAtOnceAreAllKept(t *testing.T) {
	dir := t.TempDir()
	o := openIn(t, dir)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			wish := drainOf(fmt.Sprintf("10.20.0.%d", 11+i%10), dawn, time.Hour)
			if i >= 10 {
				wish.Kind = desired.Disable
			}
			if _, err := o.put(wish); err != nil {
				t.Error(err)
			}
			o.list()
			o.expire(dawn)
			if i%10 == 0 {
				if _, known, err := o.drop(wish); !known || err != nil {
					t.Errorf("taking back what was just taken: %v, %v", known, err)
				}
			}
		})
	}
	all.Wait()
	kept := openIn(t, dir).list()
	if len(o.list()) != 18 || !slices.Equal(kept, o.list()) {
		t.Errorf("%d hold, and %d are kept", len(o.list()), len(kept))
	}
}
