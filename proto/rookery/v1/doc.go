// Package rookeryv1 is what protoc makes of rookery.proto, which is the schema of the wire
// format, version 1: rookery.pb.go with the descriptors, rookery_vtproto.pb.go with the codec
// of the hot path. Nothing here is written by hand but this text; make generate writes the
// rest. Package proto is how to use it.
package rookeryv1
