package consul

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Settings say how to reach the agent. What is left empty is taken from the
// environment variables that Consul's own command reads, and then from defaults.
type Settings struct {
	Address    string // "https://127.0.0.1:8501", "http://…", "unix:///…" or host:port
	Token      string
	TokenFile  string // read again for every request; wins over Token
	CAFile     string // PEM; empty with no CAPath: the system's
	CAPath     string
	CertFile   string // client certificate and key, read again for every handshake
	KeyFile    string
	ServerName string // the name in the agent's certificate, where the address does not say it
	Datacenter string
	Namespace  string
	Partition  string
	MaxWatches int // how many watches plain HTTP may carry; 0 is PlainLimit
}

// Origin is one setting in effect and where it came from. Value is "(secret)"
// where the value is one.
type Origin struct {
	Setting string // as in the configuration file: "address", "token", …
	Value   string
	From    string // "the configuration", "the environment (CONSUL_HTTP_ADDR)" or "the default"
}

func (o Origin) String() string {
	return fmt.Sprintf("%s %s from %s", o.Setting, o.Value, o.From)
}

// InEnvironment tells whether the configuration and the defaults had no say.
func (o Origin) InEnvironment() bool { return strings.HasPrefix(o.From, fromEnvironment) }

const (
	fromFile        = "the configuration"
	fromEnvironment = "the environment"
	fromDefault     = "the default"
)

// effective is Settings after the environment has been heard.
type effective struct {
	scheme, address      string // scheme is http, https or unix
	token, tokenFile     string
	caFile, caPath       string
	certFile, keyFile    string
	serverName           string
	skipVerify           bool
	datacenter           string
	namespace, partition string
	basicUser, basicPass string
	maxWatches           int
	origins              []Origin
}

// resolve merges settings and environment. The file wins over the environment
// for each setting by itself; a token in the file also beats a token file of
// the environment, else a stray variable would replace the operator's choice.
func resolve(s Settings, getenv func(string) string) effective {
	e := effective{maxWatches: s.MaxWatches, datacenter: s.Datacenter}
	take := func(setting, value, variable, fallback string) string {
		switch env := getenv(variable); {
		case value != "":
			e.say(setting, value, fromFile)
			return value
		case env != "":
			e.say(setting, env, fromEnvironment+" ("+variable+")")
			return env
		case fallback != "":
			e.say(setting, fallback, fromDefault)
		}
		return fallback
	}
	address := take("address", s.Address, api.HTTPAddrEnvName, "127.0.0.1:8500")
	e.scheme, e.address = splitAddress(address, truth(getenv(api.HTTPSSLEnvName)))
	if s.Token == "" || s.TokenFile != "" {
		e.tokenFile = take("token_file", s.TokenFile, api.HTTPTokenFileEnvName, "")
	}
	if e.tokenFile == "" {
		e.token = take("token", s.Token, api.HTTPTokenEnvName, "")
	}
	if e.scheme == "https" {
		e.caFile = take("ca_file", s.CAFile, api.HTTPCAFile, "")
		e.caPath = take("ca_path", s.CAPath, api.HTTPCAPath, "")
		e.certFile = take("cert_file", s.CertFile, api.HTTPClientCert, "")
		e.keyFile = take("key_file", s.KeyFile, api.HTTPClientKey, "")
		e.serverName = take("server_name", s.ServerName, api.HTTPTLSServerName, "")
		if v := getenv(api.HTTPSSLVerifyEnvName); v != "" && !truth(v) {
			e.skipVerify = true
			e.say("verification of certificates", "off", fromEnvironment+" ("+api.HTTPSSLVerifyEnvName+")")
		}
	}
	e.namespace = take("namespace", s.Namespace, api.HTTPNamespaceEnvName, "")
	e.partition = take("partition", s.Partition, api.HTTPPartitionEnvName, "")
	if auth := getenv(api.HTTPAuthEnvName); auth != "" {
		e.basicUser, e.basicPass, _ = strings.Cut(auth, ":")
		e.say("basic authentication", auth, fromEnvironment+" ("+api.HTTPAuthEnvName+")")
	}
	return e
}

func (e *effective) say(setting, value, from string) {
	if setting == "token" || setting == "basic authentication" {
		value = "(secret)"
	}
	e.origins = append(e.origins, Origin{Setting: setting, Value: value, From: from})
}

// splitAddress follows Consul's command: a scheme in the address, else
// CONSUL_HTTP_SSL, else plain HTTP; and like it an explicit http:// does not
// undo CONSUL_HTTP_SSL.
func splitAddress(address string, tls bool) (scheme, rest string) {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		scheme, rest = "http", address
	}
	if scheme == "http" && tls {
		scheme = "https"
	}
	return scheme, rest
}

func truth(s string) bool {
	v, err := strconv.ParseBool(s)
	return err == nil && v
}

func environment(name string) string { return os.Getenv(name) }
