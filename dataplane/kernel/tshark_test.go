package kernel

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Wireshark's dissectors are a third opinion on what leaves.
func TestPrivilegedTsharkFindsNothingWrongWithWhatLeaves(t *testing.T) {
	stage := newStage(t)
	var sent [][]byte
	for port := range stageWays {
		for _, in := range [][]byte{
			frame(ip4(), syn(port)), frame(ip6(), data(port)), frame(ip4(options(8)), udp(port, 64), vlan7),
			frame(ip6(chained(hopHeader)), udp(port, 65)), frame(ip4(df), udp(port, 1473)), frame(ip6(), udp(port, 1453)),
			frame(ip4(), control(3, 4, answer4(port))), frame(ip6(), control6(2, 0, answer6(port))),
		} {
			sent = append(sent, stage.send(in).frame)
		}
	}
	for _, in := range [][]byte{frame(ip4(), ping(57)), frame(ip6(), ping6(57), vlan8)} {
		sent = append(sent, stage.send(in).frame)
	}
	if found := objections(t, sent); found != "" {
		t.Errorf("of %d frames tshark objects to\n%s", len(sent), found)
	}
	wrong := stage.send(frame(ip4(), syn(ipipTo4))).frame
	wrong[14+10]++
	if objections(t, [][]byte{wrong}) == "" {
		t.Error("tshark does not object to a wrong IP checksum either")
	}
}

// objections are the frames that are malformed or have a wrong checksum, of
// those that are not cut off as the quote in an error is.
func objections(t *testing.T, frames [][]byte) string {
	t.Helper()
	capture := filepath.Join(t.TempDir(), "sent.pcap")
	if err := os.WriteFile(capture, pcap(frames), 0o600); err != nil {
		t.Fatal(err)
	}
	const wrong = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0 ||" +
		" icmpv6.checksum.status == 0 || (tcp.checksum.status == 0 && !icmp && !icmpv6)"
	out, err := exec.Command("tshark", "-n", "-r", capture, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-o", "tcp.check_checksum:TRUE", "-o", "udp.ignore_ipv6_zero_checksum:TRUE", "-Y", wrong).Output()
	if err != nil {
		t.Fatalf("running tshark: %v", err)
	}
	return string(out)
}

// pcap is a capture of Ethernet frames (draft-ietf-opsawg-pcap).
func pcap(frames [][]byte) []byte {
	file := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	file = append(file, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	for _, frame := range frames {
		file = append(file, make([]byte, 8)...)
		file = binary.LittleEndian.AppendUint32(file, uint32(len(frame)))
		file = append(binary.LittleEndian.AppendUint32(file, uint32(len(frame))), frame...)
	}
	return file
}
