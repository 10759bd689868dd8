// Package systemd tells the service manager how the daemon is, by the protocol of
// sd_notify(3): one datagram of NAME=VALUE lines to the socket that it names. That
// is all there is to it, so it is written out here rather than imported.
package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier speaks to the manager. Where there is none, it says nothing, and so
// does the zero value. Its methods may be called from any goroutine.
type Notifier struct {
	socket   string
	watchdog time.Duration

	mu     sync.Mutex
	ready  bool
	status string
	alive  time.Time // when the manager heard last that we are
}

// FromEnvironment is a Notifier for the manager that started the process, and
// takes it out of the environment: what the process starts is not the service.
func FromEnvironment() *Notifier {
	n := &Notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			n.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"} {
		os.Unsetenv(name)
	}
	return n
}

// Ready says that the service does its work: at the start, and after Reloading.
func (n *Notifier) Ready() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = true
	n.send("READY=1")
}

// Reloading says that the configuration is being read again. Before the first
// Ready there is nothing to reload.
func (n *Notifier) Reloading() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ready {
		n.send("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonic().Microseconds()))
	}
}

// Stopping says that the service is about to end.
func (n *Notifier) Stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.send("STOPPING=1")
}

// Status is the line that systemctl status shows. It is sent where it is new.
func (n *Notifier) Status(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if text = strings.ReplaceAll(text, "\n", " "); text != n.status {
		n.status = text
		n.send("STATUS=" + text)
	}
}

// Alive keeps the watchdog from killing the service. Whoever must not hang calls
// it each time that it has not; it is passed on as often as the manager needs it.
func (n *Notifier) Alive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchdog > 0 && !time.Now().Before(n.alive.Add(n.watchdog/4)) {
		n.alive = time.Now()
		n.send("WATCHDOG=1")
	}
}

// Wake is when to call Alive again at the latest; the zero time is never.
func (n *Notifier) Wake() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchdog == 0 {
		return time.Time{}
	}
	return n.alive.Add(n.watchdog / 3)
}

// send is lost where the manager does not listen: the service goes on without.
func (n *Notifier) send(lines ...string) {
	if n.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"}) // "@" is an abstract one
	if err != nil {
		return
	}
	defer conn.Close()
	// A manager that does not read must not keep the loop from its work.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte(strings.Join(lines, "\n")))
}

// monotonic is the time of the clock that MONOTONIC_USEC is of.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(fmt.Sprintf("reading the monotonic clock: %v", err)) // every Linux has it
	}
	return time.Duration(now.Nano())
}
