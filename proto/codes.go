package proto

import v1 "rookery/proto/rookery/v1"

// ErrorCode is an entry of the table of errors that answer a request. The numbers follow
// HTTP's classes so that they read without a table; the name is what a client branches
// on, since it is unique and never changes its meaning.
type ErrorCode struct {
	Code  uint32
	Name  string
	Retry bool // the same request may succeed later
}

// The errors that a request can be answered with. docs/protocol.md lists them with what a
// client does about each.
var (
	ErrBadRequest       = ErrorCode{400, "bad_request", false}
	ErrUnknownOperation = ErrorCode{400, "unknown_operation", false}
	ErrUnauthorized     = ErrorCode{401, "unauthorized", false}
	ErrTokenExpired     = ErrorCode{401, "token_expired", false}
	ErrTokenRevoked     = ErrorCode{401, "token_revoked", false}
	ErrNotConnected     = ErrorCode{401, "not_connected", false}
	ErrRoomForbidden    = ErrorCode{403, "room_forbidden", false}
	ErrPublishForbidden = ErrorCode{403, "publish_forbidden", false}
	ErrRefused          = ErrorCode{403, "refused", false}
	ErrChangeForbidden  = ErrorCode{403, "change_forbidden", false}
	ErrChangeTooLate    = ErrorCode{403, "change_too_late", false}
	ErrMessageNotFound  = ErrorCode{404, "message_not_found", false}
	ErrMessageDeleted   = ErrorCode{410, "message_deleted", false}
	ErrUnchanged        = ErrorCode{409, "unchanged", false}
	ErrTooManyChanges   = ErrorCode{409, "too_many_changes", false}
	ErrNotMember        = ErrorCode{403, "not_member", false}
	ErrRoleForbidden    = ErrorCode{403, "role_forbidden", false}
	ErrBanned           = ErrorCode{403, "banned", false}
	ErrMuted            = ErrorCode{403, "muted", false}
	ErrNotJoined        = ErrorCode{404, "not_joined", false}
	ErrNoSuchRoom       = ErrorCode{404, "no_such_room", false}
	ErrNoSuchMember     = ErrorCode{404, "no_such_member", false}
	ErrAlreadyJoined    = ErrorCode{409, "already_joined", false}
	ErrJoinPending      = ErrorCode{429, "join_pending", true}
	ErrUserChanged      = ErrorCode{409, "user_changed", false}
	ErrRoomExists       = ErrorCode{409, "room_exists", false}
	ErrRoomFull         = ErrorCode{409, "room_full", false}
	ErrTooLarge         = ErrorCode{413, "too_large", false}
	ErrRateLimited      = ErrorCode{429, "rate_limited", true}
	ErrSlowMode         = ErrorCode{429, "slow_mode", true}
	ErrMemberOfTooMany  = ErrorCode{429, "member_of_too_many", false}
	ErrTooManyRooms     = ErrorCode{429, "too_many_rooms", false}
	ErrTooManyUserConns = ErrorCode{429, "too_many_connections", true}
	ErrInternal         = ErrorCode{500, "internal", true}
	ErrOverloaded       = ErrorCode{503, "overloaded", true}
	ErrKeysPending      = ErrorCode{503, "keys_pending", true}
	ErrLogUnavailable   = ErrorCode{503, "log_unavailable", true}
	ErrHistoryDamaged   = ErrorCode{500, "history_damaged", false}
	ErrDraining         = ErrorCode{503, "draining", true}
)

// Errors lists every ErrorCode.
func Errors() []ErrorCode {
	return []ErrorCode{
		ErrBadRequest, ErrUnknownOperation, ErrUnauthorized, ErrTokenExpired, ErrTokenRevoked, ErrNotConnected,
		ErrRoomForbidden, ErrPublishForbidden, ErrRefused, ErrChangeForbidden, ErrChangeTooLate,
		ErrMessageNotFound, ErrMessageDeleted, ErrUnchanged, ErrTooManyChanges, ErrNotMember, ErrRoleForbidden, ErrBanned, ErrMuted,
		ErrNotJoined, ErrNoSuchRoom, ErrNoSuchMember, ErrAlreadyJoined, ErrJoinPending, ErrUserChanged, ErrRoomExists, ErrRoomFull,
		ErrTooLarge, ErrRateLimited, ErrSlowMode, ErrMemberOfTooMany, ErrTooManyRooms, ErrTooManyUserConns,
		ErrInternal, ErrHistoryDamaged, ErrOverloaded, ErrKeysPending, ErrLogUnavailable, ErrDraining,
	}
}

// CloseCode is an entry of the table of reasons for which the server ends a connection:
// the code of RFC 6455's Close frame, or of the frame close on raw TCP.
type CloseCode struct {
	Code uint16
	Name string
}

// Codes of RFC 6455 section 7.4.1 that the server sends, then our own: 4000 to 4499 tell
// the client to come back, 4500 to 4999 that coming back with the same input is useless.
var (
	CloseNormal      = CloseCode{1000, "normal"}
	CloseGoingAway   = CloseCode{1001, "going_away"}
	CloseProtocol    = CloseCode{1002, "protocol_error"}
	CloseUnsupported = CloseCode{1003, "unsupported_data"}
	CloseInvalidUTF8 = CloseCode{1007, "invalid_utf8"}
	CloseTooBig      = CloseCode{1009, "too_big"}
	CloseInternal    = CloseCode{1011, "internal_error"}

	CloseDraining         = CloseCode{4000, "draining"}
	CloseHeartbeatTimeout = CloseCode{4001, "heartbeat_timeout"}
	CloseStalled          = CloseCode{4002, "stalled"}
	CloseOutboundFull     = CloseCode{4003, "outbound_full"}
	CloseConnectTimeout   = CloseCode{4004, "connect_timeout"}
	CloseFrameTimeout     = CloseCode{4005, "frame_timeout"}
	CloseTokenExpired     = CloseCode{4006, "token_expired"}
	CloseOverloaded       = CloseCode{4007, "overloaded"}

	CloseBadFrame     = CloseCode{4500, "bad_frame"}
	CloseUnauthorized = CloseCode{4501, "unauthorized"}
	CloseNotConnected = CloseCode{4502, "not_connected"}
	CloseVersion      = CloseCode{4503, "unsupported_version"}
	CloseTokenRevoked = CloseCode{4504, "token_revoked"}
	CloseBanned       = CloseCode{4510, "banned"}
)

// CloseCodes lists every CloseCode.
func CloseCodes() []CloseCode {
	return []CloseCode{
		CloseNormal, CloseGoingAway, CloseProtocol, CloseUnsupported, CloseInvalidUTF8, CloseTooBig, CloseInternal,
		CloseDraining, CloseHeartbeatTimeout, CloseStalled, CloseOutboundFull, CloseConnectTimeout,
		CloseFrameTimeout, CloseTokenExpired, CloseOverloaded,
		CloseBadFrame, CloseUnauthorized, CloseNotConnected, CloseVersion, CloseTokenRevoked, CloseBanned,
	}
}

// Reconnect reports whether a client should come back by itself after a connection ended
// with this code. Codes it has never heard of count as a lost connection, so it should.
func Reconnect(code uint16) bool {
	switch {
	case code >= 4500 && code <= 4999:
		return false
	case code == CloseProtocol.Code, code == CloseUnsupported.Code,
		code == CloseInvalidUTF8.Code, code == CloseTooBig.Code:
		return false
	}
	return true
}

// Frame makes the reply to request id that says so; message is one sentence for a human.
func (e ErrorCode) Frame(id uint64, message string) *v1.ServerFrame {
	return &v1.ServerFrame{Id: id, Op: &v1.ServerFrame_Error{Error: &v1.Error{
		Code: e.Code, Name: e.Name, Message: message, Retry: e.Retry,
	}}}
}
