// Package mapped has what those share who keep a bbolt file.
//
// bbolt maps its file into memory and believes what it finds there: damage is a panic, or a fault of the mapped page, in the middle of a
// read. Guarded makes errors of both, so that a file that can be made again, or done without, does not end the process.
package mapped

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// ErrDamaged: the file can't be what bbolt has written.
var ErrDamaged = errors.New("the mapped file is damaged")

// Guarded calls fn and makes an ErrDamaged of a panic or a fault in it. Panics of our own, whose text begins with BUG, pass.
func Guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if text, ok := p.(string); ok && strings.HasPrefix(text, "BUG") {
				panic(p)
			}
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return fn()
}
