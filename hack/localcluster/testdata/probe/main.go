// SPDX-License-Identifier: Apache-2.0

// Command probe is what the pods of the cluster's test run: a server, and requests to others.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

// run serves, gets an address, or asks the API server for a path as the pod's service account.
func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		fmt.Println("serving")
		s := &http.Server{Addr: ":8080", ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintln(w, "hello of", os.Getenv("HOSTNAME"), os.Getenv("SECRET"))
		})}
		return s.ListenAndServe()
	case len(args) == 2 && args[0] == "get":
		return get(http.DefaultClient, args[1], "")
	case len(args) == 2 && args[0] == "api":
		token, tokenErr := os.ReadFile(account + "token")
		ca, caErr := os.ReadFile(account + "ca.crt")
		if err := errors.Join(tokenErr, caErr); err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
		return get(client, "https://kubernetes.default"+args[1], string(token))
	}
	return errors.New("usage: probe serve | get URL | api PATH")
}

func get(client *http.Client, url, token string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	fmt.Printf("%s\n%s", answer.Status, body)
	return err
}
