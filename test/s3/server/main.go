// S3-server is an S3-compatible store for the tests of shipping: versitygw over a directory, with the least
// around it. It is a module of its own, so that what it needs is in no build of Rookery; test/setup builds it.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	dir := flag.String("dir", "", "folder of the buckets, each a folder in it")
	metadata := flag.String("metadata", "", "folder for what a store knows of objects, beside dir")
	config := embedgw.Config{
		RootUserAccess:    os.Getenv("AWS_ACCESS_KEY_ID"),
		RootUserSecret:    os.Getenv("AWS_SECRET_ACCESS_KEY"),
		MaxConnections:    64,
		MaxRequests:       32,
		MultipartMaxParts: 10000,
		KeepAlive:         true,
		Quiet:             true,
	}
	address := flag.String("address", "", "host:port to listen on")
	flag.StringVar(&config.CertFile, "certificate", "", "PEM file, for TLS")
	flag.StringVar(&config.KeyFile, "key", "", "PEM file, for TLS")
	flag.Parse()
	config.Ports = []string{*address}

	sidecar, err := meta.NewSideCar(*metadata)
	if err != nil {
		log.Fatal(err)
	}
	// In files of their own rather than in extended attributes, which not every file system has.
	store, err := posix.New(*dir, sidecar, posix.PosixOpts{SideCarDir: *metadata})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := embedgw.RunVersityGW(ctx, store, &config); err != nil {
		log.Fatal(err)
	}
}
