// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxKey is what S3 takes, in bytes.
const maxKey = 1024

// CheckKey refuses keys that not every store can hold, or that could lead out of one: empty and absolute keys, empty, "."
// and ".." parts, backslashes, control characters, bytes that are not UTF-8, more than 1024 bytes.
func CheckKey(key string) error {
	if key == "" {
		return badKey(key, "it is empty")
	}
	if err := checkChars(key); err != nil {
		return err
	}
	if strings.HasPrefix(key, "/") {
		return badKey(key, "it is absolute")
	}
	for part := range strings.SplitSeq(key, "/") {
		switch part {
		case "":
			return badKey(key, "it has an empty part")
		case ".", "..":
			return badKey(key, fmt.Sprintf("it has the part %q", part))
		}
	}
	return nil
}

// CheckPrefix is CheckKey for prefixes of listings, which may be empty and may end anywhere in a key.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if prefix == "." || prefix == ".." || strings.HasSuffix(prefix, "/.") || strings.HasSuffix(prefix, "/..") {
		return checkChars(prefix) // the beginning of a name such as "..data" is harmless: it is compared, not opened
	}
	return CheckKey(strings.TrimSuffix(prefix, "/"))
}

func checkChars(key string) error {
	if len(key) > maxKey {
		return badKey(key[:64]+"...", fmt.Sprintf("it has %d bytes, more than %d", len(key), maxKey))
	}
	if !utf8.ValidString(key) {
		return badKey(key, "it is not UTF-8")
	}
	for _, r := range key {
		if r < ' ' || r == 0x7f || r == '\\' {
			return badKey(key, fmt.Sprintf("it has the character %q", r))
		}
	}
	return nil
}

func badKey(key, why string) error {
	return &Error{
		Op: "checking the key", Err: fmt.Errorf("%q is not allowed: %s", key, why),
		Remedy: `use a relative path of non-empty parts, without "..", backslashes and control characters`,
	}
}
