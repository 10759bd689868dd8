package config_test

import (
	"encoding"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/pointsman/pointsman/controlplane/config"
)

var update = flag.Bool("update", false, "write what the specs get into their want files")

// TestSpecs reads every archive in testdata: its comment is the promise, its
// *.hcl and *.json files are loaded (as a directory where there are several),
// its env file is the environment, and its want file is what must come out:
// every mistake as an operator sees it, or the configuration with its defaults.
func TestSpecs(t *testing.T) {
	specs, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(specs) == 0 {
		t.Fatalf("looking for specs: %v, %d found", err, len(specs))
	}
	for _, spec := range specs {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(spec, "testdata/"), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(spec)
			if err != nil {
				t.Fatal(err)
			}
			got := load(t, archive)
			for i, file := range archive.Files {
				if file.Name != "want" {
					continue
				}
				if *update {
					archive.Files[i].Data = []byte(got)
					if err := os.WriteFile(spec, txtar.Format(archive), 0o644); err != nil {
						t.Fatal(err)
					}
				} else if want := string(file.Data); got != want {
					t.Errorf("%sgot:\n%s\nwant:\n%s", archive.Comment, got, want)
				}
				return
			}
			t.Fatal("the archive has no want file")
		})
	}
}

func load(t *testing.T, archive *txtar.Archive) string {
	dir := t.TempDir()
	var inputs []string
	for _, file := range archive.Files {
		switch filepath.Ext(file.Name) {
		case ".hcl", ".json":
			name := filepath.Join(dir, file.Name)
			if err := os.WriteFile(name, file.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			inputs = append(inputs, name)
		}
		if file.Name == "env" {
			for _, line := range strings.Fields(string(file.Data)) {
				name, value, _ := strings.Cut(line, "=")
				t.Setenv(name, value)
			}
		}
	}
	path := dir
	if len(inputs) == 1 {
		path = inputs[0]
	}
	f, err := config.Load(path)
	if err != nil {
		if _, all := err.(config.Errors); !all {
			t.Errorf("the error is a %T, not config.Errors", err)
		}
		return strings.ReplaceAll(strings.ReplaceAll(err.Error(), dir+"/", ""), dir, "DIR") + "\n"
	}
	return summary(f)
}

// summary is a configuration, one line a field; what is zero is left out.
func summary(f *config.File) string {
	var out strings.Builder
	summarise(&out, "", reflect.ValueOf(*f))
	return out.String()
}

func summarise(out *strings.Builder, path string, v reflect.Value) {
	if v.IsZero() {
		return
	}
	if text, ok := v.Interface().(encoding.TextMarshaler); ok {
		raw, _ := text.MarshalText()
		fmt.Fprintf(out, "%s = %s\n", path, raw)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		summarise(out, path, v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			summarise(out, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if field.IsExported() && field.Type != reflect.TypeFor[config.Place]() && field.Type != reflect.TypeFor[config.Position]() {
				name := path + "." + field.Name
				if field.Anonymous {
					name = path
				}
				summarise(out, strings.TrimPrefix(name, "."), v.Field(i))
			}
		}
	default:
		fmt.Fprintf(out, "%s = %v\n", path, v.Interface())
	}
}
