package doctor

import (
	"cmp"
	"fmt"
	"strings"
)

const (
	consulSilent     Kind = "consul-unreachable"
	consulLeaderless Kind = "consul-no-leader"
	consulUntrusted  Kind = "consul-certificate"
	consulToken      Kind = "consul-token"
	consulRights     Kind = "consul-rights"
	consulQuery      Kind = "consul-query"
	consulFull       Kind = "consul-connections"
)

var consulRules = []rule{
	{[]Kind{consulSilent, consulLeaderless, consulUntrusted, consulToken, consulRights, consulQuery}, findFaults},
	{[]Kind{consulFull}, findFewConnections},
}

// The reasons of package discovery/consul, as status has them.
var faultKinds = map[string]Kind{
	"403": consulToken, "no token": consulToken, "filtered": consulRights, "429": consulFull,
	"no leader": consulLeaderless, "no data": consulLeaderless,
	"unreachable": consulSilent, "bad answer": consulSilent,
	"certificate": consulUntrusted, "bad query": consulQuery,
}

// unknownDatacenter is what servers say of a datacenter that they have not heard of. A
// daemon waits for it as for a leader: it may yet come. An operator has first to see
// whether the name is right.
const unknownDatacenter = "No path to datacenter"

// findFaults says each kind once: what ails one question ails most.
func findFaults(f Facts) (found []Finding) {
	if f.Consul == nil {
		return nil
	}
	said := map[Kind]bool{}
	for _, fault := range f.Consul.Faults {
		kind := faultKinds[fault.Reason]
		if strings.Contains(fault.What, unknownDatacenter) {
			kind = consulQuery
		}
		if kind == "" || kind == consulFull || said[kind] {
			continue
		}
		said[kind] = true
		advice := fault.Advice
		if kind == consulToken && f.Consul.TokenFile == "" {
			advice = `and name it in the file's consul block: token_file = "` + usualToken + `"`
		}
		found = append(found, Finding{Failure, kind, fault.About, fault.What, f.mendConsul(kind), advice})
	}
	return found
}

// usualToken is where the README puts it.
const usualToken = "/etc/pointsman/consul.token"

func (f Facts) mendConsul(kind Kind) string {
	const policy = `(consul acl policy read -name pointsman-read || consul acl policy create -name pointsman-read -rules 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }') > /dev/null && `
	switch kind {
	case consulSilent:
		if f.Consul.Here {
			return "systemctl start consul"
		}
		return "curl -sS " + quote(f.Consul.Address+"/v1/status/leader")
	case consulLeaderless:
		return "consul operator raft list-peers"
	case consulUntrusted:
		return "curl -sSv " + quote(f.Consul.Address+"/v1/status/leader")
	case consulToken:
		file := quote(cmp.Or(f.Consul.TokenFile, usualToken))
		return policy + "umask 077 && cat /proc/sys/kernel/random/uuid > " + file +
			" && consul acl token create -description pointsman -policy-name pointsman-read -secret $(cat " + file + ")"
	case consulRights:
		return policy + "consul acl token update -id " + cmp.Or(f.Consul.Accessor, "ACCESSOR") + " -append-policy-name pointsman-read"
	}
	return f.Program + " check --consul " + quote(f.Config.Path)
}

// Of the connections that an agent takes from one address, which others on the host
// want, too: their health checks fail where there are none left.
const (
	usualLimit  = 200
	othersShare = 100
)

func findFewConnections(f Facts) []Finding {
	c := f.Consul
	if c == nil {
		return nil
	}
	limit := cmp.Or(c.Limit, usualLimit)
	finding := Finding{Level: Warning, Kind: consulFull, About: c.Address,
		What:   fmt.Sprintf("%d services are watched over plain HTTP, which takes a connection each, and the agent takes %d from one address: others on this host, such as health checks, need theirs", c.Watches, limit),
		Mend:   fmt.Sprintf(`echo 'limits { http_max_conns_per_client = %d }' > /etc/consul.d/pointsman-limits.hcl && consul reload`, max(2*usualLimit, c.Watches+usualLimit)),
		Advice: "or give consul an https:// address: then all watches share a few connections"}
	for _, fault := range c.Faults {
		if faultKinds[fault.Reason] == consulFull {
			finding.Level, finding.What = Failure, fault.What
			return []Finding{finding}
		}
	}
	if c.Encrypted || c.Watches+othersShare <= limit {
		return nil
	}
	if c.Watches >= limit {
		finding.Level = Failure
	}
	return []Finding{finding}
}
