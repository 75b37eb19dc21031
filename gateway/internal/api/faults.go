package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"rookery/gateway/internal/calls"
	"rookery/gateway/internal/members"
	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// Errors that the protocol has no need of: what is HTTP's, and what is the keys'.
var (
	ErrOff        = proto.ErrorCode{Code: http.StatusForbidden, Name: "api_off"}
	ErrScope      = proto.ErrorCode{Code: http.StatusForbidden, Name: "scope_missing"}
	ErrNoSuchPath = proto.ErrorCode{Code: http.StatusNotFound, Name: "no_such_path"}
	ErrMethod     = proto.ErrorCode{Code: http.StatusMethodNotAllowed, Name: "method_not_allowed"}
	ErrTimeout    = proto.ErrorCode{Code: http.StatusGatewayTimeout, Name: "timeout", Retry: true}
)

// Errors lists them all, for docs/api.md.
func Errors() []proto.ErrorCode {
	return []proto.ErrorCode{ErrOff, ErrScope, ErrNoSuchPath, ErrMethod, ErrTimeout}
}

// Fault is an answer that says why not: {"error":{…}}, with what an error frame of the protocol has. Its code is the status.
type Fault struct{ err *v1.Error }

func faultOf(code proto.ErrorCode, format string, values ...any) *Fault {
	return &Fault{code.Frame(0, fmt.Sprintf(format, values...)).GetError()}
}

// Error implements error, GetStatus huma.StatusError.
func (f *Fault) Error() string  { return f.err.Message }
func (f *Fault) GetStatus() int { return int(f.err.Code) }

// MarshalJSON writes what is answered.
func (f *Fault) MarshalJSON() ([]byte, error) {
	return append(proto.AppendJSON([]byte(`{"error":`), f.err), '}'), nil
}

// Schema implements huma.SchemaProvider.
func (f *Fault) Schema(r huma.Registry) *huma.Schema {
	return named(r, "Fault", &huma.Schema{
		Type: huma.TypeObject, Required: []string{"error"},
		Properties: map[string]*huma.Schema{"error": schemaOf(r, (&v1.Error{}).ProtoReflect().Descriptor())},
	})
}

// fault makes an answer of what went wrong on the way to an owner. nothing says that it did not happen if it was not answered in
// time, as a read has nothing that can happen.
func fault(err error, unanswered string) error {
	if refusal, ok := errors.AsType[*calls.Refusal](err); ok {
		return faultOf(refusal.Code, "%s", refusal.Text)
	}
	if refusal, ok := errors.AsType[*members.Refusal](err); ok {
		return faultOf(refusal.Code, "%s", refusal.Text)
	}
	switch {
	case errors.Is(err, calls.ErrClosed):
		return faultOf(proto.ErrDraining, "The server is shutting down. %s", unanswered)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return faultOf(ErrTimeout, "The server did not answer in time. %s", unanswered)
	}
	return faultOf(proto.ErrInternal, "The request failed: %v. %s", err, unanswered)
}

// What is said of a request that was not answered in time.
const (
	nothingHappened  = "Nothing was changed."
	mayHaveHappened  = "It may have happened all the same, or happen yet; look before you repeat it."
	mayBePublished   = "The message may be published all the same, or be yet; repeat the request with the same Idempotency-Key and it is published once."
	withoutRetryKeys = "The message may be published all the same; without an Idempotency-Key a repetition may publish it twice."
)

// The framework has one function for its own errors in a process, so it is set where nothing can have begun: what it finds wrong with a
// request has the shape of everything else.
func init() {
	huma.NewError = func(status int, text string, errs ...error) huma.StatusError {
		return frameworkFault(status, text, errs)
	}
}

// frameworkFault is what huma finds: a body that is not JSON, a field that is missing, unknown or of another type.
func frameworkFault(status int, text string, errs []error) *Fault {
	const most = 3
	var found []string
	for _, err := range errs {
		detail, ok := errors.AsType[*huma.ErrorDetail](err)
		switch {
		case len(found) == most:
			found = append(found, "and more")
		case len(found) > most:
		case ok && detail.Location != "":
			found = append(found, detail.Location+": "+detail.Message)
		case err != nil:
			found = append(found, err.Error())
		}
	}
	if len(found) > 0 {
		text = strings.Join(found, "; ") // begins with the name of a field
	} else if text != "" {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	text += "."
	switch {
	case status == http.StatusInternalServerError:
		return faultOf(proto.ErrInternal, "%s", text)
	case status == http.StatusUnsupportedMediaType:
		return faultOf(proto.ErrBadRequest, "A body is JSON: send the header Content-Type: application/json.")
	}
	return faultOf(proto.ErrBadRequest, "%s", text)
}
