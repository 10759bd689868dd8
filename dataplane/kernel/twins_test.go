package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

const historySecret = 42

// twins are the program and its model, which go through the same histories.
type twins struct {
	clock
	kernel   *DataPlane
	held     *dataplane.Tables // the kernel's
	model    *fake.Balancer
	tables   *dataplane.Tables // the model's
	writer   *fake.Tables
	frames   map[fake.Packet][]byte
	received []byte
	counted  dataplane.FlowCounters
}

// newTwins loads the program once for many histories.
func newTwins(t testing.TB, dir string, flows uint32) *twins {
	t.Helper()
	plane, err := Open(Options{
		PinDir: dir, Secret: historySecret, Limits: fake.HistoryLimits, Slots: fake.HistorySlots, Flows: flows,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plane.Close() })
	return &twins{kernel: plane, frames: make(map[fake.Packet][]byte), received: make([]byte, 256)}
}

// reset makes both empty.
func (w *twins) reset() (err error) {
	if w.held, err = w.kernel.Tables(); err != nil {
		return err
	}
	var steps []dataplane.Step
	for vip := range w.held.VIPs {
		steps = append(steps, dataplane.DeleteVIP{VIP: vip})
	}
	for addr := range w.held.Addresses {
		steps = append(steps, dataplane.DeleteAddress{Addr: addr})
	}
	for prefix := range w.held.Prefixes {
		steps = append(steps, dataplane.DeletePrefix{Prefix: prefix})
	}
	steps = append(steps, dataplane.SeeWide{On: false})
	for id := range w.held.Services {
		steps = append(steps, dataplane.DeleteService{ID: id})
	}
	for index := range w.held.Backends {
		steps = append(steps, dataplane.DeleteBackend{Index: index})
	}
	for ifindex := range w.held.Egress {
		steps = append(steps, dataplane.DeleteEgress{Interface: ifindex})
	}
	if err := dataplane.Apply(w.held, steps, w.kernel); err != nil {
		return err
	}
	clear(w.held.Slots)
	clear(w.held.Conditions)
	clear(w.held.Flows)

	w.writer = fake.New(fake.HistoryLimits, fake.HistorySlots)
	if w.tables, err = w.writer.Tables(); err != nil {
		return err
	}
	w.tables.Flows = make(dataplane.Flows, len(w.held.Flows))
	w.model = fake.NewBalancer(w.tables, dataplane.NewHash(historySecret))
	counters, err := w.kernel.Counters()
	w.counted = counters.Flows
	return err
}

func (w *twins) Tables() *dataplane.Tables { return w.tables }

func (w *twins) Apply(step dataplane.Step) error {
	steps := []dataplane.Step{step}
	return errors.Join(dataplane.Apply(w.tables, steps, w.writer), dataplane.Apply(w.held, steps, w.kernel))
}

func (w *twins) Sweep(second uint32) dataplane.Census {
	alive := func(index uint32) bool {
		entry, known := w.tables.Backends[index]
		return known && !entry.Dead
	}
	w.held.Flows.Sweep(second, alive)
	return w.tables.Flows.Sweep(second, alive)
}

// Send holds the program to the model: the same backend, and the same memory
// afterwards.
func (w *twins) Send(p fake.Packet, second uint32) (uint32, error) {
	verdict, err := w.run(p, second)
	if err != nil {
		return 0, err
	}
	chosen := w.model.Send(p, second)
	_, _, known := w.tables.Find(p.VIP)
	switch {
	case chosen != dataplane.NoBackend:
		mac := w.tables.Backends[chosen].Hop.NextHopMAC
		if verdict != xdpTX || [6]byte(w.received) != mac {
			return 0, fmt.Errorf("the program sends it to %x with verdict %d, and the model to backend %d at %x",
				w.received[:6], verdict, chosen, mac)
		}
	case known && verdict != xdpDrop, !known && verdict != xdpPass:
		return 0, fmt.Errorf("the program sends it to %x with verdict %d, and the model to nobody", w.received[:6], verdict)
	}
	return chosen, w.sameMemory()
}

// run gives a packet to the program at a second.
func (w *twins) run(p fake.Packet, second uint32) (verdict uint32, err error) {
	frame, known := w.frames[p]
	if !known {
		if frame, err = frameOf(p); err != nil {
			return 0, err
		}
		w.frames[p] = frame
	}
	if err := w.show(second, w.kernel); err != nil {
		return 0, err
	}
	options := ebpf.RunOptions{Data: frame, DataOut: w.received[:cap(w.received)]}
	if verdict, err = w.kernel.objects.PointsmanLb.Run(&options); err != nil {
		return 0, err
	}
	w.received = options.DataOut
	return verdict, w.stood()
}

func (w *twins) sameMemory() error {
	switch {
	case !slices.Equal(w.held.Slots, w.tables.Slots):
		return fmt.Errorf("the owners are %d in the kernel, and %d in the model", w.held.Slots, w.tables.Slots)
	case !slices.Equal(w.held.Conditions, w.tables.Conditions):
		return fmt.Errorf("the conditions are %d in the kernel, and %d in the model", w.held.Conditions, w.tables.Conditions)
	case !slices.Equal(w.held.Flows, w.tables.Flows):
		return fmt.Errorf("the flows are %x in the kernel, and %x in the model", w.held.Flows, w.tables.Flows)
	}
	return nil
}

// same compares all that is held, as the kernel tells it.
func (w *twins) same() error {
	held, err := w.kernel.Tables()
	if err != nil {
		return err
	}
	counters, err := w.kernel.Counters()
	if err != nil {
		return err
	}
	events := dataplane.FlowCounters{
		Inserted: counters.Flows.Inserted - w.counted.Inserted,
		Evicted:  counters.Flows.Evicted - w.counted.Evicted,
		Refused:  counters.Flows.Refused - w.counted.Refused,
	}
	switch {
	case !maps.Equal(held.Services, w.tables.Services):
		return fmt.Errorf("the services are %+v in the kernel, and %+v in the model", held.Services, w.tables.Services)
	case !maps.Equal(held.VIPs, w.tables.VIPs):
		return fmt.Errorf("the VIPs are %+v in the kernel, and %+v in the model", held.VIPs, w.tables.VIPs)
	case !maps.Equal(held.Prefixes, w.tables.Prefixes) || held.SeesWide != w.tables.SeesWide:
		return fmt.Errorf("wide VIPs are looked for (%t) in %v in the kernel, and (%t) in %v in the model",
			held.SeesWide, held.Prefixes, w.tables.SeesWide, w.tables.Prefixes)
	case !maps.Equal(held.Backends, w.tables.Backends):
		return fmt.Errorf("the backends are %+v in the kernel, and %+v in the model", held.Backends, w.tables.Backends)
	case !maps.Equal(held.Addresses, w.tables.Addresses):
		return fmt.Errorf("the VIPs' addresses are %v in the kernel, and %v in the model", held.Addresses, w.tables.Addresses)
	case !maps.Equal(held.Egress, w.tables.Egress):
		return fmt.Errorf("the egress is %+v in the kernel, and %+v in the model", held.Egress, w.tables.Egress)
	case events != w.model.Events:
		return fmt.Errorf("the flow table counts %+v in the kernel, and %+v in the model", events, w.model.Events)
	}
	return w.sameMemory()
}

// frameOf is a packet as it arrives. Those of TCP that are no SYNs are data.
func frameOf(p fake.Packet) ([]byte, error) {
	var network gopacket.SerializableLayer
	etherType := layers.EthernetTypeIPv4
	protocol := layers.IPProtocol(p.VIP.Protocol)
	from, to := p.Client.Addr().AsSlice(), p.VIP.Addr.AsSlice()
	network = &layers.IPv4{Version: 4, TTL: 57, Protocol: protocol, SrcIP: from, DstIP: to}
	if p.VIP.Addr.Is6() {
		etherType = layers.EthernetTypeIPv6
		network = &layers.IPv6{Version: 6, HopLimit: 57, NextHeader: protocol, SrcIP: from, DstIP: to}
	}
	var transport gopacket.SerializableLayer = &layers.TCP{
		SrcPort: layers.TCPPort(p.Client.Port()), DstPort: layers.TCPPort(p.VIP.Port), SYN: p.SYN, ACK: !p.SYN, PSH: !p.SYN,
	}
	if p.VIP.Protocol == dataplane.UDP {
		transport = &layers.UDP{SrcPort: layers.UDPPort(p.Client.Port()), DstPort: layers.UDPPort(p.VIP.Port)}
	}
	buffer := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: clientMAC, DstMAC: balancerMAC, EthernetType: etherType},
		network, transport, gopacket.Payload("data"))
	return buffer.Bytes(), err
}
