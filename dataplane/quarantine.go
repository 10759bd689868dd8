package dataplane

import "slices"

// FragmentSeconds is how long the program remembers where the first fragment of a
// packet went, so that the others follow it. A test in dataplane/kernel holds the
// program to it.
const FragmentSeconds = 10

// Quarantine keeps the indexes of dead backends from being used again until no
// flow and no fragment can name them. The zero value is ready.
type Quarantine struct{ graves map[uint32]grave }

// grave is what is known of the index of a dead backend.
type grave struct {
	since uint32 // the second of the census that first found it dead
	quiet bool   // in the last census no flow named it
}

// restSeconds is when the last fragment that followed the dead backend's way is
// over, with a second to spare for a packet that had read its slot before.
const restSeconds = FragmentSeconds + 2

// Release returns the steps that free indexes which no flow has named in two
// sweeps of the flow table, this census being the later one: after the first, a
// packet that had read its slot before the backend died could still have been
// remembered. What fragments name cannot be looked through in a moment, but is
// forgotten by a second that is known.
func (q *Quarantine) Release(have *Tables, census Census, second uint32) []Step {
	var free []uint32
	graves := make(map[uint32]grave)
	for index, entry := range have.Backends {
		if !entry.Dead {
			continue
		}
		before, known := q.graves[index]
		if !known {
			before.since = second
		}
		now := grave{before.since, census.ByBackend[index] == 0}
		if before.quiet && now.quiet && second-now.since >= restSeconds {
			free = append(free, index)
		} else {
			graves[index] = now
		}
	}
	q.graves = graves
	slices.Sort(free)
	steps := make([]Step, 0, len(free))
	for _, index := range free {
		steps = append(steps, DeleteBackend{index})
	}
	return steps
}
