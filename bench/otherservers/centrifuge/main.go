// Centrifuge is a server for the tests of rookery bench: the library that Centrifugo is made of, with the
// least around it. Anybody may connect, subscribe to any channel and publish to it. It is a module of its own,
// so that what it needs is in no build of Rookery; test/setup builds it.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		if strings.HasPrefix(e.Token, "bad") {
			return centrifuge.ConnectReply{}, centrifuge.ErrorUnauthorized
		}
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: e.Token}}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(e centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			if strings.Contains(e.Channel, "forbidden") {
				done(centrifuge.SubscribeReply{}, centrifuge.ErrorPermissionDenied)
				return
			}
			done(centrifuge.SubscribeReply{}, nil)
		})
		c.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			done(centrifuge.PublishReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		// Often, so that a test sees some.
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: 2 * time.Second, PongTimeout: 1900 * time.Millisecond},
	}))
	fmt.Println(l.Addr())
	return http.Serve(l, nil)
}
