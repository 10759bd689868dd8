package wireshark

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// layersOf are a frame, and frames of the packets in it that tshark does not look
// at: in GUE, which it has no dissector for, and whole ones that errors quote.
func layersOf(frame []byte) [][]byte {
	all := [][]byte{frame}
	for _, packet := range packetsIn(frame) {
		if inner := framed(packet); inner != nil {
			all = append(all, layersOf(inner)...)
		}
	}
	return all
}

const (
	portOfGUE  = 6080
	sizeOfGUE  = 4
	sizeOfICMP = 8
)

func packetsIn(frame []byte) (packets [][]byte) {
	parsed := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: false, NoCopy: true})
	for _, layer := range parsed.Layers() {
		switch layer := layer.(type) {
		case *layers.UDP:
			if layer.DstPort == portOfGUE && len(layer.Payload) > sizeOfGUE {
				packets = append(packets, layer.Payload[sizeOfGUE:])
			}
		case *layers.ICMPv4:
			if kind := layer.TypeCode.Type(); kind == layers.ICMPv4TypeDestinationUnreachable || kind == layers.ICMPv4TypeTimeExceeded || kind == layers.ICMPv4TypeParameterProblem {
				packets = append(packets, layer.Payload)
			}
		case *layers.ICMPv6:
			if layer.TypeCode.Type() < layers.ICMPv6TypeEchoRequest && len(layer.Payload) > sizeOfICMP-4 {
				packets = append(packets, layer.Payload[sizeOfICMP-4:])
			}
		}
	}
	return packets
}

// framed is a packet that is there as a whole in a frame of its own, else nil.
func framed(packet []byte) []byte {
	link := make([]byte, 12, 14+len(packet))
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		length := int(binary.BigEndian.Uint16(packet[2:]))
		if length <= len(packet) {
			return append(append(link, 0x08, 0x00), packet[:length]...)
		}
	case len(packet) >= 40 && packet[0]>>4 == 6:
		length := 40 + int(binary.BigEndian.Uint16(packet[4:]))
		if length <= len(packet) {
			return append(append(link, 0x86, 0xdd), packet[:length]...)
		}
	}
	return nil
}

// Frames reads a capture, pcap or pcapng.
func Frames(path string) (frames [][]byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var from gopacket.PacketDataSource
	if from, err = pcapgo.NewReader(file); err != nil {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if from, err = pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions); err != nil {
			return nil, err
		}
	}
	for {
		frame, _, err := from.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
}
