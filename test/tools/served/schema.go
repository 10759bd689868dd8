package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// misshapen says what in a dashboard is not as Grafana's own schema has it, as strictly
// as that goes.
func misshapen(path string) (problems []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	known := cog.NewRuntime()
	known.RegisterPanelcfgVariant(stat.VariantConfig())
	known.RegisterPanelcfgVariant(timeseries.VariantConfig())
	known.RegisterDataqueryVariant(prometheus.VariantConfig())
	//lint:ignore SA1019 Grafana 9 takes this model and no later one
	var board grafana.Dashboard
	if err := board.UnmarshalJSONStrict(text); err != nil && err.Error() != "" { // it is never nil
		return strings.Split(err.Error(), "\n"), nil
	}
	// Of other kinds of panels nobody here knows the options. The strict way leaves them out.
	if err := json.Unmarshal(text, &board); err != nil {
		return nil, err
	}
	for _, p := range board.Panels {
		if p.Panel != nil && p.Panel.Type != "stat" && p.Panel.Type != "timeseries" {
			problems = append(problems, fmt.Sprintf("a panel of type %s: register it in schema.go", p.Panel.Type))
		}
	}
	return problems, nil
}
