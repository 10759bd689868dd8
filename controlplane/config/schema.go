package config

import "github.com/hashicorp/hcl/v2"

// schema says which keys and blocks a block may hold, and so what
// docs/configuration.md must describe. What is not here is an error.
type schema struct {
	keys   []string
	blocks []blockType
}

// blockType is a kind of block. Label is what its label means, "" for none.
type blockType struct {
	name, label string
}

// schemas are those of all blocks, by their path from the file's top.
var schemas = map[string]schema{
	"": {
		keys:   []string{"interfaces", "vip_pools", "hash_secret", "state_dir", "http_listen", "backend_metrics", "nat_sources", "nat_ports"},
		blocks: []blockType{{"limits", ""}, {"nat_timeouts", ""}, {"consul", ""}, {"service", "name"}},
	},
	"limits":       {keys: []string{"services", "vips", "backends", "slots", "flows", "connections", "icmp_errors"}},
	"nat_timeouts": {keys: []string{"handshake", "established", "half_closed", "time_wait", "udp_first", "udp"}},
	"consul": {keys: []string{
		"address", "token", "token_file", "ca_file", "cert_file", "key_file", "tls_server_name",
		"datacenter", "namespace", "partition", "max_watches",
	}},
	"service": {
		keys: []string{
			"listen", "forward", "port_mapping", "slots", "panic_threshold",
			"tracking", "affinity", "idle_timeout", "drain_timeout", "slow_start",
		},
		blocks: []blockType{{"consul", ""}, {"backend", "address"}, {"health", "kind"}, {"quic", ""}},
	},
	"service.consul": {keys: []string{
		"service", "tags", "filter", "datacenter", "namespace", "partition", "peer",
		"tagged_address", "port_name", "resolve", "ignore_checks", "warning", "allowed_backends",
	}},
	"service.backend":     {keys: []string{"weight", "quic_id"}},
	"service.quic":        {keys: []string{"offset", "length"}},
	"service.health.tcp":  {keys: probeKeys},
	"service.health.http": {keys: append(httpKeys, probeKeys...)},
	"service.health.https": {
		keys: append([]string{"tls_skip_verify", "tls_server_name", "ca_file"}, append(httpKeys, probeKeys...)...),
	},
}

var (
	probeKeys = []string{"port", "interval", "timeout", "rise", "fall", "jitter"}
	httpKeys  = []string{"path", "host", "expect_status"}
)

// names are all that may be written in the block.
func (s schema) names() []string {
	var names []string
	names = append(names, s.keys...)
	for _, b := range s.blocks {
		names = append(names, b.name)
	}
	return names
}

// hcl is the schema as the parser wants it.
func (s schema) hcl() *hcl.BodySchema {
	out := &hcl.BodySchema{}
	for _, key := range s.keys {
		out.Attributes = append(out.Attributes, hcl.AttributeSchema{Name: key})
	}
	for _, b := range s.blocks {
		header := hcl.BlockHeaderSchema{Type: b.name}
		if b.label != "" {
			header.LabelNames = []string{b.label}
		}
		out.Blocks = append(out.Blocks, header)
	}
	return out
}
