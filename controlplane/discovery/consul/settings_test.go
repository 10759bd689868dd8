package consul

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func environ(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestSettingsSayWhereTheyComeFrom(t *testing.T) {
	for _, row := range []struct {
		promise string
		file    Settings
		env     func(string) string
		want    []string
	}{
		{"nothing given", Settings{}, environ(), []string{
			"address 127.0.0.1:8500 from the default"}},
		{"the environment is heard, and named", Settings{},
			environ("CONSUL_HTTP_ADDR", "https://consul:8501", "CONSUL_HTTP_TOKEN", "s3cret", "CONSUL_CACERT", "/ca.pem", "CONSUL_NAMESPACE", "shop"), []string{
				"address https://consul:8501 from the environment (CONSUL_HTTP_ADDR)",
				"token (secret) from the environment (CONSUL_HTTP_TOKEN)",
				"ca_file /ca.pem from the environment (CONSUL_CACERT)",
				"namespace shop from the environment (CONSUL_NAMESPACE)"}},
		{"the file wins", Settings{Address: "http://127.0.0.1:1", Token: "mine"},
			environ("CONSUL_HTTP_ADDR", "http://elsewhere:1", "CONSUL_HTTP_TOKEN", "other", "CONSUL_HTTP_TOKEN_FILE", "/other"), []string{
				"address http://127.0.0.1:1 from the configuration",
				"token (secret) from the configuration"}},
		{"a token file wins over a token", Settings{Address: "a:1", Token: "mine", TokenFile: "/f"}, environ(), []string{
			"address a:1 from the configuration",
			"token_file /f from the configuration"}},
		{"switching verification off is said aloud", Settings{Address: "https://a:1"}, environ("CONSUL_HTTP_SSL_VERIFY", "false"), []string{
			"address https://a:1 from the configuration",
			"verification of certificates off from the environment (CONSUL_HTTP_SSL_VERIFY)"}},
		{"a password is not shown", Settings{Address: "a:1"}, environ("CONSUL_HTTP_AUTH", "user:pass"), []string{
			"address a:1 from the configuration",
			"basic authentication (secret) from the environment (CONSUL_HTTP_AUTH)"}},
	} {
		t.Run(row.promise, func(t *testing.T) {
			var got []string
			for _, o := range resolve(row.file, row.env).origins {
				got = append(got, o.String())
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("origins are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(row.want, "\n"))
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, row := range []struct {
		address string
		ssl     bool
		want    string
	}{
		{"127.0.0.1:8500", false, "http 127.0.0.1:8500"},
		{"127.0.0.1:8501", true, "https 127.0.0.1:8501"},
		{"http://127.0.0.1:8500", false, "http 127.0.0.1:8500"},
		{"http://127.0.0.1:8501", true, "https 127.0.0.1:8501"},
		{"https://consul/gateway", false, "https consul/gateway"},
		{"unix:///run/consul.sock", true, "unix /run/consul.sock"},
	} {
		scheme, rest := splitAddress(row.address, row.ssl)
		if got := scheme + " " + rest; got != row.want {
			t.Errorf("%s with CONSUL_HTTP_SSL=%t is %q, want %q", row.address, row.ssl, got, row.want)
		}
	}
	if _, err := open(Settings{Address: "ftp://consul"}, environ(), nil); err == nil {
		t.Error("an unknown scheme is accepted")
	}
}

func TestTokenFilesAreReadAgainAndAMomentWithoutOneIsBridged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var tokens tokens
	if _, err := tokens.read(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("reading a file that is not there: %v", err)
	}
	write("")
	if _, err := tokens.read(path); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("reading an empty file: %v", err)
	}
	for _, step := range []struct{ text, want string }{{" one\n", "one"}, {"two", "two"}, {"", "two"}, {"three", "three"}} {
		write(step.text)
		if got, err := tokens.read(path); got != step.want || err != nil {
			t.Errorf("after writing %q the token is %q (%v), want %q", step.text, got, err, step.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := tokens.read(path); got != "three" || err != nil {
		t.Errorf("without the file the token is %q (%v), want the last", got, err)
	}
}

func TestPlainHTTPCarriesOnlySoManyWatches(t *testing.T) {
	for _, row := range []struct {
		settings       Settings
		watches        int
		warns, refuses bool
	}{
		{Settings{}, 100, false, false},
		{Settings{}, 101, true, false},
		{Settings{}, 150, true, false},
		{Settings{}, 151, false, true},
		{Settings{MaxWatches: 500}, 500, true, false},
		{Settings{MaxWatches: 500}, 501, false, true},
		{Settings{Address: "https://127.0.0.1:8501"}, 5000, false, false},
	} {
		c, err := open(row.settings, environ(), nil)
		if err != nil {
			t.Fatal(err)
		}
		warning, err := c.CheckWatches(row.watches)
		if (warning != "") != row.warns || (err != nil) != row.refuses {
			t.Errorf("%d watches with %+v: warning %q, error %v", row.watches, row.settings, warning, err)
		}
		limits := fmt.Sprintf("limits { http_max_conns_per_client = %d }", max(400, row.watches+200))
		if text := fmt.Sprint(warning, err); (row.warns || row.refuses) && !strings.Contains(text, limits) {
			t.Errorf("%q does not say %q", text, limits)
		}
	}
}

func TestClientCertificatesNeedBothFiles(t *testing.T) {
	for _, s := range []Settings{
		{Address: "https://a:1", CertFile: "/c"},
		{Address: "https://a:1", KeyFile: "/k"},
		{Address: "https://a:1", CertFile: "/nonexistent", KeyFile: "/nonexistent"},
		{Address: "https://a:1", CAFile: "/nonexistent"},
	} {
		if _, err := open(s, environ(), nil); err == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}
