package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Numbers of the NBD protocol, all big endian. The specification is doc/proto.md of the reference
// implementation, https://github.com/NetworkBlockDevice/nbd; quotations are from there.
const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454F5054 // "IHAVEOPT"
	magicReply   = 0x0003e889045565a9 // of an option
	magicRequest = 0x25609513
	magicAnswer  = 0x67446698 // of a request

	handshakeFixedNewstyle = 1 << 0
	handshakeNoZeroes      = 1 << 1

	optionExportName = 1
	optionAbort      = 2

	replyAck         = 1
	replyUnsupported = 1<<31 + 1

	transmissionHasFlags = 1 << 0
	transmissionFlush    = 1 << 2
	transmissionFUA      = 1 << 3

	// maxOptionBytes is far over the longest name of a disk, "MUST be no longer than 4096 bytes".
	maxOptionBytes = 8 << 10
)

// errAborted is a client that changed its mind.
var errAborted = errors.New("client ended the handshake")

// handshake speaks the fixed newstyle negotiation up to the point where requests follow. There is one
// disk, whatever its name, and no option but that choice: clients fall back to it.
func (d *Disk) handshake(conn io.ReadWriter) error {
	b := binary.BigEndian.AppendUint64(nil, magicServer)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint16(b, handshakeFixedNewstyle|handshakeNoZeroes)
	if _, err := conn.Write(b); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(conn, binary.BigEndian, &flags); err != nil {
		return err
	}
	// "the server MUST drop the TCP connection if the client sets an unknown flag"
	if flags&^(handshakeFixedNewstyle|handshakeNoZeroes) != 0 {
		return fmt.Errorf("client sets unknown handshake flags %#x", flags)
	}
	for {
		var option struct {
			Magic        uint64
			Kind, Length uint32
		}
		if err := binary.Read(conn, binary.BigEndian, &option); err != nil {
			return err
		}
		if option.Magic != magicOption || option.Length > maxOptionBytes {
			return fmt.Errorf("option is none: magic %#x, %d bytes", option.Magic, option.Length)
		}
		// "The presence of the option length in every option allows the server to skip any options
		// presented by the client that it does not understand."
		if _, err := io.CopyN(io.Discard, conn, int64(option.Length)); err != nil {
			return err
		}
		switch option.Kind {
		case optionExportName:
			_, err := conn.Write(d.appendExport(nil, flags&handshakeNoZeroes == 0))
			return err
		case optionAbort:
			if _, err := conn.Write(appendOptionReply(nil, option.Kind, replyAck)); err != nil {
				return err
			}
			return errAborted
		}
		if _, err := conn.Write(appendOptionReply(nil, option.Kind, replyUnsupported)); err != nil {
			return err
		}
	}
}

// appendExport describes the disk.
func (d *Disk) appendExport(dst []byte, zeroes bool) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(d.Size()))
	dst = binary.BigEndian.AppendUint16(dst, transmissionHasFlags|transmissionFlush|transmissionFUA)
	if zeroes {
		dst = append(dst, make([]byte, 124)...)
	}
	return dst
}

func appendOptionReply(dst []byte, option, reply uint32) []byte {
	dst = binary.BigEndian.AppendUint64(dst, magicReply)
	dst = binary.BigEndian.AppendUint32(dst, option)
	dst = binary.BigEndian.AppendUint32(dst, reply)
	return binary.BigEndian.AppendUint32(dst, 0)
}
