package client

import (
	"context"
	"fmt"

	v1 "rookery/proto/rookery/v1"
)

// Of which messages of a room with members a user is told while away.
const (
	NotifyAll      = "all"
	NotifyMentions = "mentions"
	NotifyNone     = "none"
)

// Notify says of which messages of a room the user is told who has not received them, and returns what is in force. An empty level only
// asks.
func (c *Client) Notify(ctx context.Context, room, level string) (now string, err error) {
	request := &v1.ClientFrame{Op: &v1.ClientFrame_Notify{Notify: &v1.NotifyPreference{Room: room, Level: level}}}
	err = c.machine.read(ctx, newRead(request, func(reply *v1.ServerFrame) bool {
		now = reply.GetNotify().GetLevel()
		return reply.GetNotify() != nil
	}))
	if err != nil {
		return "", fmt.Errorf("notify in room %q: %w", room, err)
	}
	return now, nil
}

// WebPush is a subscription of a device to a push service, its keys in base64url without padding.
type WebPush struct{ Endpoint, P256dh, Auth string }

// DeviceSubscription is how a device is told, by one of three.
type DeviceSubscription struct {
	WebPush *WebPush
	APNs    string // a token of Apple's push service, hexadecimal
	FCM     string // a token of Firebase Cloud Messaging
}

// Device is what the server says of one.
type Device struct {
	ID         string
	Registered bool     // it is told while its user is away
	WebPushKey string   // the server's, for subscriptions; empty: it sends no Web Push
	Services   []string // of which other services it takes tokens: apns, fcm
}

// SetDevice registers where a device is told while its user is away, or forgets it if the subscription has nothing. An empty id only asks
// for the server's key and services.
func (c *Client) SetDevice(ctx context.Context, id string, s DeviceSubscription) (d Device, err error) {
	request := &v1.SetDevice{Id: id, Apns: s.APNs, Fcm: s.FCM}
	if push := s.WebPush; push != nil {
		request.WebPush = &v1.WebPush{Endpoint: push.Endpoint, P256Dh: push.P256dh, Auth: push.Auth}
	}
	err = c.machine.read(ctx, newRead(&v1.ClientFrame{Op: &v1.ClientFrame_Device{Device: request}}, func(reply *v1.ServerFrame) bool {
		answer := reply.GetDevice()
		d = Device{answer.GetId(), answer.GetRegistered(), answer.GetWebPushKey(), answer.GetServices()}
		return answer != nil
	}))
	if err != nil {
		return Device{}, fmt.Errorf("device %q: %w", id, err)
	}
	return d, nil
}
