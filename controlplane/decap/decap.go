// Package decap prepares a backend host for what the balancer sends: the
// VIPs on lo, the sysctls that direct return needs, and the program that takes
// packets out of their tunnel. What it changes it writes down first, so that
// Off undoes exactly that.
package decap

import (
	"context"
	"fmt"
	"net/netip"
)

// DefaultStateFile is where the changes to this host are written down.
const DefaultStateFile = "/var/lib/pointsman/decap.json"

// Options says what a backend host is to answer for.
type Options struct {
	// Interface is where the balancer's packets arrive; "" is the interface of
	// the default route. Off takes "" for all interfaces.
	Interface string
	// VIPs are addresses, as prefixes of their whole length, or prefixes.
	VIPs []netip.Prefix
	// From are the prefixes of balancers that may send tunnel packets.
	From []netip.Prefix
	// Mappings are of VIPs that are single addresses; see Unambiguous.
	Mappings []Mapping
	// Out are the interfaces that answers leave by; none stands for all by which a
	// route does. Without Mappings it does not matter.
	Out []string
	// NoProgram sets up VIPs and sysctls only: for services that forward by l2,
	// and for hosts that decapsulate by devices of the kernel.
	NoProgram bool
	Mode      string // as the Program understands it; "auto" takes the best it can get
	PinDir    string
	StateFile string // "" is DefaultStateFile
}

// Program attaches and detaches the decapsulating program. Both can be repeated.
type Program interface {
	Attach(Options) (Attachment, error)
	// Detach says what it removed: nothing where nothing was attached.
	Detach(pinDir, iface string) ([]string, error)
}

// Attachment says how the program was attached, why not in a faster mode, and
// what cannot work in this one.
type Attachment struct {
	Mode   string `json:"mode"` // "native", "generic" or "tc"
	Reason string `json:"reason,omitempty"`
	Limit  string `json:"limit,omitempty"`
	// Out are the interfaces that the ports of answers are mapped back on.
	Out []string `json:"out,omitempty"`
}

// Report says what On or Off did.
type Report struct {
	Interface  string      `json:"interface,omitempty"`
	Attachment *Attachment `json:"program,omitempty"`
	Done       []Done      `json:"changes"`
	Warnings   []string    `json:"warnings"`
}

// Done is one change and what became of it.
type Done struct {
	Change
	Action Action `json:"action"`
}

// Action is what became of a change.
type Action string

// On makes or keeps changes, Off and an On that no longer wants them undo or
// leave them.
const (
	Made   Action = "made"
	Kept   Action = "kept" // of an earlier run
	Undone Action = "undone"
	Left   Action = "left" // it was not as we had left it
)

// On prepares the host, or changes it to other options. It is safe to repeat,
// and after an error or a crash Off undoes what was done so far.
func On(ctx context.Context, o Options, program Program) (Report, error) {
	return on(ctx, o, linux{}, program)
}

// Off undoes what On did for an interface, or for all if none is named.
func Off(ctx context.Context, o Options, program Program) (Report, error) {
	return off(ctx, o, linux{}, program)
}

// DefaultInterface is the interface that On takes if none is named: that of
// the default route.
func DefaultInterface() (string, error) {
	iface, err := linux{}.defaultInterface()
	if err != nil {
		return "", fmt.Errorf("finding the interface of the default route, as none is named: %w", err)
	}
	return iface, nil
}
