package config_test

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/pointsman/pointsman/controlplane/config"
)

const consulService = `interfaces = ["eth0", "eth7"]
vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]

consul {}

service "web" {
  listen = ["192.0.2.10:443/tcp"]

  consul {
    filter = "Service.Meta.version = 2"
  }
}
`

func parse(t *testing.T, src string) *config.File {
	t.Helper()
	f, err := config.Parse("/etc/pointsman/pointsman.hcl", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestAMistakeThatIsFoundLaterIsShownAtItsPlace(t *testing.T) {
	f := parse(t, consulService)
	e := f.Mistake(f.Services[0].Consul.At("filter"), "Consul refuses the filter", "it is compared with ==")
	same(t, e.Error(), `/etc/pointsman/pointsman.hcl:10:14: Consul refuses the filter
   10 |     filter = "Service.Meta.version = 2"
                     ^ it is compared with ==`)
}

func TestAKeyThatIsNotGivenIsShownAtItsBlock(t *testing.T) {
	f := parse(t, consulService)
	same(t, f.Services[0].Consul.At("datacenter").String(), "/etc/pointsman/pointsman.hcl:9:3")
	same(t, f.Services[0].At("").String(), "/etc/pointsman/pointsman.hcl:6:9")
	same(t, f.At("vip_pools").String(), "/etc/pointsman/pointsman.hcl:2:14")
}

func TestAHostMustHaveTheInterfacesAndMustNotLiveInAPool(t *testing.T) {
	f := parse(t, consulService)
	errs := f.CheckHost(
		[]string{"lo", "eth0", "eth1"},
		[]netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("::ffff:10.0.0.1/104")},
		[]netip.Addr{netip.MustParseAddr("2001:db8:10::1"), netip.MustParseAddr("fe80::1%eth0")},
	)
	same(t, errs.Error(), `/etc/pointsman/pointsman.hcl:1:23: this host has no interface "eth7"
    1 | interfaces = ["eth0", "eth7"]
                              ^ did you mean "eth0"?
/etc/pointsman/pointsman.hcl:2:15: the pool 192.0.2.0/24 holds 192.0.2.1, an address of this host
    2 | vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
                      ^ a pool is for VIPs alone: choose prefixes that nothing else uses
/etc/pointsman/pointsman.hcl:2:31: the pool 2001:db8:10::/64 holds 2001:db8:10::1, a gateway of this host
    2 | vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
                                      ^ a pool is for VIPs alone: choose prefixes that nothing else uses`)
}

func TestAHostWithoutFaultHasNoErrors(t *testing.T) {
	f := parse(t, consulService)
	errs := f.CheckHost([]string{"eth0", "eth7"}, []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}, nil)
	if len(errs) != 0 {
		t.Error(errs)
	}
}

func TestAnInterfaceThatResemblesNoneIsAnsweredWithThoseThereAre(t *testing.T) {
	errs := parse(t, `interfaces = ["bond-front"]`).CheckHost([]string{"lo", "eth0"}, nil, nil)
	if !strings.HasSuffix(errs.Error(), `^ this host has "lo", "eth0"`) {
		t.Error(errs)
	}
}

func TestAMissingFileIsAMistakeOfThePath(t *testing.T) {
	_, err := config.Load("/nonexistent/pointsman.hcl")
	var errs config.Errors
	if !errors.As(err, &errs) {
		t.Fatalf("the error is a %T", err)
	}
	same(t, errs.Error(), "/nonexistent/pointsman.hcl: the file cannot be read: no such file or directory\n  write it there, or name another one")
}

func TestASecretIsNeverShown(t *testing.T) {
	for name, src := range map[string]string{
		"beside a mistake":        `consul { token = "b1gs33cr3t", oops = 1 }`,
		"under a mistyped key":    "consul {\n  tokn = \"b1gs33cr3t\"\n}",
		"in a wrong list":         "consul {\n  token = [\"b1gs33cr3t\"]\n}",
		"in a file of wrong type": `{"consul": {"token": "b1gs33cr3t"}}`,
		"with a quote in it":      "consul {\n  token = \"b1g\\\"s33cr3t\" 5\n}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("a.hcl", []byte(src))
			if err == nil || strings.Contains(err.Error(), "s33cr3t") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestInputThatWouldOverflowTheParserIsRefused(t *testing.T) {
	const much = 1 << 16
	for name, src := range map[string]string{
		"a.hcl":  "a = " + strings.Repeat("(", much),
		"b.hcl":  strings.Repeat("a {", much),
		"c.hcl":  "a = " + strings.Repeat("!", much) + "true",
		"d.hcl":  "a = 1" + strings.Repeat("+1", much),
		"e.hcl":  `a = ` + strings.Repeat(`"${`, much),
		"f.hcl":  "a = " + strings.Repeat("true ? 1 : ", much) + "1",
		"g.hcl":  `a = "` + strings.Repeat(`%{if true}`, much) + `"`,
		"h.hcl":  strings.Repeat(" ", 17<<20),
		"a.json": strings.Repeat("[", much),
		"b.json": strings.Repeat(`{"a":`, much),
		"c.json": `{"interfaces": ["${` + strings.Repeat("(", much) + `"]}`,
		"d.json": `{"interfaces": ["${` + strings.Repeat(`\u0028`, much) + `"]}`,
		"e.json": `{"interfaces": ["${` + strings.Repeat("!", much) + `"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := config.Parse(name, []byte(src)); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

// FuzzParse holds that no input makes the parser panic, and that whatever is
// refused is refused with a place and a reason.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{consulService, `{"interfaces": ["${env(\"PATH\")}"]}`, `service "" { listen = [null] }`, "\x00\xff{"} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	specs, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, spec := range specs {
		archive, err := txtar.ParseFile(spec)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			f.Add(file.Data, filepath.Ext(file.Name) == ".json")
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, json bool) {
		name := "fuzz.hcl"
		if json {
			name = "fuzz.json"
		}
		file, err := config.Parse(name, src)
		if err == nil {
			file.CheckHost(nil, nil, nil)
			return
		}
		errs, ok := err.(config.Errors)
		if !ok || len(errs) == 0 {
			t.Fatalf("refused with %#v", err)
		}
		for _, e := range errs {
			if e.File != name || e.Summary == "" {
				t.Errorf("%#v has no file or no reason", e)
			}
		}
		_ = errs.Error()
	})
}
