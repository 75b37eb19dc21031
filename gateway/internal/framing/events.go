package framing

import "bytes"

// AppendEvent appends a frame of the JSON codec as one event of a stream of Server-Sent Events: a line of data, and the empty
// line that has it dispatched. JSON has line ends only in their escaped form, so one line it always is.
func AppendEvent(dst, frame []byte) []byte {
	dst = append(dst, "data: "...)
	dst = append(dst, frame...)
	return append(dst, "\n\n"...)
}

// AppendEvents appends frames as they stand in a stream of the JSON codec, one a line.
func AppendEvents(dst, lines []byte) []byte {
	for line := range bytes.SplitSeq(lines, []byte("\n")) {
		if len(line) > 0 {
			dst = AppendEvent(dst, line)
		}
	}
	return dst
}

// EventsSize is what AppendEvents appends for so many frames that take size bytes with their line ends.
func EventsSize(size, frames int) int { return size + frames*len("data: \n") }

// EventData gives the frames that are in a stream of events of ours, one a line: what AppendEvents was given.
func EventData(events []byte) (lines []byte) {
	for line := range bytes.SplitSeq(events, []byte("\n")) {
		if data, found := bytes.CutPrefix(line, []byte("data: {")); found {
			lines = append(append(append(lines, '{'), data...), '\n')
		}
	}
	return lines
}
