package controlplane

import (
	"maps"
	"sync"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
)

// traffic is what services were sent since the daemon was started. The program
// counts by backend and forgets one whose index is freed, so a sum over those that
// are left would go backwards.
type traffic struct {
	mu     sync.Mutex
	plane  *serial
	of     map[uint32]string                    // services by the indexes of their backends, buried ones too
	before map[uint32]dataplane.BackendCounters // what is in the sums already, or is of another daemon's time
	sums   map[string]api.Traffic
}

// begin lets what was counted until now be of the past.
func (t *traffic) begin(plane *serial) error {
	counters, err := plane.Counters()
	if err != nil {
		return err
	}
	*t = traffic{plane: plane, before: counters.Backends, sums: map[string]api.Traffic{}}
	return nil
}

// hold takes tables as those that the kernel has. The service of a buried backend
// may be gone, and its id another's.
func (t *traffic) hold(tables *dataplane.Tables) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := make(map[uint32]string, len(tables.Backends))
	names := map[string]bool{}
	for _, s := range tables.Services {
		names[s.Name] = true
	}
	for index, b := range tables.Backends {
		if name, known := t.of[index]; known && b.Dead {
			of[index] = name
		} else {
			of[index] = tables.Services[b.Service].Name
		}
	}
	t.of = of
	maps.DeleteFunc(t.before, func(index uint32, _ dataplane.BackendCounters) bool { _, held := of[index]; return !held })
	maps.DeleteFunc(t.sums, func(name string, _ api.Traffic) bool { return !names[name] })
}

// during carries steps out between two scrapes. Counters that they are about to
// forget are read before: nothing is sent to a backend whose index is freed.
func (t *traffic) during(tables *dataplane.Tables, steps []dataplane.Step, write func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, step := range steps {
		if _, forgets := step.(dataplane.DeleteBackend); forgets {
			if _, err := t.count(); err != nil {
				return err
			}
			break
		}
	}
	if err := write(); err != nil {
		return err // and the tables are read again
	}
	for _, step := range steps {
		switch s := step.(type) {
		case dataplane.DeleteBackend:
			delete(t.of, s.Index)
			delete(t.before, s.Index)
		case dataplane.PutBackend:
			if !s.Entry.Dead {
				t.of[s.Index] = tables.Services[s.Entry.Service].Name
			}
		}
	}
	return nil
}

// read reads all counters, and adds what services were sent since it was called last.
func (t *traffic) read() (dataplane.Counters, map[string]api.Traffic, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counters, err := t.count()
	return counters, maps.Clone(t.sums), err
}

func (t *traffic) count() (dataplane.Counters, error) {
	counters, err := t.plane.Counters()
	if err != nil {
		return counters, err
	}
	for index, name := range t.of {
		now, before := counters.Backends[index], t.before[index]
		if now.Packets < before.Packets {
			before = dataplane.BackendCounters{} // somebody has zeroed them
		}
		sum := t.sums[name]
		sum.Packets += now.Packets - before.Packets
		sum.Bytes += now.Bytes - before.Bytes
		sum.NewFlows += now.NewFlows - before.NewFlows
		t.sums[name], t.before[index] = sum, now
	}
	return counters, nil
}
