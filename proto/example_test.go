package proto_test

import (
	"fmt"

	"rookery/proto"
	v1 "rookery/proto/rookery/v1"
)

// What a client sends over a text WebSocket message.
func ExampleAppendClientFrame() {
	f := &v1.ClientFrame{Id: 3, Op: &v1.ClientFrame_Publish{Publish: &v1.Publish{
		Room: "lobby", Key: "a1-0001", Content: &v1.Publish_Text{Text: "hello"},
	}}}
	fmt.Printf("%s", proto.AppendClientFrame(nil, proto.JSON, f))
	fmt.Printf("%x\n", proto.AppendClientFrame(nil, proto.Binary, f))
	// Output:
	// {"id":3,"publish":{"room":"lobby","key":"a1-0001","text":"hello"}}
	// 1b08032a170a056c6f626279120761312d303030311a0568656c6c6f
}

// A WebSocket message may hold many frames; over TCP they simply follow each other.
func ExampleNext() {
	message := []byte(`{"id":3,"published":{"room":"lobby","seq":58,"at":1763839392456}}
{"message":{"room":"lobby","seq":58,"at":1763839392456,"from":"alice","text":"hello"}}
`)
	for rest := message; len(rest) > 0; {
		var frame []byte
		var err error
		if frame, rest, err = proto.Next(proto.JSON, rest); err != nil {
			fmt.Println(err)
			return
		}
		var f v1.ServerFrame
		if err := proto.DecodeServerFrame(&f, proto.JSON, frame); err != nil {
			fmt.Println(err)
			return
		}
		switch op := f.Op.(type) {
		case *v1.ServerFrame_Published:
			fmt.Println("request", f.Id, "was stored as", op.Published.Seq)
		case *v1.ServerFrame_Message:
			fmt.Println(op.Message.From, "says", op.Message.GetText())
		}
	}
	// Output:
	// request 3 was stored as 58
	// alice says hello
}

func ExampleReconnect() {
	for _, code := range []proto.CloseCode{proto.CloseDraining, proto.CloseUnauthorized} {
		fmt.Println(code.Code, code.Name, proto.Reconnect(code.Code))
	}
	// Output:
	// 4000 draining true
	// 4501 unauthorized false
}
