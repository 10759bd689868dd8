package config

import "testing"

func TestNoSecretIsLegible(t *testing.T) {
	for line, want := range map[string]string{
		`  token = "hush"`:                           `  token = "****"`,
		`hash_secret = 7 + "hush"`:                   `hash_secret = 7 + "****"`,
		`token = "hush" + "hush"`:                    `token = "****" + "****"`,
		`token = ["hush", "hush"]`:                   `token = ["****", "****"]`,
		`token = upper("hush")`:                      `token = upper("****")`,
		`token = "hu\"sh`:                            `token = "******`,
		`tokne: "hush`:                               `tokne: "****`,
		`{"token": "hush", "address": "there"}`:      `{"token": "****", "address": "there"}`,
		`{"consul": {"token": "hush"}, "a": "b"}`:    `{"consul": {"token": "****"}, "a": "b"}`,
		`token = env("NAME")`:                        `token = env("NAME")`,
		`"token": "${env(\"NAME\")}", "a": "b"`:      `"token": "${env(\"NAME\")}", "a": "b"`,
		`token_file = "/etc/token"`:                  `token_file = "/etc/token"`,
		`secret = "hüsh", my_secret_b = "hush", x=1`: `secret = "****", my_secret_b = "****", x=1`,
		"a = 1\x1b[2J":                               "a = 1?[2J",
	} {
		if got := legible([]byte(line)); got != want {
			t.Errorf("%s is shown as %s, want %s", line, got, want)
		}
	}
}
