package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/test/tty"
)

// busy is a daemon whose backends are sent to: web's first 1,000 packets a second of
// 100 bytes, the next half of that, and so on.
type busy struct{ began time.Time }

func (b busy) Status(context.Context) (api.Status, error) {
	s := scene{"degraded"}.Status()
	s.Outcomes = map[string]uint64{"FORWARD": 1, "DROP_NO_BACKEND": 3 * b.seconds(), "DROP_TOO_BIG": 4 * b.seconds()}
	return s, nil
}

func (b busy) seconds() uint64 { return uint64(time.Since(b.began) / time.Second) }

func (b busy) Backends(_ context.Context, service string) (api.Backends, error) {
	list := api.Backends{}
	rate := uint64(1000)
	for _, s := range (scene{"degraded"}).Services() {
		for i := range s.Backends {
			n := rate * b.seconds()
			s.Backends[i].Packets, s.Backends[i].Bytes, s.Backends[i].NewFlows = n, 100*n, n/10
			if i == 0 {
				s.Packets, s.Bytes, s.NewFlows = 0, 0, 0
			}
			s.Packets, s.Bytes, s.NewFlows = s.Packets+n, s.Bytes+100*n, s.NewFlows+n/10
			rate /= 2
		}
		if service == "" || s.Name == service {
			list.Services = append(list.Services, s)
		}
	}
	return list, nil
}

func (b busy) Services(ctx context.Context) (api.Services, error) {
	all, err := b.Backends(ctx, "")
	list := api.Services{}
	for _, s := range all.Services {
		list.Services = append(list.Services, s.Service)
	}
	return list, err
}

// watched is top after two looks, a second apart.
func watched(t *testing.T, v topView) *top {
	view := &top{ask: busy{time.Now()}, every: time.Second, view: v}
	for range 2 {
		if err := view.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	return view
}

func TestTopShowsWhatKeysAskFor(t *testing.T) {
	for _, row := range []struct{ golden, keys string }{
		{"top.txt", ""},
		{"top-by-name-reversed.txt", "nr"},
		{"top-backends-filtered.txt", "ttb/up\r"},
		{"top-typing.txt", "/dnx\x7f"},
		{"top-filter-given-up.txt", "/dn\x1bs "},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := watched(t, topView{sort: "packets", backends: strings.HasPrefix(row.golden, "top-backends")})
			for _, key := range []byte(row.keys) {
				if v.view.press(key) {
					t.Errorf("%q quits", row.keys)
				}
			}
			golden(t, row.golden, strings.ReplaceAll(v.view.frame(80, 24), "\x1b", "␛"))
		})
	}
	for _, key := range []byte{'q', 3} {
		if v := (topView{}); !v.press(key) {
			t.Errorf("%q does not quit", key)
		}
	}
	if v := (topView{typing: true}); v.press('q') || v.filter != "q" || !v.press(3) {
		t.Error("a q that is typed quits, or ctrl-C does not")
	}
}

func TestAFrameFitsTheTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := watched(t, topView{sort: "packets", backends: true})
		for height := 1; height < 12; height++ {
			lines := strings.Split(strings.TrimPrefix(v.view.frame(20, height), beginFrame), endLine)
			for i, line := range lines {
				lines[i] = strings.TrimSuffix(line, "\x1b[K"+endFrame)
				if n := len([]rune(lines[i])); n > 20 {
					t.Errorf("line %d has %d columns: %q", i, n, lines[i])
				}
			}
			if len(lines) > height {
				t.Errorf("%d lines for %d", len(lines), height)
			}
		}
	})
}

func TestTopOnceMeasuresOverItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, asJSON := range map[string]bool{"top-once.txt": false, "top-once.json": true} {
			var out bytes.Buffer
			began := time.Now()
			v := top{ask: busy{began}, every: 5 * time.Second, view: topView{sort: "bits"}}
			if err := v.once(t.Context(), &out, asJSON); err != nil || time.Since(began) != 5*time.Second {
				t.Errorf("it took %s, %v", time.Since(began), err)
			}
			text := strings.ReplaceAll(out.String(), began.Add(5*time.Second).Format(time.RFC3339Nano), "AT")
			golden(t, name, text)
		}
	})
}

func TestCountersThatBeginAnewAreNoNegativeRate(t *testing.T) {
	v := topView{measured: true, before: sampled{at: noon}, now: sampled{at: noon.Add(time.Second)}}
	if rate := v.perSecond(100, 50); rate != 0 {
		t.Errorf("the rate is %v", rate)
	}
}

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.04: "0", 0.3: "0.3", 9.94: "9.9", 9.96: "10", 999.4: "999", 999.6: "1.0k",
		9949: "9.9k", 12345: "12k", 999600: "1.0M", 4.2e9: "4.2G", 7e12: "7.0T", 3e15: "3P", 8e17: "800P"} {
		if got := short(n); got != want {
			t.Errorf("%v is %s, want %s", n, got, want)
		}
	}
}

func TestTopOnATerminalTakesKeysAndLeavesItAsItWas(t *testing.T) {
	user, program, err := tty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	defer program.Close()
	before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int)
	go func() {
		ended <- run(t.Context(), []string{"pointsman", "top", "--socket", daemon(t, "ok")}, program, program, io.Discard)
	}()
	seen := bufio.NewReader(user)
	await := func(what string) {
		t.Helper()
		var text strings.Builder
		for !strings.HasSuffix(text.String(), what) {
			c, err := seen.ReadByte()
			if err != nil {
				t.Fatalf("no %q in %q: %v", what, text.String(), err)
			}
			text.WriteByte(c)
		}
	}
	await(enterScreen)
	await("by packets")
	user.WriteString("n")
	await("by name")
	user.WriteString("/web\r")
	await("/web  (")
	user.WriteString("q")
	await(leaveScreen)
	if code := <-ended; code != exitOK {
		t.Errorf("it exits with %d", code)
	}
	after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal was %+v and is %+v, %v", before, after, err)
	}
}

func TestAWatchedListIsPrintedAnewAndSaysWhatWasWrong(t *testing.T) {
	code, stdout, _ := command(t, "status --watch --brief --exit-code --socket "+daemon(t, "degraded"))
	if code != exitDegraded || stdout != "degraded: services 1 ok, 1 degraded, 0 down, 1 warning\n" {
		t.Errorf("exit %d, %q", code, stdout)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"pointsman", "services", "--watch", "--socket", daemon(t, "ok")}, nil, in, io.Discard)
	}()
	lines := bufio.NewScanner(out)
	for headers := 0; headers < 2 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "SERVICE") {
			headers++
		}
	}
	cancel()
	go io.Copy(io.Discard, out)
	if code := <-ended; code != exitOK {
		t.Errorf("it exits with %d", code)
	}
}
