package gateway

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"rookery/gateway/internal/push"
)

// PushConfig says who is told outside of connections that messages wait for them, docs/push.md. Without a sender, Webhook, WebPushKey,
// APNs or FCM, it is off.
type PushConfig struct {
	// Webhook is where summaries are sent: https://host/path, or http:// of this machine. Default empty, off.
	Webhook string
	// Secret signs the requests: whsec_ and 24 to 64 bytes in base64. Default none; a Webhook needs one. Prefer SecretFile.
	Secret Secret
	// SecretFile names the file that holds the secret. Default none.
	SecretFile string
	// WebPushKey signs what is sent to the push services of browsers: a private key of P-256 in base64url. Default none, off. Prefer
	// WebPushKeyFile.
	WebPushKey Secret
	// WebPushKeyFile names the file that holds the key. Default none.
	WebPushKeyFile string
	// WebPushContact is where these services reach who runs this server, mailto:name@host or https://host. Default none; a key needs it.
	WebPushContact string
	APNs           APNsConfig
	FCM            FCMConfig
	// After is how long a message may be undelivered before its member is told. Default 30 s.
	After time.Duration
	// Window is the least time between two summaries of a user. Default 5 min.
	Window time.Duration
	// RoomMembers: in rooms of more members only who is mentioned is told. Default 1000.
	RoomMembers int
	// Text puts the newest message's text into summaries. Default false: what is said stays on this server.
	Text bool
}

// APNsConfig says as whom apps are told by Apple's push service. Without a KeyFile they are not.
type APNsConfig struct {
	// KeyFile names the .p8 file that Apple gave. Default none, off.
	KeyFile string
	// KeyID and TeamID are the 10 letters that Apple has for the key and for who owns it. Default none; a KeyFile needs them.
	KeyID, TeamID string
	// Topic is the app's bundle id. Default none; a KeyFile needs it.
	Topic string
	// Sandbox is for apps that are installed by Xcode. Default false: apps of the App Store and of TestFlight.
	Sandbox bool
	// URL is of a stand-in or of a proxy. Default empty, Apple's.
	URL string
}

// FCMConfig says as whom apps are told by Firebase Cloud Messaging. Without an AccountFile they are not.
type FCMConfig struct {
	// AccountFile names the JSON file with the key of a service account, which names the project, too. Default none, off.
	AccountFile string
	// URL is of a stand-in or of a proxy. Default empty, Google's.
	URL string
}

// pushKeys are the secrets of push, from settings and files.
type pushKeys struct {
	webhook, webPush string
	apns, fcm        []byte
}

// pushFault is what keeps a setting from working.
type pushFault struct {
	setting string
	err     error
}

// pushKeys reads the secrets.
func (c PushConfig) keys() (keys pushKeys, faults []pushFault) {
	refuse := func(setting string, err error) {
		if err != nil {
			faults = append(faults, pushFault{setting, err})
		}
	}
	either := func(name string, text Secret, path string, check func(string) error) string {
		secret, setting := string(text), name
		if path != "" {
			setting += "_file"
			if text != "" {
				refuse(setting, fmt.Errorf("is set together with %s; take one of them out", name))
				return ""
			}
			data, err := readPrivate(path)
			if err != nil {
				refuse(setting, err)
				return ""
			}
			secret = strings.TrimRight(string(data), "\r\n")
		}
		refuse(setting, check(secret))
		return secret
	}
	file := func(setting, path string, check func([]byte) error) []byte {
		data, err := readPrivate(path)
		if err == nil {
			if err = check(data); err != nil {
				err = fmt.Errorf("file %s %w", path, err)
			}
		}
		refuse(setting, err)
		return data
	}
	if c.Webhook != "" {
		keys.webhook = either("push.secret", c.Secret, c.SecretFile, push.CheckSecret)
	}
	if c.WebPushKey != "" || c.WebPushKeyFile != "" {
		keys.webPush = either("push.web_push_key", c.WebPushKey, c.WebPushKeyFile, push.CheckWebPushKey)
	}
	if c.APNs.KeyFile != "" {
		keys.apns = file("push.apns.key_file", c.APNs.KeyFile, push.CheckAPNsKey)
	}
	if c.FCM.AccountFile != "" {
		keys.fcm = file("push.fcm.account_file", c.FCM.AccountFile, push.CheckServiceAccount)
	}
	return keys, faults
}

// faults says what keeps the settings from working together.
func (c PushConfig) faults() []pushFault {
	keys, faults := c.keys()
	refuse := func(setting string, err error) {
		if err != nil {
			faults = append(faults, pushFault{setting, err})
		}
	}
	if c.Webhook != "" {
		refuse("push.webhook", push.CheckWebhook(c.Webhook))
	}
	if keys.webPush != "" {
		refuse("push.web_push_contact", push.CheckContact(c.WebPushContact))
	}
	if c.APNs.KeyFile != "" {
		for setting, text := range map[string]string{
			"push.apns.key_id": c.APNs.KeyID, "push.apns.team_id": c.APNs.TeamID, "push.apns.topic": c.APNs.Topic,
		} {
			if text == "" {
				refuse(setting, errors.New("is empty; with push.apns.key_file it must be set"))
			}
		}
	}
	for setting, address := range map[string]string{"push.apns.url": c.APNs.URL, "push.fcm.url": c.FCM.URL} {
		if address != "" {
			refuse(setting, push.CheckWebhook(address))
		}
	}
	return faults
}
