package consul

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// Query says which of Consul's instances stand behind one of the operator's
// services. Empty fields fall back to the client's settings and then the agent's.
type Query struct {
	Service string   // the name in Consul's catalog
	Tags    []string // an instance must carry all of them
	Filter  string   // Consul's expression language, applied by the agent

	Datacenter string
	Namespace  string // Consul Enterprise
	Partition  string // Consul Enterprise
	Peer       string // a cluster peer's imported service

	TaggedAddress string   // which tagged address to use where an instance has it
	PortName      string   // which of an instance's named ports (Consul 1.22) to use
	Resolve       bool     // look names up in DNS instead of rejecting the instance
	IgnoreChecks  []string // ids or names of checks whose word does not count, for emergencies
	TokenFile     string   // read for this query instead of the client's token
}

// Equal says whether a running watch on q also answers o.
func (q Query) Equal(o Query) bool { return reflect.DeepEqual(q, o) }

// Problem says what is wrong with q as it stands, without asking Consul; empty is good.
func (q Query) Problem() string {
	switch {
	case q.Service == "":
		return "service is empty; give the service's name in Consul's catalog"
	case strings.ContainsAny(q.Service, "/?#"):
		return fmt.Sprintf("service %q cannot be a name in Consul's catalog", q.Service)
	case q.TaggedAddress == "virtual" || q.TaggedAddress == "consul-virtual":
		// It names all instances at once and is only reachable inside the mesh.
		return fmt.Sprintf("tagged_address %q is never a backend; use lan_ipv4, lan_ipv6, wan_ipv4, wan_ipv6 or one of your own", q.TaggedAddress)
	}
	return ""
}

func (q Query) String() string {
	s := q.Service
	for _, tag := range q.Tags {
		s = tag + "." + s
	}
	if q.Datacenter != "" {
		s += "@" + q.Datacenter
	}
	return s
}

// Nobody says for people that no instance answers to q.
func (q Query) Nobody() string {
	text := fmt.Sprintf("Consul knows no instance of %q", q.Service)
	if q.Datacenter != "" {
		text += fmt.Sprintf(" in datacenter %q", q.Datacenter)
	}
	if len(q.Tags) > 0 {
		text += fmt.Sprintf(" with tags %s", strings.Join(q.Tags, ", "))
	}
	if q.Filter != "" {
		text += " that passes the filter"
	}
	return text
}

// Ask is how to put a query: as a plain read or as a watch.
type Ask struct {
	Index      uint64        // 0 is a plain read; else wait for a change past this index
	Wait       time.Duration // how long a watch may wait
	Consistent bool          // have the leader confirm its leadership first
}

// Near, MergeCentralConfig and SamenessGroup are left alone: each of them turns
// the agent's streaming off. UseCache is too: a cached answer hides errors (W1).
func (q Query) options(ask Ask, defaults effective, token string) *api.QueryOptions {
	return &api.QueryOptions{
		Datacenter:        or(q.Datacenter, defaults.datacenter),
		Namespace:         or(q.Namespace, defaults.namespace),
		Partition:         or(q.Partition, defaults.partition),
		Peer:              q.Peer,
		Filter:            q.Filter,
		WaitIndex:         ask.Index,
		WaitTime:          ask.Wait,
		RequireConsistent: ask.Consistent,
		Token:             token,
	}
}

func or(first, second string) string {
	if first != "" {
		return first
	}
	return second
}
