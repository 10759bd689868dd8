package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// How a program is attached, as operators see it.
const (
	decapNative  = "native"
	decapGeneric = "generic"
	decapTC      = "tc"
)

// decapModes are the ways to try for each mode that can be asked for, in order.
var decapModes = map[DecapMode][]string{
	"":           {decapNative, decapGeneric, decapTC},
	DecapAuto:    {decapNative, decapGeneric, decapTC},
	DecapXDP:     {decapNative},
	DecapGeneric: {decapGeneric},
	DecapTC:      {decapTC},
}

// decapHook is a place where the program is attached. swap replaces the program
// atomically; what it attached outlives the process until remove.
type decapHook interface {
	mode() string
	swap(*decapObjects) error
	remove() error
	close()
}

// attachDecap attaches in the first way that works, and only then takes the
// program off elsewhere: decapsulating twice is harmless, a gap is not.
// It returns how the program is attached now, and why not in a faster way.
func attachDecap(dir string, ifindex int, objs *decapObjects, want DecapMode) (mode string, refused []string, err error) {
	hooks, err := findDecapHooks(dir, ifindex)
	if err != nil {
		return "", nil, err
	}
	defer closeDecapHooks(hooks)

	for _, mode := range waysToAttach(want, hooks) {
		if err := attachDecapAs(mode, dir, ifindex, objs, hooks); err != nil {
			refused = append(refused, fmt.Sprintf("%s refused: %v", mode, err))
			continue
		}
		for _, hook := range hooks {
			if hook.mode() == mode {
				continue
			}
			if err := hook.remove(); err != nil {
				return "", nil, fmt.Errorf("removing the program attached as %s: %w", hook.mode(), err)
			}
		}
		if mode == decapGeneric && want != DecapGeneric && len(refused) == 0 {
			refused = []string{"native was refused or not wanted when it was first attached"}
		}
		return mode, refused, nil
	}
	return "", nil, errors.New(strings.Join(refused, "; "))
}

// waysToAttach leaves an XDP program in its mode if any will do: native and
// generic exclude each other, so trying the other would interrupt.
func waysToAttach(want DecapMode, hooks []decapHook) []string {
	modes := decapModes[want]
	for _, hook := range hooks {
		if hook.mode() != decapTC && slices.Contains(modes, hook.mode()) {
			return []string{hook.mode()}
		}
	}
	return modes
}

func attachDecapAs(mode, dir string, ifindex int, objs *decapObjects, hooks []decapHook) error {
	for _, hook := range hooks {
		if hook.mode() == mode {
			return hook.swap(objs)
		}
	}
	if mode == decapTC {
		return attachDecapTC(dir, ifindex, objs)
	}
	for _, hook := range hooks {
		if hook.mode() == decapTC {
			continue
		}
		// The other XDP mode, which the operator no longer wants: here a gap cannot be avoided.
		if err := hook.remove(); err != nil {
			return err
		}
	}
	return attachDecapXDP(mode, dir, ifindex, objs)
}

// findDecapHooks finds what earlier runs attached: one hook, or two where a
// change of mode was interrupted.
func findDecapHooks(dir string, ifindex int) ([]decapHook, error) {
	var hooks []decapHook
	for _, find := range []func(string, int) (decapHook, error){findDecapXDP, findDecapTCX, findDecapFilter} {
		hook, err := find(dir, ifindex)
		if err != nil {
			closeDecapHooks(hooks)
			return nil, fmt.Errorf("looking for an attached program: %w", err)
		}
		if hook != nil {
			hooks = append(hooks, hook)
		}
	}
	return hooks, nil
}

func closeDecapHooks(hooks []decapHook) {
	for _, hook := range hooks {
		hook.close()
	}
}
