package balancer

import (
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/tty"
)

// Onlookers are the commands that show what goes on until they are ended, in this order:
// events, drops, services, backends, status, and the capture of a VIP's packets into a
// file. It lacks top, which wants a terminal.
func (b *Balancer) Onlookers(service, vip, capture string) (commands [][]string) {
	for _, line := range []string{
		"events --follow", "drops", "services --watch", "backends " + service + " --watch --wide", "status --watch",
	} {
		commands = append(commands, append(strings.Fields(line), "--socket", b.Socket()))
	}
	return append(commands, []string{"capture", "-w", capture, "--snaplen", "96", "--vip", vip, "--pin-dir", b.PinDir()})
}

// Seated is a command of the program on a terminal.
type Seated struct {
	*lab.Process
	Keys io.WriteCloser // what the user types; closing it ends the terminal
}

// Sit starts a command on a terminal, whose screen is written until Keys is closed.
func (b *Balancer) Sit(screen io.Writer, command ...string) (*Seated, error) {
	user, program, err := tty.Open()
	if err != nil {
		return nil, err
	}
	defer program.Close()
	cmd := exec.Command(b.Binary, command...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	process, err := b.Host.Start(cmd)
	if err != nil {
		user.Close()
		return nil, fmt.Errorf("starting %v on a terminal: %w", command, err)
	}
	go io.Copy(screen, user)
	return &Seated{process, user}, nil
}
