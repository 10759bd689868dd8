// Package systemd stands for systemd on the hosts of a lab, which are namespaces and have
// none: it runs what unit files say, as far as they say it in the words below, and answers
// systemctl. What a unit says to shut its service in is not done but for capabilities and
// groups; that the shipped unit works under a real systemd is shown in test/unit.
package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Unit is a service as its file and the files beside it describe it.
type Unit struct {
	Name     string // without .service
	Path     string // of the file
	settings map[string]string
}

// places are where units are, those that go before others first.
var places = []string{"/etc/systemd/system", "/usr/lib/systemd/system"}

func find(name string) (Unit, error) {
	name = strings.TrimSuffix(name, ".service")
	for _, place := range places {
		path := filepath.Join(place, name+".service")
		if _, err := os.Stat(path); err == nil {
			return Read(path)
		}
	}
	return Unit{}, fmt.Errorf("there is no unit %s.service", name)
}

// Read reads a unit's file, and those that add to it.
func Read(path string) (Unit, error) {
	u := Unit{Name: strings.TrimSuffix(filepath.Base(path), ".service"), Path: path, settings: map[string]string{}}
	added, err := filepath.Glob(path + ".d/*.conf")
	if err != nil {
		return u, err
	}
	for _, file := range append([]string{path}, added...) {
		text, err := os.ReadFile(file)
		if err != nil {
			return u, err
		}
		for line := range strings.Lines(string(text)) {
			key, value, given := strings.Cut(strings.TrimSpace(line), "=")
			if given && !strings.HasPrefix(key, "#") {
				u.settings[key] = value
			}
		}
	}
	if u.settings["ExecStart"] == "" || strings.ContainsAny(u.settings["ExecStart"]+u.settings["ExecReload"], `"'\%`) {
		return u, fmt.Errorf("%s: what it executes is not understood here", path)
	}
	return u, nil
}

// command is a line of the unit, as the unit's service runs.
func (u Unit) command(key string, mainPID int) []string {
	line := strings.ReplaceAll(u.settings[key], "$MAINPID", strconv.Itoa(mainPID))
	return append(u.Confined(), strings.Fields(line)...)
}

// Confined are the words that start a command with the unit's capabilities and groups;
// none, where it says nothing of them.
func (u Unit) Confined() []string {
	set, bounded := u.settings["CapabilityBoundingSet"]
	if !bounded {
		return nil
	}
	words := Under(strings.Fields(strings.ToLower(strings.ReplaceAll(set, "CAP_", "")))...)
	if group := u.settings["SupplementaryGroups"]; group != "" {
		words = append(words, "--groups", group)
	}
	return words
}

// Under are the words that start a command with these capabilities only.
func Under(capabilities ...string) []string {
	bounds := "-all"
	for _, capability := range capabilities {
		bounds += ",+" + capability
	}
	return []string{"setpriv", "--inh-caps=-all", "--no-new-privs", "--bounding-set", bounds}
}

// makePlaces makes the directories that are the unit's own.
func (u Unit) makePlaces() error {
	for key, parent := range map[string]string{"RuntimeDirectory": "/run", "StateDirectory": "/var/lib"} {
		name := u.settings[key]
		if name == "" {
			continue
		}
		mode, err := strconv.ParseUint(u.settings[key+"Mode"], 8, 12)
		if err != nil {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Join(parent, name), os.FileMode(mode)); err != nil {
			return err
		}
	}
	return nil
}

// pause is how long a service that has failed is left alone; 100 ms is systemd's.
func (u Unit) pause() time.Duration {
	seconds, err := strconv.ParseFloat(u.settings["RestartSec"], 64)
	if err != nil {
		return 100 * time.Millisecond
	}
	return time.Duration(seconds * float64(time.Second))
}

// link is where a unit is noted that starts with its machine.
func (u Unit) link() string {
	return filepath.Join(wants, u.Name+".service")
}

const wants = "/etc/systemd/system/multi-user.target.wants"
