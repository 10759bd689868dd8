package systemd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// manager is the other end.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// heard is what was sent so far.
func heard(t *testing.T, conn *net.UnixConn) (all []string) {
	t.Helper()
	text := make([]byte, 4096)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(text)
		if os.IsTimeout(err) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text[:n]))
	}
}

func TestTheManagerHearsEverything(t *testing.T) {
	for kind, name := range map[string]string{
		"a path":      filepath.Join(t.TempDir(), "notify"),
		"an abstract": fmt.Sprintf("@pointsman-test-%d", os.Getpid()),
	} {
		conn := manager(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		n := FromEnvironment()
		n.Reloading() // of nothing
		n.Status("2 services ok")
		n.Status("2 services ok")
		n.Ready()
		before := monotonic()
		n.Reloading()
		n.Ready()
		n.Status("two\nlines")
		n.Alive() // nobody watches
		n.Stopping()
		got := heard(t, conn)
		want := []string{"STATUS=2 services ok", "READY=1", "RELOADING=1", "READY=1", "STATUS=two lines", "STOPPING=1"}
		if len(got) == len(want) {
			var usec int64
			if _, err := fmt.Sscanf(got[2], "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec < before.Microseconds() || usec > monotonic().Microseconds() {
				t.Errorf("%s: reloading is told by %q", kind, got[2])
			}
			got[2] = "RELOADING=1"
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s socket heard %q, want %q", kind, got, want)
		}
		if os.Getenv("NOTIFY_SOCKET") != "" {
			t.Error("children would speak for the service")
		}
	}
}

func TestTheWatchdogHearsOfLifeOftenEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "notify")
		conn := manager(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		t.Setenv("WATCHDOG_USEC", "100000")
		t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
		n := FromEnvironment()
		for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
			n.Alive()
			if at := time.Until(n.Wake()); at > 50*time.Millisecond {
				t.Fatalf("it is asked again in %v, where the manager waits 100 ms", at)
			}
			time.Sleep(time.Millisecond) // a turn of the loop, in the bubble's own time
		}
		if got := heard(t, conn); len(got) < 4 || len(got) > 9 || strings.Join(slices.Compact(got), "") != "WATCHDOG=1" {
			t.Errorf("in 200 ms the manager heard %q", got)
		}
	})
}

func TestTheWatchdogOfAnotherProcessIsNotOurs(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "1")
	if n := FromEnvironment(); !n.Wake().IsZero() {
		t.Error("it is heeded")
	}
}

func TestWithoutAManagerNothingIsSaid(t *testing.T) {
	var n Notifier
	n.Ready()
	n.Reloading()
	n.Alive()
	n.Stopping()
	gone := Notifier{socket: filepath.Join(t.TempDir(), "gone")}
	gone.Ready()
}
