package traffic

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
)

// Mass is TCP connections by the hundred thousand, which stay open. Each address of the
// client has a process of its own, since what one may have open is limited, and so are
// ports. Whoever answers them is an Echo.
type Mass struct {
	parts []*massPart
}

type massPart struct {
	process *lab.Process
	input   io.Writer
	output  *bufio.Scanner
}

// massReport is what a part says of what it was told.
type massReport struct {
	Broken int
	First  string // why the first of them broke
}

// partVariable tells a process what it is to play; see PlayPart.
const partVariable = "POINTSMAN_TRAFFIC_PART"

// PlayPart is for the begin of a test's main function: a process that was started to
// be a part of a Mass, or an Echo, is nothing else, and ends here.
func PlayPart() {
	words := strings.Fields(os.Getenv(partVariable))
	if len(words) == 0 {
		return
	}
	err := fmt.Errorf("there is no such part: %q", words)
	switch words[0] {
	case "mass":
		err = playMass(netip.MustParseAddr(words[1]), netip.MustParseAddrPort(words[2]), os.Stdin, os.Stdout)
	case "echo":
		err = playEcho(words[1], os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startPart starts this program once more, to play a part on a host.
func startPart(on *lab.Host, words ...string) (*massPart, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), partVariable+"="+strings.Join(words, " "))
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &massPart{input: input, output: bufio.NewScanner(output)}
	p.process, err = on.Start(cmd)
	return p, err
}

func (p *massPart) say(words string) (report massReport, err error) {
	if _, err := fmt.Fprintln(p.input, words); err != nil {
		return report, err
	}
	if !p.output.Scan() {
		return report, errors.Join(fmt.Errorf("a process that was told %q says nothing", words), p.output.Err())
	}
	return report, json.Unmarshal(p.output.Bytes(), &report)
}

// NewMass has no connections yet.
func NewMass(from *lab.Host, addrs []netip.Addr, to netip.AddrPort) (*Mass, error) {
	m := &Mass{}
	for _, addr := range addrs {
		p, err := startPart(from, "mass", addr.String(), to.String())
		if err != nil {
			return nil, err
		}
		m.parts = append(m.parts, p)
	}
	return m, nil
}

// Open opens so many connections more, each of which must be answered in time. It
// returns how many were not and why the first was not; those are closed.
func (m *Mass) Open(count int, timeout time.Duration) (refused int, why error) {
	return m.all(func(part int) string {
		return fmt.Sprintf("open %d %v", share(count, part, len(m.parts)), timeout)
	})
}

// Use asks on each connection. It returns how many broke and why the first did; those
// are closed.
func (m *Mass) Use(timeout time.Duration) (broken int, why error) {
	return m.all(func(int) string { return fmt.Sprintf("use 0 %v", timeout) })
}

// Reset ends so many connections that are open: nothing of them is left at either end.
func (m *Mass) Reset(count int) error {
	_, err := m.all(func(part int) string {
		return fmt.Sprintf("reset %d 0s", share(count, part, len(m.parts)))
	})
	return err
}

func share(count, part, parts int) int { return count*(part+1)/parts - count*part/parts }

func (m *Mass) all(words func(part int) string) (broken int, why error) {
	reports, errs := make([]massReport, len(m.parts)), make([]error, len(m.parts))
	var said sync.WaitGroup
	for i, p := range m.parts {
		said.Go(func() { reports[i], errs[i] = p.say(words(i)) })
	}
	said.Wait()
	if err := errors.Join(errs...); err != nil {
		return -1, err
	}
	for _, r := range reports {
		if broken += r.Broken; r.Broken > 0 && why == nil {
			why = errors.New(r.First)
		}
	}
	return broken, why
}

// AllowFiles lets this process have so many files open. What the hard limit allows,
// the runtime has allowed already.
func AllowFiles(least uint64) error {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	if err == nil && limit.Cur < least {
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: least, Max: max(least, limit.Max)})
	}
	if err != nil {
		return fmt.Errorf("allowing %d open files: %w", least, err)
	}
	return nil
}

// playMass does as it is told until nobody tells it anything any more.
func playMass(from netip.Addr, to netip.AddrPort, in io.Reader, out io.Writer) error {
	s := &sockets{from: from, to: to}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var what, timeout string
		var count int
		_, err := fmt.Sscan(lines.Text(), &what, &count, &timeout)
		if err == nil {
			s.timeout, err = time.ParseDuration(timeout)
		}
		if err != nil {
			return fmt.Errorf("reading %q: %w", lines.Text(), err)
		}
		var broken []error
		switch what {
		case "open":
			if err := AllowFiles(uint64(len(s.fds) + count + otherFiles)); err != nil {
				return err
			}
			broken = s.open(count)
		case "use":
			broken = s.use()
		case "reset":
			s.reset(count)
		}
		report := massReport{Broken: len(broken)}
		if len(broken) > 0 {
			report.First = broken[0].Error()
		}
		if err := json.NewEncoder(out).Encode(report); err != nil {
			return err
		}
	}
	return nil
}
