package doctor

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool asks drivers by the ioctl of linux/ethtool.h. What one does not answer
// stays unknown.
type ethtool struct{ socket int }

func openEthtool() (ethtool, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ethtool{}, fmt.Errorf("opening a socket to ask drivers by: %w", err)
	}
	return ethtool{socket}, nil
}

func (e ethtool) close() { unix.Close(e.socket) }

func (e ethtool) look(name string, link *Link) {
	if info, err := unix.IoctlGetEthtoolDrvinfo(e.socket, name); err == nil {
		link.Driver = unix.ByteSliceToString(info.Driver[:])
	}
	link.Channels = e.channels(name)
	link.Features = e.features(name)
}

// ask hands the kernel a struct that begins with its command.
func (e ethtool) ask(name string, question unsafe.Pointer) bool {
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq
	}{data: question}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(question)
	return errno == 0
}

func (e ethtool) channels(name string) Channels {
	c := struct{ command, mostRX, mostTX, mostOther, mostCombined, rx, tx, other, combined uint32 }{command: unix.ETHTOOL_GCHANNELS}
	if !e.ask(name, unsafe.Pointer(&c)) {
		return Channels{}
	}
	return Channels{RX: int(c.rx), TX: int(c.tx), Combined: int(c.combined), MostRX: int(c.mostRX), MostTX: int(c.mostTX), MostCombi: int(c.mostCombined)}
}

// Of the kernel's names for features.
const (
	mostFeatures  = 256
	featureLength = 32 // ETH_GSTRING_LEN
	featureNames  = 4  // ETH_SS_FEATURES
)

// features are those of the kernel, by the names of ethtool -k's long form.
func (e ethtool) features(name string) map[string]bool {
	count := struct {
		command, reserved uint32
		mask              uint64
		length            uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << featureNames}
	if !e.ask(name, unsafe.Pointer(&count)) || count.length == 0 || count.length > mostFeatures {
		return nil
	}
	names := struct {
		command, set, length uint32
		text                 [mostFeatures * featureLength]byte
	}{command: unix.ETHTOOL_GSTRINGS, set: featureNames, length: count.length}
	states := struct {
		command, blocks uint32
		block           [mostFeatures / 32]struct{ available, requested, active, never uint32 }
	}{command: unix.ETHTOOL_GFEATURES, blocks: (count.length + 31) / 32}
	if !e.ask(name, unsafe.Pointer(&names)) || !e.ask(name, unsafe.Pointer(&states)) {
		return nil
	}
	all := map[string]bool{}
	for i := range int(count.length) {
		text := unix.ByteSliceToString(names.text[i*featureLength : (i+1)*featureLength])
		all[strings.TrimSpace(text)] = states.block[i/32].active>>(i%32)&1 == 1
	}
	return all
}
