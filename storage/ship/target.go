package ship

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/minio/minio-go/v7/pkg/s3utils"

	"rookery/storage/vfs"
)

// Target is a place for objects. Names are paths with slashes. Errors for objects that are not there match
// fs.ErrNotExist.
type Target interface {
	// Put makes an object whole and durable, or fails and leaves none; an object of that name is replaced.
	// content is only read, and not after the call.
	Put(ctx context.Context, name string, content []byte) error
	// Get gives an object's content, owned by the caller.
	Get(ctx context.Context, name string) ([]byte, error)
	// List gives the names of all objects whose names begin with folder and a slash, in any order.
	List(ctx context.Context, folder string) ([]string, error)
	// Remove removes an object; that it is not there is no error.
	Remove(ctx context.Context, name string) error
}

// maxObjectBytes bounds what Get reads: a manifest of some terabytes of log.
const maxObjectBytes = 64 << 20

var errTooLarge = fmt.Errorf("object is over %d bytes: it is not of a shipped log", maxObjectBytes)

// Location is where a log is shipped to: a directory, or a bucket with a prefix.
type Location struct {
	Directory string
	Bucket    string
	Prefix    string // without slashes at its ends
}

// ParseLocation reads file:///path, a plain path, or s3://bucket/prefix.
func ParseLocation(text string) (Location, error) {
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case !found && text != "":
		return Location{Directory: text}, nil
	case scheme == "file" && strings.HasPrefix(rest, "/"):
		return Location{Directory: rest}, nil
	case scheme == "s3":
		bucket, prefix, _ := strings.Cut(rest, "/")
		if err := s3utils.CheckValidBucketNameStrict(bucket); err != nil {
			return Location{}, fmt.Errorf("%q is no name of a bucket; write s3://bucket/prefix", bucket)
		}
		prefix = strings.Trim(prefix, "/")
		if prefix != "" && path.Clean("/"+prefix) != "/"+prefix || strings.ContainsAny(prefix, "?#\\") {
			return Location{}, fmt.Errorf("%q is no plain prefix; write s3://bucket/prefix", prefix)
		}
		return Location{Bucket: bucket, Prefix: prefix}, nil
	}
	return Location{}, errors.New("is neither a directory nor a bucket; write /path, file:///path or s3://bucket/prefix")
}

func (l Location) String() string {
	if l.Bucket == "" {
		return l.Directory
	}
	return strings.TrimSuffix("s3://"+l.Bucket+"/"+l.Prefix, "/")
}

// S3Config says how a store is reached. The zero value is Amazon's.
type S3Config struct {
	// Endpoint is http:// or https:// with host and port. Default https://s3.amazonaws.com.
	Endpoint string
	// Region is the bucket's. Default: the store is asked.
	Region string
}

// ParseEndpoint gives host and port, and whether TLS is to be used.
func ParseEndpoint(text string) (host string, secure bool, err error) {
	if text == "" {
		return "s3.amazonaws.com", true, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || text != u.Scheme+"://"+u.Host {
		return "", false, errors.New("is no address of a store; write https://host:port, or http:// for one without TLS")
	}
	return u.Host, u.Scheme == "https", nil
}

// Open gives the target at a location. Nothing is asked of it yet.
func (l Location) Open(config S3Config) (Target, error) {
	if l.Bucket != "" {
		return openBucket(l, config)
	}
	return Directory(vfs.Disk(), l.Directory), nil
}
