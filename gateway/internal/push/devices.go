package push

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"rookery/gateway/internal/handoff"
	"rookery/gateway/internal/webhook"
)

// Devices are where users can be told. Its methods may be called from several goroutines.
type Devices interface {
	// Names gives the devices of a user that a service tells.
	Names(user string, service handoff.Service) ([]string, error)
	// Find gives how a device is told, false if there is none.
	Find(user, device string) (handoff.Subscription, bool, error)
	// End forgets a device, if it is still told so.
	End(user, device string, s handoff.Subscription) error
}

// find gives how the device of a summary is told, by a service; ok is false if there is nothing to send, and out then says why.
func find(d Devices, s *Summary, service handoff.Service) (to handoff.Subscription, out Outcome, ok bool) {
	to, there, err := d.Find(s.User, s.Device)
	switch {
	case err != nil:
		return to, Outcome{Verdict: Retry, Err: err}, false
	case !there || to.Service() != service:
		return to, Outcome{Verdict: Gone, Err: errors.New("the device has no subscription any more")}, false
	}
	return to, Outcome{}, true
}

// end forgets the device of a summary, of which its service says that it is no more.
func end(d Devices, s *Summary, to handoff.Subscription, said error) Outcome {
	if err := d.End(s.User, s.Device, to); err != nil {
		return Outcome{Verdict: Retry, Err: err}
	}
	return Outcome{Verdict: Gone, Err: said}
}

// summaryType tells summaries from what else may come to a device one day.
const summaryType = "push.summary"

// deviceBody is what a device gets. It fits into the 4 KiB of all services, so rooms are only counted.
type deviceBody struct {
	Type string `json:"type"`
	summaryBody
	Rooms *struct{} `json:"rooms,omitempty"` // not those of the summary
}

func newDeviceBody(s *Summary) deviceBody {
	return deviceBody{Type: summaryType, summaryBody: newSummaryBody(s)}
}

// withoutText is for who has the text in the alert already.
func (b deviceBody) withoutText() deviceBody {
	b.Newest.Text = ""
	return b
}

// alert is a summary in words, for services that show them without asking the app. The page's worker has its own, which name the room, too.
func alert(s *Summary) (title, body string) {
	messages, _ := s.Messages()
	title = "1 new message"
	if messages != 1 || s.More {
		title = fmt.Sprintf("%d new messages", messages)
	}
	if s.More {
		title = "More than " + title
	}
	switch {
	case s.Newest.Text != "":
		return title, s.Newest.From + ": " + s.Newest.Text
	case len(s.Rooms) == 1:
		return title, "From " + s.Newest.From
	}
	return title, fmt.Sprintf("In %d conversations, the newest from %s", len(s.Rooms), s.Newest.From)
}

// urgent reports whether a summary is worth waking a device for.
func urgent(s *Summary) bool {
	_, mentions := s.Messages()
	return mentions > 0
}

// newClient makes a client for a service at an address that the operator has given, or its maker.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone() // HTTP/2 where the service has it
	transport.MaxIdleConnsPerHost = laneWidth
	// A connection of HTTP/2 that is dead without a word would have each attempt fail for as long as the kernel believes in it.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: webhookTimeout, PingTimeout: webhookTimeout}
	return &http.Client{
		Transport: transport,
		Timeout:   webhookTimeout,
		// What is sent goes to where the operator said, and to no one else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// readJSON reads an answer of a service; one that is no JSON, as of a proxy, leaves value as it is.
func readJSON(answer *http.Response, value any) {
	body, err := io.ReadAll(io.LimitReader(answer.Body, answerBytes))
	if err == nil {
		_ = json.Unmarshal(body, value) // the status says enough
	}
}

// judge says what an answer means. What was not taken may be taken when somebody has mended what is wrong, there or here, and there is a
// day for that. Only of two answers nothing can come: 410 wants nothing any more (RFC 9110 section 15.5.11), and what is too large will
// not be smaller.
func judge(status int, text string, header http.Header, now time.Time) Outcome {
	if status >= 200 && status < 300 {
		return Outcome{Verdict: Sent}
	}
	o := Outcome{Verdict: Retry, Err: errors.New("answered " + text), After: webhook.RetryAfter(header.Get("Retry-After"), now)}
	switch status {
	case http.StatusGone, http.StatusRequestEntityTooLarge:
		o.Verdict = Final
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		// All others would be answered so, too.
	default:
		o.Alone = status >= 400 && status < 500
	}
	return o
}
