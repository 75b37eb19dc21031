package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// callTimeout is for one request with up to a chunk of content: slower than 0.3 Mbit/s is down.
	callTimeout = 4 * time.Minute
	// storeConnections bounds the descriptors that a store costs.
	storeConnections = 2
)

// bucket is the target in a bucket of an S3-compatible store.
type bucket struct {
	client    *minio.Client
	transport *http.Transport
	name      string
	prefix    string // empty, or ends with a slash
}

// openBucket takes the credentials from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else from the file
// that AWS_SHARED_CREDENTIALS_FILE names, else from ~/.aws/credentials. They are looked for at the first
// request, and again when they end.
func openBucket(l Location, config S3Config) (Target, error) {
	host, secure, err := ParseEndpoint(config.Endpoint)
	if err != nil {
		return nil, err
	}
	transport := storeTransport()
	client, err := minio.New(host, &minio.Options{
		Creds: credentials.New(&required{providers: []credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
		}}),
		Secure:     secure,
		Region:     config.Region,
		Transport:  transport,
		MaxRetries: 1, // who ships tries again, and knows how often
	})
	if err != nil {
		return nil, fmt.Errorf("store at %s: %w", host, err)
	}
	b := &bucket{client: client, transport: transport, name: l.Bucket}
	if l.Prefix != "" {
		b.prefix = l.Prefix + "/"
	}
	return b, nil
}

func storeTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		MaxConnsPerHost:       storeConnections,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		DisableCompression:    true,
	}
}

// required asks one provider after the other. The library's own chain sends requests without a signature
// if there is nothing, and then the store's answer says nothing of credentials.
type required struct {
	providers []credentials.Provider
	current   credentials.Provider
}

var errNoCredentials = errors.New("there are no credentials for the store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with AWS_SHARED_CREDENTIALS_FILE")

func (r *required) Retrieve() (credentials.Value, error) { return r.RetrieveWithCredContext(nil) }

func (r *required) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	for _, p := range r.providers {
		value, err := p.RetrieveWithCredContext(cc)
		if err == nil && value.AccessKeyID != "" && value.SecretAccessKey != "" {
			r.current = p
			return value, nil
		}
	}
	r.current = nil
	return credentials.Value{}, errNoCredentials
}

func (r *required) IsExpired() bool { return r.current == nil || r.current.IsExpired() }

func (b *bucket) Put(ctx context.Context, name string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := b.client.PutObject(ctx, b.name, b.prefix+name, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{
		ContentType:      "application/octet-stream",
		DisableMultipart: true, // one request: whole or not at all
		SendContentMd5:   true, // a store refuses what was changed on the way
	})
	return b.wrap("put", name, err)
}

func (b *bucket) Get(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	object, err := b.client.GetObject(ctx, b.name, b.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, b.wrap("get", name, err)
	}
	content, err := io.ReadAll(io.LimitReader(object, maxObjectBytes+1))
	if err == nil && len(content) > maxObjectBytes {
		err = errTooLarge
	}
	if closeErr := object.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, b.wrap("get", name, err)
	}
	return content, nil
}

func (b *bucket) List(ctx context.Context, folder string) ([]string, error) {
	// Ends the library's goroutine where the list is left before its end.
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var names []string
	options := minio.ListObjectsOptions{Prefix: b.prefix + folder + "/", Recursive: true}
	for object := range b.client.ListObjects(ctx, b.name, options) {
		if object.Err != nil {
			return nil, b.wrap("list", folder, object.Err)
		}
		names = append(names, strings.TrimPrefix(object.Key, b.prefix))
	}
	return names, b.wrap("list", folder, ctx.Err())
}

func (b *bucket) Remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := b.client.RemoveObject(ctx, b.name, b.prefix+name, minio.RemoveObjectOptions{})
	if err = b.wrap("remove", name, err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Close closes the connections that are idle. The target can be used on.
func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

func (b *bucket) wrap(operation, name string, err error) error {
	if err == nil {
		return nil
	}
	if code := minio.ToErrorResponse(err).Code; code == minio.NoSuchKey {
		err = fs.ErrNotExist
	}
	return fmt.Errorf("%s s3://%s/%s%s: %w", operation, b.name, b.prefix, name, err)
}
