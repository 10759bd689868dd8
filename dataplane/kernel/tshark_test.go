package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pointsman/pointsman/test/oracle/wild"
	"github.com/pointsman/pointsman/test/packet"
	"github.com/pointsman/pointsman/test/wireshark"
)

// crossing is a frame before the program and after it.
type crossing struct {
	test    string
	in, out []byte
}

// crossings are what the program sent in all tests. Wireshark judges them at the
// end, at once, since it takes a second to start.
var crossings struct {
	sync.Mutex
	all []crossing
}

func noteCrossing(t testing.TB, in, out []byte) {
	crossings.Lock()
	defer crossings.Unlock()
	crossings.all = append(crossings.all, crossing{t.Name(), bytes.Clone(in), bytes.Clone(out)})
}

func TestMain(m *testing.M) {
	status := m.Run()
	if len(crossings.all) > 0 && wireshark.Installed() {
		well, text, err := judgeCrossings(crossings.all)
		if err != nil || text != "" {
			fmt.Fprintf(os.Stderr, "tshark judged what the program sent in these tests: %v\n%s", err, text)
			status = 1
		} else {
			fmt.Fprintf(os.Stderr, "tshark finds nothing wrong with the %d frames that the program made of well-formed ones\n", well)
		}
	}
	os.Exit(status)
}

// judgeCrossings tells of the frames that are malformed or have a wrong checksum
// although what came in was well-formed, and how many came in so.
func judgeCrossings(all []crossing) (well int, text string, err error) {
	var frames [][]byte
	for _, c := range all {
		frames = append(frames, c.in, c.out)
	}
	said, err := wireshark.Objections(frames)
	if err != nil {
		return 0, "", err
	}
	var found strings.Builder
	for i, c := range all {
		if _, objected := said[2*i]; objected {
			continue
		}
		objection, objected := said[2*i+1]
		// A UDP length of zero lies, and is translated as it is. In IPv6 tshark takes it for
		// a jumbogram's (RFC 2675, section 4).
		if strings.Contains(objection, "Bad length value 0 < 8") {
			continue
		}
		well++
		if objected && found.Len() < 10_000 {
			fmt.Fprintf(&found, "in %s, of\n%x the program made\n%x: %s\n", c.test, c.in, c.out, objection)
		}
	}
	return well, found.String(), nil
}

func needTshark(t *testing.T) {
	t.Helper()
	if !wireshark.Installed() {
		t.Skip("there is no tshark: apt-get install tshark")
	}
}

// Worlds and packets of the oracle's dice: every way, every header, and no two alike.
func TestPrivilegedTsharkFindsNothingWrongWithARandomSample(t *testing.T) {
	needTshark(t)
	const enough = 4000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), seed)))
	court, dice := newCourt(t), make([]byte, 14000)
	var sent []crossing
	for len(sent) < enough {
		random.Read(dice)
		sent = append(sent, court.send(t, dice)...)
	}
	well, text, err := judgeCrossings(sent)
	if err != nil {
		t.Fatal(err)
	}
	if text != "" {
		t.Errorf("tshark objects:\n%s", text)
	}
	if t.Logf("%d of %d frames were made of well-formed ones", well, len(sent)); well < enough/2 {
		t.Errorf("they prove little")
	}
}

// A judge that finds no fault with anything proves nothing.
func TestTsharkObjectsToWhatIsWrong(t *testing.T) {
	needTshark(t)
	segment := ip4(protocol(packet.TCPIP)).Packet(data(80).bytes)
	spoil := func(frame []byte, at int) []byte {
		frame = bytes.Clone(frame)
		frame[at] ^= 0x55
		return frame
	}
	inGUE := func(inner []byte) []byte {
		tunnel := ip4(ofUDP).Packet(packet.UDP(0xc123, 6080, packet.GUE(packet.IPIP, inner)))
		copy(tunnel[26:], []byte{0, 0}) // no UDP checksum
		return header().Frame(tunnel)
	}
	quoting := func(quote []byte) []byte { return frame(ip4(), control(3, 4, quote)) }
	whole := frame(ip4(), data(80))
	frames := [][]byte{
		whole, inGUE(segment), quoting(segment), quoting(segment[:28]), frame(ip6(part(0, true)), udp(80, 64)),
		spoil(whole, 14+10), spoil(whole, len(whole)-1), spoil(inGUE(segment), 14+20+8+4+10), inGUE(spoil(segment, len(segment)-1)),
		quoting(spoil(segment, len(segment)-1)), spoil(quoting(segment), 14+20+2), put(whole, 2, 0x40), spoil(frame(ip6(), udp(80, 64)), 70),
	}
	const right = 5
	said, err := wireshark.Objections(frames)
	if err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		if objection, objected := said[i]; objected != (i >= right) {
			t.Errorf("of frame %d it says %q:\n%x", i, objection, frames[i])
		}
	}
}

// send lets the packets of a case come, and returns what leaves.
func (c *court) send(t *testing.T, dice []byte) (sent []crossing) {
	t.Helper()
	drawn := wild.NewCase(dice, c.at)
	if err := c.enter(drawn.World); err != nil {
		t.Fatal(err)
	}
	for event, more := drawn.Next(); more; event, more = drawn.Next() {
		if err := c.apply(event.Changes...); err != nil {
			t.Fatal(err)
		}
		event.Headroom = c.room(event.Arrival)
		verdict, out, err := c.run(event.Arrival)
		if err != nil && !errors.Is(err, errClockMoved) {
			t.Fatal(err)
		}
		if verdict == xdpTX || verdict == xdpRedirect {
			sent = append(sent, crossing{fmt.Sprintf("world %d", drawn.Number), event.Frame, bytes.Clone(out)})
		}
	}
	return sent
}
