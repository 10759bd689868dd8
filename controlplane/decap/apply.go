package decap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// host is what is planned for, and what changes are made to.
type host interface {
	// defaultInterface is the one by which the default route leaves.
	defaultInterface() (string, error)
	// look reads the sysctls with these paths, and all else that Facts holds.
	look(sysctls []string) (Facts, error)
	// change sets a sysctl to After or puts an address on lo, or the reverse.
	// What is there, or gone, already is no error.
	change(Change) error
	undo(Change) error
}

// run is one On or Off under way.
type run struct {
	options Options
	host    host
	program Program
	file    *stateFile
	state   *state
	facts   Facts
	report  Report
}

// begin reads what the host is like, and what of that is our doing.
func begin(o Options, h host, program Program, file *stateFile) (*run, error) {
	r := &run{options: o, host: h, program: program, file: file}
	r.report = Report{Interface: o.Interface, Done: []Done{}, Warnings: []string{}}
	facts, err := h.look(nil)
	if err != nil {
		return nil, fmt.Errorf("looking at the host: %w", err)
	}
	if r.state, err = file.read(facts.BootID); err != nil {
		return nil, err
	}
	paths := sysctlsOf(o.Interface)
	for _, c := range r.state.Changes {
		if c.Kind == Sysctl {
			paths = append(paths, c.Name)
		}
	}
	if r.facts, err = h.look(paths); err != nil {
		return nil, fmt.Errorf("looking at the host: %w", err)
	}
	return r, nil
}

func on(ctx context.Context, o Options, h host, program Program) (Report, error) {
	if o.Interface == "" {
		iface, err := h.defaultInterface()
		if err != nil {
			return Report{}, fmt.Errorf("finding the interface of the default route, as none is named: %w", err)
		}
		o.Interface = iface
	}
	o.VIPs = slices.Clone(o.VIPs)
	for i, vip := range o.VIPs {
		if addr := vip.Addr(); addr.Is4In6() && vip.IsSingleIP() {
			o.VIPs[i] = netip.PrefixFrom(addr.Unmap(), 32)
		}
	}
	file, err := openStateFile(o.StateFile)
	if err != nil {
		return Report{}, err
	}
	defer file.close()
	r, err := begin(o, h, program, file)
	if err != nil {
		return Report{}, err
	}
	if err := r.checkPins(); err != nil {
		return Report{}, err
	}
	r.findWaysOut()
	changes, warnings, err := Plan(r.facts.without(r.state.changes()), o)
	if err != nil {
		return Report{}, err
	}
	r.report.Warnings = append(r.report.Warnings, warnings...)
	if err := r.makeAll(ctx, changes); err != nil {
		return r.report, fmt.Errorf("%w; what was done so far is undone by --off", err)
	}
	// Last: by now the program passes what is for a VIP that goes.
	return r.report, r.undoAll(ctx, r.state.unwanted(o.Interface, changes))
}

// findWaysOut adds the interface that packets arrive on, which on most hosts is
// the one that answers leave by.
func (r *run) findWaysOut() {
	if len(r.options.Mappings) == 0 || len(r.options.Out) > 0 {
		return
	}
	r.options.Out = append([]string{r.options.Interface}, r.facts.WaysOut...)
	slices.Sort(r.options.Out)
	r.options.Out = slices.Compact(r.options.Out)
}

// checkPins refuses to lose sight of a program that an earlier run attached.
func (r *run) checkPins() error {
	attached := r.state.find(Change{Kind: Tunnel, Name: r.options.Interface})
	if attached == nil || attached.After == r.options.PinDir {
		return nil
	}
	return fmt.Errorf("the program on %s is pinned under %s, not %s: name that folder, or switch off first", attached.Name, attached.After, r.options.PinDir)
}

// makeAll writes each change down before it is made: a change that is recorded
// and not made is harmless to undo, the reverse would be lost.
func (r *run) makeAll(ctx context.Context, changes []Change) error {
	for _, c := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		recorded := r.state.find(c) != nil
		r.state.note(c, r.options.Interface)
		if err := r.file.write(r.state); err != nil {
			return err
		}
		action := Made
		if recorded && (c.Kind == Tunnel || r.facts.inEffect(c)) {
			action = Kept
		}
		if err := r.make(c, action); err != nil {
			return err
		}
		r.report.Done = append(r.report.Done, Done{c, action})
	}
	return nil
}

func (r *run) make(c Change, action Action) error {
	if c.Kind == Tunnel {
		attachment, err := r.program.Attach(r.options)
		if err != nil {
			return err
		}
		r.report.Attachment = &attachment
		return nil
	}
	if action == Kept {
		return nil
	}
	return r.host.change(c)
}

func off(ctx context.Context, o Options, h host, program Program) (Report, error) {
	file, err := openStateFile(o.StateFile)
	if err != nil {
		return Report{}, err
	}
	defer file.close()
	r, err := begin(o, h, program, file)
	if err != nil {
		return Report{}, err
	}
	if err := r.undoAll(ctx, r.state.unwanted(o.Interface, nil)); err != nil {
		return r.report, err
	}
	if len(r.report.Done) == 0 {
		r.report.Warnings = append(r.report.Warnings, "nothing to undo: "+file.path+" records no change since the last boot")
	}
	return r.report, nil
}

// undoAll goes on after an error: what stays is still recorded, and the next
// Off tries again.
func (r *run) undoAll(ctx context.Context, changes []Change) error {
	var failures []error
	for _, c := range changes {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(failures, err)...)
		}
		action, err := r.undo(c)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		r.state.forget(c)
		if err := r.file.write(r.state); err != nil {
			return errors.Join(append(failures, err)...)
		}
		r.report.Done = append(r.report.Done, Done{c, action})
	}
	// Also when nothing was undone: an interface may have been taken off a VIP.
	return errors.Join(append(failures, r.file.write(r.state))...)
}

// undo leaves alone what is not as we left it.
func (r *run) undo(c Change) (Action, error) {
	if c.Kind == Tunnel {
		removed, err := r.program.Detach(c.After, c.Name)
		if err == nil && len(removed) == 0 {
			return Left, nil
		}
		return Undone, err
	}
	if r.facts.inEffect(c) {
		return Undone, r.host.undo(c)
	}
	if value, known := r.facts.Sysctls[c.Name]; known && value != c.Before {
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("%s is %s by now, neither what it was (%s) nor what we set (%s): left alone", c.Name, value, c.Before, c.After))
	}
	return Left, nil
}
