package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// window is how many frames are under way at most: fewer than the ring of a veth
// holds, so that none is lost, and enough that nobody is woken for each.
const window = 192

// overdue is when a frame that has not arrived is lost.
const overdue = 200 * time.Millisecond

// longestTurn ends one on a slow machine, however few frames there were.
const longestTurn = 700 * time.Millisecond

// sender sends frames of one kind to the balancer, out of the switch's port.
type sender struct {
	program *ebpf.Program
	state   *ebpf.Map
	frame   []byte
}

func (s *stage) sender(k kind) (*sender, error) {
	if ready := s.senders[k.name]; ready != nil {
		return ready, nil
	}
	router, err := find(s.Lab.Router, "eth1")
	if err != nil {
		return nil, err
	}
	made := &sender{frame: k.frame(router.mac, s.eth0.mac)}
	if made.state, err = words(senderWords); err != nil {
		return nil, err
	}
	if made.program, err = k.senderProgram(made.frame, made.state, s.port.index); err != nil {
		made.state.Close()
		return nil, err
	}
	s.senders[k.name] = made
	return made, s.perch(k, made.program)
}

// perch attaches a sender's program to an interface that gets nothing. Else the kernel
// would take it into its dispatcher of XDP programs at the beginning of each run, and
// out again at the end, and wait for all CPUs both times: some 25 ms, if that dispatcher
// has room, which it has for 48 programs.
func (s *stage) perch(k kind, program *ebpf.Program) error {
	name := "perch-" + k.name
	err := s.port.host.Links().LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "peer-" + k.name})
	if err != nil {
		return fmt.Errorf("making %s: %w", name, err)
	}
	at, err := find(s.port.host, name)
	if err != nil {
		return err
	}
	return at.attach(program)
}

func (s *sender) close() {
	s.program.Close()
	s.state.Close()
}

// send sends so many frames, or some more if a signal makes the kernel begin anew.
func (s *sender) send(frames int) error {
	_, err := s.program.Run(&ebpf.RunOptions{
		Data: s.frame, Repeat: uint32(frames), BatchSize: 64, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	})
	return err
}

func (s *sender) sent() (uint64, error) {
	var state [senderWords]uint64
	err := s.state.Lookup(uint32(0), &state)
	return state[1], err
}

func (s *stage) arrived() (count uint64, err error) {
	err = s.count.Lookup(uint32(0), &count)
	return count, err
}

// passage is what became of frames.
type passage struct {
	sent, arrived uint64
	took          time.Duration // until the last of each window had arrived
}

// pass sends frames through the balancer, as many at a time as nobody has to drop,
// until the limit.
func (s *stage) pass(ctx context.Context, k kind, frames int, limit time.Duration) (p passage, err error) {
	sender, err := s.sender(k)
	if err != nil {
		return p, err
	}
	began := time.Now()
	err = s.port.host.Do(func() error {
		for p.sent < uint64(frames) && time.Since(began) < limit && ctx.Err() == nil {
			if err := s.passWindow(sender, min(window, frames-int(p.sent)), &p); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return p, fmt.Errorf("sending frames through %s: %w", s.name, err)
	}
	return p, nil
}

func (s *stage) passWindow(sender *sender, frames int, p *passage) error {
	sentBefore, err := sender.sent()
	if err != nil {
		return err
	}
	arrivedBefore, err := s.arrived()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := sender.send(frames); err != nil {
		return err
	}
	sentAfter, err := sender.sent()
	if err != nil {
		return err
	}
	sent, arrived, last := sentAfter-sentBefore, uint64(0), time.Now()
	for {
		now, err := s.arrived()
		if err != nil {
			return err
		}
		if now-arrivedBefore > arrived {
			arrived, last = now-arrivedBefore, time.Now()
		}
		if arrived >= sent || time.Since(last) > overdue {
			break
		}
		// What soft interrupts have left over a thread of the kernel does, on this CPU.
		if _, _, errno := unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0); errno != 0 {
			return errno
		}
	}
	p.sent += sent
	p.arrived += min(arrived, sent) // what was given up for lost may come
	p.took += last.Sub(began)
	return nil
}
