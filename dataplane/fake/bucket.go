package fake

import "github.com/pointsman/pointsman/dataplane"

// bucket is where one flow can be remembered, at one second.
type bucket struct {
	flows  dataplane.Flows // FlowsPerBucket words of the flow table
	digest uint64
	second uint32
	events *dataplane.FlowCounters
}

const digestBits = 29

func (b *Balancer) bucket(p Packet, second uint32) bucket {
	hash := b.hash.Flow(p.Client, p.VIP)
	buckets := uint64(len(b.tables.Flows) / dataplane.FlowsPerBucket)
	first := hash % buckets * dataplane.FlowsPerBucket
	return bucket{
		flows:  b.tables.Flows[first:][:dataplane.FlowsPerBucket],
		digest: hash >> (64 - digestBits),
		second: second,
		events: &b.Events,
	}
}

// own finds the entry of the flow itself. Where there are two, which takes a race of
// CPUs or an expired one that nobody swept away in time, it is the last.
func (b *bucket) own() (place int, found bool) {
	for place := len(b.flows) - 1; place >= 0; place-- {
		if word := b.flows[place]; b.living(word) && dataplane.Flow(word).Digest() == b.digest {
			return place, true
		}
	}
	return 0, false
}

// room finds the last entry that is free or expired.
func (b *bucket) room() (place int, found bool) {
	for place := len(b.flows) - 1; place >= 0; place-- {
		if !b.living(b.flows[place]) {
			return place, true
		}
	}
	return 0, false
}

func (b *bucket) living(word uint64) bool {
	return word != 0 && !dataplane.Flow(word).Expired(b.second)
}

// recall returns the backend of a remembered flow, which lives on from now.
func (b *bucket) recall(idleSeconds uint32) (backend uint32, known bool) {
	place, found := b.own()
	if !found {
		return 0, false
	}
	backend = dataplane.Flow(b.flows[place]).Backend()
	b.put(place, backend, false, idleSeconds)
	return backend, true
}

// remember puts the flow into its own entry, or into one of no living flow.
func (b *bucket) remember(backend uint32, synOnly bool, seconds uint32) bool {
	if place, found := b.own(); found {
		b.put(place, backend, synOnly, seconds)
		return true
	}
	place, found := b.room()
	if !found {
		b.events.Refused++
		return false
	}
	b.events.Inserted++
	if b.flows[place] != 0 {
		b.events.Evicted++
	}
	b.put(place, backend, synOnly, seconds)
	return true
}

func (b *bucket) put(place int, backend uint32, synOnly bool, seconds uint32) {
	b.flows[place] = uint64(dataplane.MakeFlow(b.digest, backend, synOnly, b.second+seconds))
}

func (b *bucket) forget() {
	if place, found := b.own(); found {
		b.flows[place] = 0
	}
}
