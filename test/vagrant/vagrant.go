// Package vagrant reads a Vagrantfile without Vagrant: which machines it describes, on
// which networks they are, and by what they are made what they are.
package vagrant

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Machine is one that a Vagrantfile describes.
type Machine struct {
	Name, Box, Hostname string
	Networks            []Network
	Provisioners        []Provisioner // in their order
}

// Network is a machine's place on a network.
type Network struct {
	Kind, IP, Netmask string
	Name              string `json:"virtualbox__intnet"` // the same for all that are on it
}

// Provisioner is a file to be put into a machine, or a script to be run in it.
type Provisioner struct {
	Kind, Run           string
	Source, Destination string            // of a file
	Path                string            // of a script, from where the Vagrantfile is
	Env                 map[string]string // of a script
}

// Script is the provisioner that is one.
func (m Machine) Script() Provisioner {
	for _, p := range m.Provisioners {
		if p.Kind == "shell" {
			return p
		}
	}
	return Provisioner{}
}

// vagrant.rb knows of Vagrant what a Vagrantfile uses.
//
//go:embed vagrant.rb
var evaluator []byte

// ErrNoRuby is what Read returns where there is no ruby to evaluate by.
var ErrNoRuby = errors.New("ruby is not here: apt-get install ruby")

// Read evaluates a Vagrantfile in this process's environment and more.
func Read(path string, environment ...string) (all []Machine, err error) {
	ruby, err := exec.LookPath("ruby")
	if err != nil {
		return nil, ErrNoRuby
	}
	var stderr bytes.Buffer
	cmd := exec.Command(ruby, "-", path)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(evaluator), &stderr
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("evaluating %s: %w: %s", path, err, stderr.Bytes())
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var m Machine
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading what %s describes: %w", path, err)
		}
		all = append(all, m)
	}
}
