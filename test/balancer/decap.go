package balancer

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"

	"github.com/pointsman/pointsman/test/lab"
)

// Decap makes a host a backend of the VIPs: by pointsman decap, for what comes
// from the lab's balancers only.
func (b *Balancer) Decap(ctx context.Context, h *lab.Host, vips ...netip.Addr) error {
	args := append([]string{"decap", "--interface", "eth0"}, b.decapPlaces(h)...)
	for _, vip := range vips {
		args = append(args, "--vip", vip.String())
	}
	for _, from := range b.Lab.Balancers() {
		for _, addr := range from.Addrs() {
			args = append(args, "--from", addr.String())
		}
	}
	b.decaps = append(b.decaps, h)
	_, err := h.Run(ctx, b.Binary, args...)
	return err
}

func (b *Balancer) decapOff(ctx context.Context) error {
	var errs []error
	for _, h := range b.decaps {
		args := append([]string{"decap", "--off", "--interface", "eth0"}, b.decapPlaces(h)...)
		_, err := h.Run(ctx, b.Binary, args...)
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
