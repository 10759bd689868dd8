package dataplane

import (
	"cmp"
	"slices"
)

// room hands out what is free. What is in use when a Diff begins stays so until
// it ends, even if it will be freed.
type room struct {
	services     map[uint32]bool
	serviceLimit uint32
	nextService  uint32 // none below is free
	vips         int    // how many more fit
	backends     []uint64
	backendsLeft int
	lastBackend  uint32
	spans        []span // in use, by first slot
	slots        uint64
}

type span struct{ first, end uint64 }

func newRoom(have *Tables, serviceOf []uint64) room {
	r := room{
		services:     make(map[uint32]bool, len(have.Services)),
		serviceLimit: have.Limits.Services,
		vips:         int(have.Limits.VIPs) - len(have.VIPs),
		backends:     serviceOf,
		slots:        uint64(len(have.Slots)),
	}
	for index := 1; index < len(serviceOf); index++ {
		if serviceOf[index] == 0 {
			r.backendsLeft++
		} else {
			r.lastBackend = uint32(index)
		}
	}
	for id, entry := range have.Services {
		r.services[id] = true
		r.spans = append(r.spans, span{uint64(entry.FirstSlot), uint64(entry.FirstSlot) + uint64(entry.SlotCount)})
	}
	// A VIP's id and slots are in use even where the record of them was lost.
	for _, entry := range have.VIPs {
		if !r.services[entry.Service] {
			r.services[entry.Service] = true
			r.spans = append(r.spans, span{uint64(entry.FirstSlot), uint64(entry.FirstSlot) + uint64(entry.SlotCount)})
		}
	}
	slices.SortFunc(r.spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	return r
}

// service returns a free id without taking it.
func (r *room) service() (uint32, bool) {
	if len(r.services) >= int(r.serviceLimit) {
		return 0, false
	}
	for r.services[r.nextService] {
		r.nextService++
	}
	return r.nextService, r.nextService < r.serviceLimit
}

// span returns the first slot of a free range without taking it, and where in
// spans it belongs.
func (r *room) span(count uint32) (first uint32, at int, found bool) {
	end := uint64(0)
	for i, used := range r.spans {
		if used.first >= end+uint64(count) {
			return uint32(end), i, true
		}
		end = max(end, used.end)
	}
	return uint32(end), len(r.spans), end+uint64(count) <= r.slots
}

// open takes a service's id and range, which were found free.
func (r *room) open(id, first, count uint32) {
	r.services[id] = true
	_, at, _ := r.span(count)
	r.spans = slices.Insert(r.spans, at, span{uint64(first), uint64(first) + uint64(count)})
}

// backend takes an index; there must be one left. It looks on from the highest
// in use, so that an index rests after it was freed.
func (r *room) backend() uint32 {
	for {
		r.lastBackend++
		if int(r.lastBackend) >= len(r.backends) {
			r.lastBackend = 1
		}
		if r.backends[r.lastBackend] == 0 {
			r.backends[r.lastBackend] = 1
			r.backendsLeft--
			return r.lastBackend
		}
	}
}
