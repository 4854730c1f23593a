// SPDX-License-Identifier: Apache-2.0

package remotestore

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-stream/weir/runtime/storage"
)

const (
	serviceName = "weir.storage.v1.Store"
	methodName  = "Do"
)

// Names of the operations.
const (
	opGet     = "get"
	opRange   = "range"
	opPut     = "put"
	opDelete  = "delete"
	opPromote = "promote"
	opSwap    = "swap"
	opList    = "list"
)

// request is one call of a store.
type request struct {
	Op     string   `json:"op"`
	Key    string   `json:"key,omitempty"`
	Keys   []string `json:"keys,omitempty"`
	To     string   `json:"to,omitempty"`
	Data   []byte   `json:"data,omitempty"`
	Off    int64    `json:"off,omitempty"`
	Length int64    `json:"length,omitempty"`
	// Expected is the version that a swap expects.
	Expected string `json:"expected,omitempty"`
}

// response is its outcome: an error, if Code is set.
type response struct {
	Data    []byte   `json:"data,omitempty"`
	Version string   `json:"version,omitempty"`
	Objects []object `json:"objects,omitempty"`
	Code    code     `json:"code,omitempty"`
	Error   string   `json:"error,omitempty"`
	Remedy  string   `json:"remedy,omitempty"`
}

type object struct {
	Key     string    `json:"key"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"modTime"`
}

// code says which error it is, across the connection.
type code string

const (
	codeNotFound     code = "notFound"
	codeExists       code = "exists"
	codePrecondition code = "precondition"
	codeOther        code = "other"
)

// sentinels are the errors that callers branch on.
func sentinels() map[code]error {
	return map[code]error{codeNotFound: storage.ErrNotFound, codeExists: storage.ErrExists, codePrecondition: storage.ErrPrecondition}
}

// Register serves a store on a gRPC server, before that serves.
func Register(s *grpc.Server, store storage.Store) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		Methods: []grpc.MethodDesc{{
			MethodName: methodName,
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var r request
				if err := decode(&r); err != nil {
					return nil, err
				}
				return answer(ctx, store, &r), nil
			},
		}},
	}, nil)
}

// answer does one call.
func answer(ctx context.Context, s storage.Store, r *request) *response {
	var out response
	var err error
	switch r.Op {
	case opGet:
		out.Data, out.Version, err = s.Get(ctx, r.Key)
	case opRange:
		out.Data, err = s.GetRange(ctx, r.Key, r.Off, r.Length)
	case opPut:
		err = s.PutIfAbsent(ctx, r.Key, r.Data)
	case opDelete:
		err = s.Delete(ctx, r.Keys...)
	case opPromote:
		err = s.Promote(ctx, r.Key, r.To)
	case opSwap:
		out.Version, err = s.Swap(ctx, r.Key, r.Data, r.Expected)
	case opList:
		err = s.List(ctx, r.Key, func(o storage.Object) error {
			out.Objects = append(out.Objects, object(o))
			return nil
		})
	default:
		err = errors.New("unknown operation " + r.Op)
	}
	if err != nil {
		return failure(err)
	}
	return &out
}

func failure(err error) *response {
	out := &response{Code: codeOther, Error: err.Error()}
	if e, ok := errors.AsType[*storage.Error](err); ok && e.Err != nil {
		out.Error, out.Remedy = e.Err.Error(), e.Remedy
	}
	for c, sentinel := range sentinels() {
		if errors.Is(err, sentinel) {
			out.Code = c
		}
	}
	return out
}
