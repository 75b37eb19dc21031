package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	client "rookery/client/go"
)

// A program that answers what is said in a room. It goes on over lost connections and
// restarts of the server.
func Example() {
	c, err := client.New(client.Config{
		URL:  "ws://127.0.0.1:8080/ws",
		Name: "parrot", // a gateway in development mode; Token or TokenSource otherwise
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ctx := context.Background()
	room, err := c.Join(ctx, "lobby", client.JoinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for message, err := range room.Messages(ctx) {
		var reset *client.ResetError
		switch {
		case errors.As(err, &reset):
			log.Print(err) // some messages are not coming; the rest follows
		case err != nil:
			log.Fatal(err)
		case message.From != "parrot":
			if _, err := c.Publish(ctx, "lobby", message.Text); err != nil {
				log.Print(err)
			}
		}
	}
}

// A consumer that stores how far it has come and misses nothing while it is off.
func ExampleSubscription_Position() {
	c, err := client.New(client.Config{URL: "tcp://127.0.0.1:8080", Name: "archive"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ctx := context.Background()
	stored := client.Position{} // as it was stored last; this one is the beginning
	room, err := c.Join(ctx, "lobby", client.JoinOptions{After: &stored})
	if err != nil {
		log.Fatal(err)
	}
	for message, err := range room.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(message.Seq, message.Text)
		stored = room.Position()
	}
}

// Marking what was read, and hearing how far others have come.
func ExampleSubscription_Mark() {
	c, err := client.New(client.Config{URL: "wss://chat.example/ws", Name: "alice"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ctx := context.Background()
	room, err := c.Join(ctx, "lobby", client.JoinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for changed := range room.ReceiptUpdates(ctx) {
			for _, receipt := range changed.Named {
				fmt.Println(receipt.User, "has read up to", receipt.Read)
			}
		}
	}()
	for message, err := range room.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(message.From, message.Text)
		room.Mark(client.Standing{Read: message.Seq})
	}
}

// A publish that is repeated after any error, also by another process, and stored once.
func ExampleClient_PublishMessage() {
	c, err := client.New(client.Config{URL: "ws://127.0.0.1:8080/ws", Name: "till"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	published, err := c.PublishMessage(context.Background(), client.Publication{
		Room: "receipts", Key: "receipt-2026-0042", Text: "paid",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored as message", published.Seq)
}
