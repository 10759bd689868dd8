package dataplane

import "slices"

// Quarantine keeps the indexes of dead backends from being used again until no
// flow can name them. The zero value is ready.
type Quarantine struct{ quiet map[uint32]bool }

// Release returns the steps that free indexes which no flow has named in two
// sweeps of the flow table, this census being the later one: after the first, a
// packet that had read its slot before the backend died could still have been
// remembered.
func (q *Quarantine) Release(have *Tables, census Census) []Step {
	var free []uint32
	quiet := make(map[uint32]bool)
	for index, entry := range have.Backends {
		switch {
		case !entry.Dead || census.ByBackend[index] > 0:
		case q.quiet[index]:
			free = append(free, index)
		default:
			quiet[index] = true
		}
	}
	q.quiet = quiet
	slices.Sort(free)
	steps := make([]Step, 0, len(free))
	for _, index := range free {
		steps = append(steps, DeleteBackend{index})
	}
	return steps
}
