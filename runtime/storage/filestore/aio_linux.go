// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package filestore

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// A goroutine in a blocking system call keeps its processor until the runtime notices, which takes up to 10 ms: about as long as a write or a
// flush. All that time the tasks that share the processor stand still. So the kernel is asked to do it in the background (io_submit), and
// the goroutine waits as it would for a socket.

// What the kernel can be asked to do.
const (
	aioRead  = 0
	aioWrite = 1
	aioFlush = 2
	// aioNotifies says that the request names an eventfd.
	aioNotifies = 1
	// aioDepth is how many requests there may be at once. More are done the ordinary way.
	aioDepth = 128
	// eventfdFlags are EFD_CLOEXEC and EFD_NONBLOCK.
	eventfdFlags = syscall.O_CLOEXEC | syscall.O_NONBLOCK
)

// aioRequest is the kernel's struct iocb.
type aioRequest struct {
	id          uint64
	_           uint64
	op          uint16
	_           int16
	fd          uint32
	data        uintptr
	size        uint64
	offset      int64
	_           uint64
	flags       uint32
	completions uint32
}

// aioEvent is the kernel's struct io_event.
type aioEvent struct {
	id  uint64
	_   uint64
	res int64
	_   int64
}

// aioQueue is a queue of requests of this process. It stays for as long as that lives.
type aioQueue struct {
	context uintptr
	mu      sync.Mutex
	last    uint64            // guarded by mu; id of the newest request
	data    map[uint64][]byte // guarded by mu; the memory of requests, by their ids, which keeps it where it is
	done    map[uint64]int64  // guarded by mu; outcomes that nobody has taken yet
}

// aio returns the queue, nil if the kernel has none for us.
var aio = sync.OnceValue(func() *aioQueue {
	q := &aioQueue{data: map[uint64][]byte{}, done: map[uint64]int64{}}
	if _, _, errno := syscall.Syscall(syscall.SYS_IO_SETUP, aioDepth, uintptr(unsafe.Pointer(&q.context)), 0); errno != 0 { //nolint:gosec // system call
		return nil
	}
	return q
})

// inBackground has the kernel write b at an offset of f, or flush f, and returns how many bytes were written. It says false if that can't be done in
// this way, and nothing was.
func inBackground(f *os.File, op uint16, b []byte, offset int64) (n int, ok bool, err error) {
	q := aio()
	if q == nil {
		return 0, false, nil
	}
	c, err := f.SyscallConn()
	if err != nil {
		return 0, false, nil //nolint:nilerr // it will show the ordinary way
	}
	var res int64
	err = c.Control(func(fd uintptr) {
		res, ok = q.do(aioRequest{op: op, fd: uint32(fd), size: uint64(len(b)), offset: offset}, b, func() {})
	})
	switch {
	case err != nil || !ok || res == -int64(syscall.EINVAL) || res == -int64(syscall.EOPNOTSUPP):
		return 0, false, nil //nolint:nilerr // see above
	case res < 0:
		return 0, true, syscall.Errno(-res)
	}
	return int(res), true, nil
}

// do hands a request for b to the kernel and waits until it is done. It calls taken once the kernel has the request, or when it doesn't take it.
func (q *aioQueue) do(r aioRequest, b []byte, taken func()) (int64, bool) {
	fd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, eventfdFlags, 0)
	if errno != 0 {
		taken()
		return 0, false
	}
	completions := os.NewFile(fd, "eventfd")
	defer completions.Close()
	q.mu.Lock()
	q.last++
	r.id = q.last
	q.data[r.id] = b
	q.mu.Unlock()
	r.data, r.flags, r.completions = uintptr(unsafe.Pointer(unsafe.SliceData(b))), aioNotifies, uint32(fd) //nolint:gosec // system call
	list := [1]*aioRequest{&r}
	n, _, errno := syscall.Syscall(syscall.SYS_IO_SUBMIT, q.context, 1, uintptr(unsafe.Pointer(&list))) //nolint:gosec // system call
	runtime.KeepAlive(&r)
	taken()
	if errno != 0 || n != 1 {
		q.forget(r.id)
		return 0, false
	}
	var count [8]byte
	_, err := completions.Read(count[:])
	for wait := err != nil; ; wait = true {
		if res, ok := q.take(r.id, wait); ok {
			return res, true
		}
	}
}

// forget drops a request that the kernel didn't take.
func (q *aioQueue) forget(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.data, id)
}

// take returns the outcome of a request, if it is there. It may wait for one, of whatever request.
func (q *aioQueue) take(id uint64, wait bool) (int64, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	res, ok := q.done[id]
	if !ok {
		q.reap(wait)
		res, ok = q.done[id]
	}
	if ok {
		delete(q.done, id)
		delete(q.data, id)
	}
	return res, ok
}

// reap fetches outcomes. mu is held.
func (q *aioQueue) reap(wait bool) {
	least := uintptr(0)
	if wait {
		least = 1
	}
	var events [16]aioEvent
	n, _, errno := syscall.Syscall6(syscall.SYS_IO_GETEVENTS, q.context, least, uintptr(len(events)), uintptr(unsafe.Pointer(&events)), 0, 0) //nolint:gosec // system call
	if errno != 0 {
		return
	}
	for _, e := range events[:n] {
		q.done[e.id] = e.res
	}
}

// nowhere is where reads end that nobody wants the data of.
var nowhere = sync.OnceValue(func() []byte {
	b := make([]byte, 2*directAlign)
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b))) % directAlign //nolint:gosec // only looks where it is
	return b[directAlign-at:][:directAlign]
})

// freesLater says whether the blocks of a file that is open can be freed after it was deleted and closed.
func freesLater(f *os.File) bool { return aio() != nil && onOwnDisk(f) }

// closeDeleted closes a file that has no name any more. Whoever gives up a file last frees its blocks, and waits for that, as long as a write may take. So the
// kernel is given a read of the file that it ends in the background, where it gives up the file after us. If that can't be, we are the last.
func closeDeleted(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return f.Close()
	}
	if err := setDirect(f, true); err != nil {
		return f.Close()
	}
	own, errno := uintptr(0), syscall.Errno(0)
	err = c.Control(func(fd uintptr) { own, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0) })
	closed := f.Close()
	if err != nil || errno != 0 {
		return closed
	}
	aio().do(aioRequest{op: aioRead, fd: uint32(own), size: directAlign}, nowhere(), func() { err = syscall.Close(int(own)) })
	return errors.Join(closed, err)
}
