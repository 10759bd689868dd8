package api

import (
	"encoding/json"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// documented are the documents, by their headings in docs/api.md.
var documented = []any{
	Status{}, Services{}, Backends{}, Overrides{}, Events{}, RateHistory{}, Flows{}, Explanation{}, Plan{}, Drop{},
	OverrideRequest{}, LiftRequest{}, ClearRequest{}, ReloadRequest{}, Reload{}, Problem{},
}

func document(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheDocumentHasWhatIsServedAndNothingElse(t *testing.T) {
	served := map[string]string{}
	web := WebHandler(complete{}, NewTimings(), slog.New(slog.DiscardHandler)).(router)
	for _, one := range slices.Concat(questions(fixed{}), wishes(fixed{}), []route{web["/metrics"]["GET"], web["/"]["GET"], web["/service"]["GET"]}) {
		var parameters []string
		for _, name := range one.parameters() {
			if plain, repeatable := strings.CutSuffix(name, "..."); repeatable {
				parameters = append(parameters, "`"+plain+"` (repeatable)")
			} else if name != "*" {
				parameters = append(parameters, "`"+name+"`")
			}
		}
		where := "both"
		if _, known := web[one.path][one.method]; one.path == "/metrics" || one.path == "/" || one.path == "/service" {
			where = "TCP"
		} else if answer := get(complete{}, one.path); one.method == "GET" && known && answer.Code == 403 {
			where = "socket"
		}
		served[one.method+" "+one.path] = strings.TrimSpace(strings.Join(parameters, ", ") + " | " + where)
	}
	row := regexp.MustCompile("(?m)^\\| `((?:GET|POST) [^`]+)` \\| (.*) \\|$")
	found := map[string]bool{}
	for _, match := range row.FindAllStringSubmatch(document(t), -1) {
		want, known := served[match[1]]
		found[match[1]] = true
		if !known {
			t.Errorf("it has %s, which is not served", match[1])
		}
		if strings.HasPrefix(match[1], "GET") && !strings.HasPrefix(strings.TrimPrefix(match[2], "| "), strings.TrimPrefix(want, "| ")+" |") {
			t.Errorf("of %s it says %q, and served is %q", match[1], match[2], want)
		}
	}
	for path := range served {
		if !found[path] {
			t.Errorf("it lacks %s", path)
		}
	}
}

// Each example is read as strictly as a request, and has every field that there is.
func TestTheDocumentShowsEveryFieldOfEveryDocument(t *testing.T) {
	text := document(t)
	for _, sample := range documented {
		kind := reflect.TypeOf(sample)
		example := regexp.MustCompile("(?s)\n### " + kind.Name() + "\n.*?```json\n(.*?)```").FindStringSubmatch(text)
		if example == nil {
			t.Errorf("it has no example of %s", kind.Name())
			continue
		}
		into := reflect.New(kind).Interface()
		decoder := json.NewDecoder(strings.NewReader(example[1]))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into); err != nil {
			t.Errorf("the example of %s: %v", kind.Name(), err)
		}
		var plain any
		if err := json.Unmarshal([]byte(example[1]), &plain); err != nil {
			t.Error(err)
		}
		for _, missing := range lacking(kind, plain, kind.Name()) {
			t.Errorf("the example lacks %s", missing)
		}
	}
}

// lacking are the fields of a type that an example has not got.
func lacking(kind reflect.Type, example any, at string) (all []string) {
	switch kind.Kind() {
	case reflect.Pointer:
		return lacking(kind.Elem(), example, at)
	case reflect.Slice:
		list, _ := example.([]any)
		if len(list) == 0 {
			return []string{at + "[0]"}
		}
		return lacking(kind.Elem(), list[0], at+"[0]")
	case reflect.Map:
		object, _ := example.(map[string]any)
		for key, value := range object {
			return lacking(kind.Elem(), value, at+"."+key)
		}
		return []string{at + ".*"}
	case reflect.Struct:
		if kind == reflect.TypeFor[time.Time]() {
			return nil
		}
		object, _ := example.(map[string]any)
		for _, field := range reflect.VisibleFields(kind) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.Anonymous || name == "" {
				continue
			}
			value, has := object[name]
			if !has {
				all = append(all, at+"."+name)
				continue
			}
			all = append(all, lacking(field.Type, value, at+"."+name)...)
		}
	}
	return all
}
