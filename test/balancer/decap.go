package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/pointsman/pointsman/test/lab"
)

// decap is where pointsman decap is on.
type decap struct {
	host  *lab.Host
	iface string
}

// Decap makes a host a backend of the VIPs: by pointsman decap, for what comes
// from the lab's balancers only.
func (b *Balancer) Decap(ctx context.Context, h *lab.Host, vips ...netip.Addr) error {
	var from []netip.Addr
	for _, balancer := range b.Lab.Balancers() {
		from = append(from, balancer.Addrs()...)
	}
	return b.DecapOn(ctx, h, "eth0", from, vips...)
}

// DecapOn is Decap on another interface, for what comes from the addresses given.
func (b *Balancer) DecapOn(ctx context.Context, h *lab.Host, iface string, from []netip.Addr, vips ...netip.Addr) error {
	var texts []string
	for _, vip := range vips {
		texts = append(texts, vip.String())
	}
	return b.decapOn(ctx, h, iface, from, texts)
}

// DecapPrefixes is Decap for VIPs that are prefixes.
func (b *Balancer) DecapPrefixes(ctx context.Context, h *lab.Host, vips ...netip.Prefix) error {
	var from []netip.Addr
	for _, balancer := range b.Lab.Balancers() {
		from = append(from, balancer.Addrs()...)
	}
	var texts []string
	for _, vip := range vips {
		texts = append(texts, vip.String())
	}
	return b.decapOn(ctx, h, "eth0", from, texts)
}

func (b *Balancer) decapOn(ctx context.Context, h *lab.Host, iface string, from []netip.Addr, vips []string) error {
	args := append([]string{"decap", "--interface", iface}, b.decapPlaces(h)...)
	for _, vip := range vips {
		args = append(args, "--vip", vip)
	}
	for _, addr := range from {
		args = append(args, "--from", addr.String())
	}
	b.decaps = append(b.decaps, decap{h, iface})
	_, err := h.Run(ctx, b.Binary, args...)
	return err
}

// Follow makes a host a backend of what a file of its own says, by a pointsman decap
// that stays. What it says goes to log.
func (b *Balancer) Follow(h *lab.Host, config string, log io.Writer, flags ...string) (*lab.Process, error) {
	path := filepath.Join(b.Lab.Dir, h.Name+".hcl")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	args := append([]string{"decap", "--interface", "eth0", "--config", path}, b.decapPlaces(h)...)
	for _, balancer := range b.Lab.Balancers() {
		for _, addr := range balancer.Addrs() {
			args = append(args, "--from", addr.String())
		}
	}
	if !slices.Contains(b.decaps, decap{h, "eth0"}) {
		b.decaps = append(b.decaps, decap{h, "eth0"})
	}
	cmd := exec.Command(b.Binary, append(args, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	return h.Start(cmd)
}

// Mappings are those that a host has in effect.
func (b *Balancer) Mappings(ctx context.Context, h *lab.Host) ([]Mapping, error) {
	args := append([]string{"decap", "--mappings", "--interface", "eth0", "-o", "json"}, b.decapPlaces(h)[:2]...)
	text, err := h.Run(ctx, b.Binary, args...)
	if err != nil {
		return nil, err
	}
	var document struct{ Mappings []Mapping }
	return document.Mappings, json.Unmarshal(text, &document)
}

// Mapping is a row of pointsman decap --mappings.
type Mapping struct {
	VIP       string
	LocalPort uint16 `json:"local_port"`
	Named     bool
}

func (b *Balancer) decapOff(ctx context.Context) error {
	var errs []error
	for _, d := range b.decaps {
		args := append([]string{"decap", "--off", "--interface", d.iface}, b.decapPlaces(d.host)...)
		_, err := d.host.Run(ctx, b.Binary, args...)
		errs = append(errs, err)
	}
	b.decaps = nil
	return errors.Join(errs...)
}

// decapPlaces are the host's own, where a real one would take the defaults: the
// hosts of a lab share the file systems of this machine.
func (b *Balancer) decapPlaces(h *lab.Host) []string {
	return []string{"--pin-dir", b.decapPinDir(h), "--state-file", filepath.Join(b.Lab.Dir, h.Name+".json")}
}

func (b *Balancer) decapPinDir(h *lab.Host) string { return filepath.Join(b.Lab.PinDir, h.Name) }
