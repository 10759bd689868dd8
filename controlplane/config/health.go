package config

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
)

func (d *decoder) health(service *block, from *hcl.Block) *Check {
	kind := from.Labels[0]
	if !slices.Contains(kinds(), kind) {
		d.report(blockPosition(from), fmt.Sprintf("health check %q%s is not supported", kind, service.where()), choose(kind, kinds()))
		return nil
	}
	b := service.child(from, "service.health."+kind)
	c := &Check{
		Place: b.Place, Kind: kind, Interval: DefaultInterval, Rise: DefaultRise, Fall: DefaultFall, Jitter: DefaultJitter,
	}
	set(b, "port", &c.Port, whole[uint16](1, 65535))
	set(b, "interval", &c.Interval, span(100*time.Millisecond, time.Hour))
	c.Timeout = min(DefaultTimeout, c.Interval)
	set(b, "timeout", &c.Timeout, span(10*time.Millisecond, time.Hour))
	set(b, "rise", &c.Rise, whole[int](1, 100))
	set(b, "fall", &c.Fall, whole[int](1, 100))
	set(b, "jitter", &c.Jitter, share(0.5))
	if kind != "tcp" {
		c.Path, c.ExpectStatus = DefaultPath, []StatusRange{{First: 200, Last: 399}}
		set(b, "path", &c.Path, urlPath)
		set(b, "host", &c.Host, name)
		setList(b, "expect_status", &c.ExpectStatus, status)
		set(b, "tls_skip_verify", &c.TLSSkipVerify, flag)
		set(b, "tls_server_name", &c.TLSServerName, name)
		set(b, "ca_file", &c.CAFile, path)
	}
	b.filled("expect_status", "leave the key out to accept 200 to 399")
	if c.Timeout > c.Interval {
		d.report(b.At("timeout"), fmt.Sprintf("timeout %s is longer than interval %s%s", c.Timeout, c.Interval, b.where()),
			"a probe must end before the next one begins")
	}
	return c
}
