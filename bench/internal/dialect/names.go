package dialect

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// names makes and knows the names of rooms and users: a prefix of the run and a number.
type names struct {
	prefix string
	token  string // of every connection
	key    []byte // signs a token for each; no token and no key: none
}

func newNames(c Config) names {
	return names{prefix: c.Prefix, token: c.Server.Token, key: []byte(c.Server.Key)}
}

// checkPlain refuses a prefix that would have to be escaped in a text, or means something in a topic.
func (n *names) checkPlain() error {
	for _, b := range []byte(n.prefix) {
		if b <= ' ' || b > '~' || bytes.IndexByte([]byte(`"\+#{}`), b) >= 0 {
			return fmt.Errorf("the prefix %q of the rooms has the character %q: use letters, digits and - . _ : /", n.prefix, b)
		}
	}
	return nil
}

func (n *names) append(dst []byte, number int) []byte {
	return strconv.AppendInt(append(dst, n.prefix...), int64(number), 10)
}

func (n *names) room(number int) string { return n.prefix + strconv.Itoa(number) }
func (n *names) user(s *Session) string { return n.prefix + strconv.FormatUint(uint64(s.User), 10) }

// number gives the number of a room by its name, -1 for a name of others.
func (n *names) number(name []byte) int {
	if len(name) <= len(n.prefix) || string(name[:len(n.prefix)]) != n.prefix {
		return -1
	}
	digits := name[len(n.prefix):]
	number, rest := cutNumber(digits)
	if len(rest) > 0 || len(digits) > 9 {
		return -1
	}
	return int(number)
}

// login gives the token of a connection; empty: it has none.
func (n *names) login(s *Session) string {
	if len(n.key) == 0 {
		return n.token
	}
	now := time.Now()
	claims := jwt.MapClaims{"sub": n.user(s), "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix()}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(n.key)
	if err != nil {
		panic(fmt.Sprintf("BUG: a token can't be signed with HS256: %v", err))
	}
	return token
}

// cutNumber reads the number that in begins with, in its shortest form as JSON has it; rest is all of in if there
// is none, or none of at most 19 digits.
func cutNumber(in []byte) (number uint64, rest []byte) {
	n := 0
	for n < len(in) && in[n] >= '0' && in[n] <= '9' {
		if number = number*10 + uint64(in[n]-'0'); n == 19 {
			return 0, in
		}
		n++
	}
	if n > 1 && in[0] == '0' {
		return 0, in
	}
	return number, in[n:]
}

func appendInteger(dst []byte, number uint64) []byte { return strconv.AppendUint(dst, number, 10) }

// digits gives how many digits a number has that is not negative.
func digits(number int) int {
	n := 1
	for ; number > 9; number /= 10 {
		n++
	}
	return n
}
