package proto

import (
	"unicode"
	"unicode/utf8"
)

// Limits that clients and servers share. Sizes are in bytes.
const (
	// MaxName is the longest name of a room or a user.
	MaxName = 128
	// MaxKey is the longest retry key.
	MaxKey = 128
	// MaxInteger is the largest integer of the protocol: the largest that a JavaScript
	// number holds exactly together with all below it.
	MaxInteger = 1<<53 - 1
	// MaxHistory is the largest number of messages in one history page.
	MaxHistory = 200
	// MaxPage is the largest number of members or rooms in one page, DefaultPage that when the request names none.
	MaxPage     = 200
	DefaultPage = 50
	// MaxSyncRooms is the largest number of rooms in one page of a sync, MaxSyncMessages how many messages of each.
	// MaxMentionCount is as far as mentions are counted.
	MaxSyncRooms    = 1000
	MaxSyncMessages = 20
	MaxMentionCount = 100
	// MaxTitle is the longest title of a room, MaxReason the longest reason of a kick, ban or mute.
	MaxTitle  = 128
	MaxReason = 256
	// MaxSlowMode is the longest time between two messages of a user in slow mode, milliseconds: a day.
	MaxSlowMode = 24 * 60 * 60 * 1000
	// DefaultHistory is the size of a history page when the request names none.
	DefaultHistory = 50
	// MaxPageBytes ends a page of history or catch-up, whatever its number of messages.
	// One message may be longer; it is then a page of its own.
	MaxPageBytes = 128 << 10
	// MaxMentions is how many users one message may mention.
	MaxMentions = 50
	// MaxKind is the longest kind of a message, MaxReaction the longest reaction.
	MaxKind     = 64
	MaxReaction = 64
	// MaxReactions is how many different reactions a message may have, MaxUserReactions how many of one user.
	MaxReactions     = 32
	MaxUserReactions = 8
	// MaxReactionUsers is how many users of a reaction are named.
	MaxReactionUsers = 10
	// MaxEdits is how often a message may be edited, MaxPins how many of a room may be pinned.
	MaxEdits = 100
	MaxPins  = 100
	// MaxFrameBytes is the largest frame or message that any server may be set to take.
	MaxFrameBytes = 1 << 20
)

// ValidName reports whether s can name a room or a user: 1 to MaxName bytes of UTF-8
// without control characters.
func ValidName(s string) bool {
	if s == "" || len(s) > MaxName || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
