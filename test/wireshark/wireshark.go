// Package wireshark lets Wireshark's dissectors judge frames: a third opinion
// beside the oracle's and the table's. It finds what is malformed and what has a
// wrong checksum, in tunnels and in what ICMP errors quote, too.
package wireshark

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Installed tells whether there is a tshark to ask.
func Installed() bool {
	_, err := exec.LookPath("tshark")
	return err == nil
}

// Objections are what tshark says against frames, by their place among them. Each
// frame is judged by itself: fragments are not put together.
func Objections(frames [][]byte) (map[int]string, error) {
	var all [][]byte
	var of []int // the frame that one of all came from
	for i, frame := range frames {
		for _, part := range layersOf(frame) {
			all, of = append(all, part), append(of, i)
		}
	}
	found, err := objections(all, wrong, "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE")
	said := make(map[int]string)
	for n, text := range found {
		said[of[n]] += text
	}
	return said, err
}

// InCapture are what tshark says against the frames of a capture file. Fragments
// are put together, so that the checksum of the whole is judged.
func InCapture(path string) ([]string, error) {
	frames, err := Frames(path)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, frame := range frames {
		all = append(all, layersOf(frame)...)
	}
	found, err := objections(all, "("+wrong+") && !"+linuxWrites)
	var texts []string
	for n, text := range found {
		texts = append(texts, fmt.Sprintf("%s: %x", text, all[n]))
	}
	return texts, err
}

// Only what the program writes is dissected: what clients say to each other on some
// port is none of its business, and random in tests.
var protocols = []string{
	"frame", "eth", "ethertype", "vlan", "ieee8021ad", "ip", "ipv6", "ipv6.hopopts", "ipv6.dstopts", "ipv6.routing",
	"ipv6.fraghdr", "ah", "tcp", "udp", "icmp", "icmpv6",
}

// A quote in an ICMP error is cut off, and its TCP checksum and its lengths cannot
// be right then; one that is whole is judged by itself.
const wrong = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0 ||" +
	" icmpv6.checksum.status == 0 || ((tcp.checksum.status == 0 || _ws.expert.severity == error) && !icmp && !icmpv6)"

// A TCP sum of zero as Linux writes it where no card does (skb_checksum_help): in
// the other form of zero, which is right and which tshark does not like.
const linuxWrites = "(tcp.checksum == 0xffff)"

func objections(frames [][]byte, filter string, settings ...string) (map[int]string, error) {
	dir, err := os.MkdirTemp("", "pointsman-tshark-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	capture := filepath.Join(dir, "frames.pcap")
	if err := write(capture, frames); err != nil {
		return nil, err
	}
	if err := dissectOnlyOurs(dir); err != nil {
		return nil, err
	}
	args := append([]string{"-n", "-r", capture, "-Y", filter, "-T", "fields", "-e", "frame.number", "-e", "frame.protocols", "-e", "_ws.expert.message",
		"-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
		"-o", "udp.ignore_ipv6_zero_checksum:TRUE", "-o", "tcp.analyze_sequence_numbers:FALSE"}, settings...)
	out, err := tshark(dir, args...)
	if err != nil {
		return nil, err
	}
	found := make(map[int]string)
	for line := range strings.Lines(out) {
		number, text, _ := strings.Cut(line, "\t")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("tshark says %q", line)
		}
		found[n-1] = strings.TrimSpace(text)
	}
	return found, nil
}

// tshark runs with the preferences of a folder, not with those of a user.
func tshark(dir string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	tshark := exec.Command("tshark", args...)
	tshark.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+dir)
	tshark.Stdout, tshark.Stderr = &stdout, &stderr
	if err := tshark.Run(); err != nil {
		return "", fmt.Errorf("asking tshark: %w: %s", err, stderr.String())
	}
	return stdout.String(), nil
}

// dissectOnlyOurs disables all protocols but ours.
func dissectOnlyOurs(dir string) error {
	known, err := tshark(dir, "-G", "protocols")
	if err != nil {
		return err
	}
	var disabled strings.Builder
	for line := range strings.Lines(known) {
		if fields := strings.Split(strings.TrimSpace(line), "\t"); len(fields) > 2 && !slices.Contains(protocols, fields[2]) {
			fmt.Fprintln(&disabled, fields[2])
		}
	}
	return os.WriteFile(filepath.Join(dir, "disabled_protos"), []byte(disabled.String()), 0o600)
}

func write(path string, frames [][]byte) error {
	var file bytes.Buffer
	to := pcapgo.NewWriter(&file)
	if err := to.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		return err
	}
	for _, frame := range frames {
		if err := to.WritePacket(gopacket.CaptureInfo{CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
			return err
		}
	}
	return os.WriteFile(path, file.Bytes(), 0o600)
}
