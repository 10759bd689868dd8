//go:build kernels

package devices

import (
	"errors"
	"regexp"
	"strings"
)

// readme is what README.md says to type on a backend without the program.
type readme struct {
	devices          map[string]string // by name: how to add it
	gue              string            // for the host, to take packets out of UDP
	perDevice        string            // for each device; it is called pm44 there
	withTheBinary    string            // the last step
	withoutTheBinary string            // the same by hand
}

const heading = "## Backends without the program\n"

var (
	device = regexp.MustCompile("`(ip link add (\\w+) [^`]+)`")
	block  = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
)

func parse(text string) (readme, error) {
	_, section, found := strings.Cut(text, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	d := readme{devices: map[string]string{}}
	for _, match := range device.FindAllStringSubmatch(section, -1) {
		d.devices[match[2]] = match[1]
	}
	blocks := block.FindAllStringSubmatch(section, -1)
	if !found || len(d.devices) == 0 || len(blocks) != 3 {
		return d, errors.New("README.md has changed: a section with devices and three blocks of commands was expected")
	}
	d.gue = blocks[0][1]
	for line := range strings.Lines(blocks[1][1]) {
		if strings.HasPrefix(line, "pointsman ") {
			d.withTheBinary += line
		} else {
			d.perDevice += line
		}
	}
	d.withoutTheBinary = blocks[2][1]
	return d, nil
}
