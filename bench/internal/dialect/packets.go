package dialect

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of packets, MQTT 2.2.1.
const (
	packetConnect     = 1
	packetConnack     = 2
	packetPublish     = 3
	packetPuback      = 4
	packetSubscribe   = 8
	packetSuback      = 9
	packetUnsubscribe = 10
	packetUnsuback    = 11
	packetPingresp    = 13
	packetDisconnect  = 14
)

const (
	mqttLevel = 4 // MQTT 3.1.2.2: of version 3.1.1

	// MQTT 3.1.2.3.
	connectClean    = 0x02
	connectPassword = 0x40
	connectUser     = 0x80

	flagsRequest  = 0x02 // MQTT 3.8.1 and 3.10.1
	subackFailure = 0x80 // MQTT 3.9.3
)

var errShortPacket = errors.New("the server sent a packet that is too short or too long for its type")

// appendFixed appends the fixed header of a packet of size more bytes.
func appendFixed(dst []byte, kind, flags byte, size int) []byte {
	return binary.AppendUvarint(append(dst, kind<<4|flags), uint64(size))
}

func appendShort(dst []byte, number uint16) []byte { return binary.BigEndian.AppendUint16(dst, number) }

func appendString(dst []byte, s string) []byte { return append(appendShort(dst, uint16(len(s))), s...) }

func cutString(in []byte) (s, rest []byte, ok bool) {
	if len(in) < 2 {
		return nil, nil, false
	}
	size := int(binary.BigEndian.Uint16(in))
	if len(in) < 2+size {
		return nil, nil, false
	}
	return in[2 : 2+size], in[2+size:], true
}

// cutPacket gives the first packet of a stream, with its header. A packet may go over several messages of WebSocket.
func cutPacket(in []byte, _ bool) (packet []byte, n int, err error) {
	if len(in) == 0 {
		return nil, 0, nil
	}
	length, size, err := cutSize(in[1:])
	if n = 1 + size + length; err != nil || size == 0 || len(in) < n {
		return nil, 0, err
	}
	return in[:n], n, nil
}

// cutSize reads the number of bytes behind a fixed header, MQTT 2.2.3; n is 0 if it is not there as a whole.
func cutSize(in []byte) (length, n int, err error) {
	for i := range min(len(in), 4) {
		length |= int(in[i]&0x7f) << (7 * i)
		if in[i] < 0x80 {
			if length > longestMessage {
				return 0, 0, fmt.Errorf("the server sent a packet of %d bytes, %d are taken", length, longestMessage)
			}
			return length, i + 1, nil
		}
	}
	if len(in) >= 4 {
		return 0, 0, errors.New("the server sent a packet whose length has more than 4 bytes")
	}
	return 0, 0, nil
}

// connackReason says what a return code means, MQTT 3.2.2.3.
func connackReason(code byte) string {
	switch code {
	case 1:
		return "the server does not speak this version of MQTT"
	case 2:
		return "the client's identifier"
	case 3:
		return "the server is not available"
	case 4:
		return "user name or password"
	case 5:
		return "not authorized"
	}
	return fmt.Sprintf("code %d", code)
}
