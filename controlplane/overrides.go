package controlplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/statedir"
	"github.com/pointsman/pointsman/dataplane"
)

// overrides are the operators' wishes. They are kept on disk, so that they
// outlive the daemon, and end by themselves.
type overrides struct {
	path string
	mu   sync.Mutex
	all  []desired.Override // replaced, never changed
}

// overridesFile is how they are kept.
type overridesFile struct {
	SchemaVersion int            `json:"schema_version"` // 1
	Overrides     []keptOverride `json:"overrides"`
}

type keptOverride struct {
	Service string    `json:"service"`
	Backend string    `json:"backend"` // an address, with a port where the port tells backends apart
	Kind    string    `json:"kind"`
	Weight  uint16    `json:"weight,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	By      string    `json:"by"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
}

// openOverrides reads what an earlier daemon kept. A file that is damaged is set
// aside; one that cannot be read is an error, since the wishes in it still hold.
func openOverrides(stateDir string, log *slog.Logger) (*overrides, error) {
	o := &overrides{path: filepath.Join(stateDir, "overrides.json")}
	text, err := statedir.Read(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	if o.all, err = decodeOverrides(text); err != nil {
		line := []any{"file", o.path, "reason", err}
		if aside, failed := statedir.SetAside(o.path); failed == nil {
			line = append(line, "set_aside_as", aside)
		}
		log.Warn("starting without what operators asked for", line...)
	}
	return o, nil
}

func decodeOverrides(text []byte) ([]desired.Override, error) {
	var kept overridesFile
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if kept.SchemaVersion != 1 {
		return nil, fmt.Errorf("%w, with schema version %d", errForeign, kept.SchemaVersion)
	}
	var all []desired.Override
	for _, k := range kept.Overrides {
		id, err := parseID(k.Backend)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		all = append(all, desired.Override{
			Service: k.Service, Backend: id, Kind: desired.OverrideKind(k.Kind), Weight: k.Weight,
			Reason: k.Reason, By: k.By, Since: k.Since, Until: k.Until,
		})
	}
	return all, nil
}

// parseID reads what dataplane.ID prints.
func parseID(text string) (dataplane.ID, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return dataplane.ID{Addr: at.Addr(), Port: at.Port()}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return dataplane.ID{}, fmt.Errorf("%q is not ADDRESS or ADDRESS:PORT", text)
	}
	return dataplane.ID{Addr: addr}, nil
}

// list are all overrides; nobody changes the list.
func (o *overrides) list() []desired.Override {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all
}

// put adds an override. One of the same kind for the same backend gives way to
// it, but for when it began.
func (o *overrides) put(wish desired.Override) (desired.Override, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := slices.Clone(o.all)
	if i := find(all, wish); i >= 0 {
		if wish.Since.Before(all[i].Until) {
			wish.Since = all[i].Since
		}
		all = slices.Delete(all, i, i+1)
	}
	return wish, o.keep(append(all, wish))
}

// drop removes the override of the same kind for the same backend.
func (o *overrides) drop(wish desired.Override) (was desired.Override, known bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := find(o.all, wish)
	if i < 0 {
		return desired.Override{}, false, nil
	}
	was = o.all[i]
	return was, true, o.keep(slices.Delete(slices.Clone(o.all), i, i+1))
}

// dropAll removes those that concern somebody, and returns them.
func (o *overrides) dropAll(concerns func(desired.Override) bool) (was []desired.Override, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var left []desired.Override
	for _, w := range o.all {
		if concerns(w) {
			was = append(was, w)
		} else {
			left = append(left, w)
		}
	}
	if len(was) == 0 {
		return nil, nil
	}
	return was, o.keep(left)
}

func find(all []desired.Override, wish desired.Override) int {
	return slices.IndexFunc(all, func(o desired.Override) bool {
		return o.Service == wish.Service && o.Backend == wish.Backend && o.Kind == wish.Kind
	})
}

// keep makes the overrides these, on disk first: what was promised must hold.
func (o *overrides) keep(all []desired.Override) error {
	file := overridesFile{SchemaVersion: 1, Overrides: []keptOverride{}}
	for _, w := range all {
		file.Overrides = append(file.Overrides, keptOverride{
			Service: w.Service, Backend: w.Backend.String(), Kind: string(w.Kind), Weight: w.Weight,
			Reason: w.Reason, By: w.By, Since: w.Since, Until: w.Until,
		})
	}
	text, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the overrides: %w", err)
	}
	if err := statedir.Write(o.path, append(text, '\n')); err != nil {
		return fmt.Errorf("keeping the overrides: %w", err)
	}
	o.all = all
	return nil
}

// expire takes out, and returns, those whose time is over. They stay on disk
// until something else is written, where nobody heeds them.
func (o *overrides) expire(now time.Time) (over []desired.Override) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var left []desired.Override
	for _, w := range o.all {
		if now.Before(w.Until) {
			left = append(left, w)
		} else {
			over = append(over, w)
		}
	}
	o.all = left
	return over
}

// wake is when the next one's time is over; zero is never.
func (o *overrides) wake() time.Time {
	var at time.Time
	for _, w := range o.list() {
		if at.IsZero() || w.Until.Before(at) {
			at = w.Until
		}
	}
	return at
}
