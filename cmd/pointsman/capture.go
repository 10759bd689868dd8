package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/capture"
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/kernel"
)

func captureCommand() *cli.Command {
	return &cli.Command{
		Name:  "capture",
		Usage: "write packets before and after the program as pcapng, for Wireshark and tcpdump",
		UsageText: `pointsman capture -w FILE [FLAGS]

Sees what tcpdump cannot: the packets that arrive before the program, and those
that it sends by XDP_TX and redirects after it. The file has two interfaces for
each of the host's, "eth0 in" and "eth0 out"; a packet's comment says what became
of it, and packets that belong together have the same packet id. It needs no
daemon, and costs nothing once it has ended: after --count, after --duration or
with ctrl-C. What a busy machine cannot keep is lost to the file, never to the
service, and counted on stderr.

Examples:
  pointsman capture -w vip.pcapng --vip 192.0.2.10:443/tcp --count 100
  pointsman capture -w - --client 198.51.100.7 | tcpdump -n -r -
  pointsman capture -w - --duration 10s | tshark -r - -Y 'frame.comment contains "DROP"'`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "write", Aliases: []string{"w"}, Usage: "write to `FILE`; - is stdout"},
			&cli.StringFlag{Name: "vip", Usage: "only packets to `VIP`: ADDRESS, ADDRESS:PORT, ADDRESS:PORT/PROTOCOL or PREFIX; with a port, also those that show none"},
			&cli.StringFlag{Name: "client", Usage: "only packets from `ADDRESS|PREFIX`"},
			&cli.StringFlag{Name: "interface", Aliases: []string{"i"}, Usage: "only packets that arrive by the interface `NAME`"},
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N` packets; 0 is never"},
			&cli.DurationFlag{Name: "duration", Usage: "end after `DURATION`; 0 is never"},
			&cli.IntFlag{Name: "snaplen", Value: kernel.MaxSnaplen, Usage: fmt.Sprintf("keep the first `BYTES` of a frame, 1 to %d", kernel.MaxSnaplen)},
			pinDirFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			wish, err := wishedCapture(c)
			if err != nil {
				return usageError{err, "pointsman capture"}
			}
			return capturePackets(c, wish)
		},
	}
}

// captureWish is what the command line asks for.
type captureWish struct {
	kernel.CaptureOptions
	file     string
	count    int
	duration time.Duration
}

func wishedCapture(c *cli.Context) (w captureWish, err error) {
	w.file, w.count, w.duration = c.String("write"), c.Int("count"), c.Duration("duration")
	w.PinDir, w.Snaplen = c.String("pin-dir"), uint32(max(0, c.Int("snaplen")))
	switch {
	case w.file == "":
		return w, errors.New("say with -w where to write to; - is stdout")
	case w.count < 0 || w.duration < 0:
		return w, errors.New("--count and --duration take nothing negative")
	case c.Int("snaplen") < 1 || c.Int("snaplen") > kernel.MaxSnaplen:
		return w, fmt.Errorf("--snaplen takes 1 to %d", kernel.MaxSnaplen)
	case w.file == "-" && isTerminal(c.App.Writer):
		return w, errors.New("a terminal cannot show a capture; write it to a file or pipe it: -w - | tcpdump -n -r -")
	}
	if name := c.String("interface"); name != "" {
		device, err := net.InterfaceByName(name)
		if err != nil {
			return w, fmt.Errorf("there is no interface %q", name)
		}
		w.Interface = uint32(device.Index)
	}
	w.Filter, err = dataplane.ParsePacketFilter(c.String("vip"), c.String("client"))
	return w, err
}

// capturePackets ends well when it has what it was to capture, or is told to
// end.
func capturePackets(c *cli.Context, wish captureWish) error {
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, unix.SIGTERM)
	defer stop()
	if wish.duration > 0 {
		var over context.CancelFunc
		ctx, over = context.WithTimeout(ctx, wish.duration)
		defer over()
	}
	source, err := kernel.OpenCapture(wish.CaptureOptions)
	if err != nil {
		return fmt.Errorf("capturing: %w", err)
	}
	defer source.Close()
	out := c.App.Writer
	if wish.file != "-" {
		file, err := os.OpenFile(wish.file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // it has what clients send
		if err != nil {
			return fmt.Errorf("opening the file to write to: %w", err)
		}
		defer file.Close()
		out = file
	}
	return writeCapture(ctx, c.App.ErrWriter, out, source, wish)
}

func writeCapture(ctx context.Context, messages, out io.Writer, source *kernel.Capture, wish captureWish) error {
	interfaces, err := source.Interfaces()
	if err != nil {
		return err
	}
	options := capture.Options{Version: buildVersion(), Filter: wish.Filter.String(), Snaplen: wish.Snaplen, Name: interfaceName}
	file, err := capture.NewWriter(out, options, interfaces)
	if err != nil {
		return err
	}
	fmt.Fprintln(messages, "capturing, ctrl-C ends it")
	err = errors.Join(copyCapture(ctx, source, file, wish.count), file.Close())
	lost, counting := source.Lost()
	fmt.Fprintf(messages, "%s captured, %s lost to the capture\n", count(file.Packets(), "packet"), count(int(lost), "record"))
	return errors.Join(err, counting)
}

// flushEvery is how long a captured packet may stay unseen.
const flushEvery = 200 * time.Millisecond

func copyCapture(ctx context.Context, source *kernel.Capture, file *capture.Writer, most int) error {
	enough := func() bool { return most > 0 && file.Packets() >= most }
	for ctx.Err() == nil {
		until := time.Now().Add(flushEvery)
		over := func() bool { return enough() || time.Now().After(until) }
		if err := copyWhile(source, file, until, over); err != nil || enough() {
			return err
		}
		if err := file.Flush(); err != nil {
			return err
		}
		if err := source.Renew(); err != nil {
			return err
		}
		if replaced, err := source.Replaced(); err != nil || replaced {
			return errors.Join(err, errReplaced)
		}
	}
	// What was seen before the end belongs to the capture.
	if err := source.Stop(); err != nil {
		return err
	}
	return copyWhile(source, file, time.Now(), enough)
}

var errReplaced = errors.New("the program was replaced or detached, so there is nothing more to see of it: start the capture anew")

// copyWhile takes what there is until the deadline, unless it is over before.
func copyWhile(source *kernel.Capture, file *capture.Writer, deadline time.Time, over func() bool) error {
	for !over() {
		seen, err := source.Read(deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading what was captured: %w", err)
		}
		if err := file.Take(seen); err != nil {
			return err
		}
	}
	return nil
}

func interfaceName(index uint32) string {
	if index == 0 {
		return "unknown"
	}
	if device, err := net.InterfaceByIndex(int(index)); err == nil {
		return device.Name
	}
	return fmt.Sprintf("interface %d", index)
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
