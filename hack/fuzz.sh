#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target of the module for some time, one after the other, and stops at the first failure. What made it fail is
# in testdata/fuzz of the package: mend the code, and commit the file as a regression test.
#
#   hack/fuzz.sh 60s                   all targets
#   hack/fuzz.sh 2000x                 all targets, as many inputs each
#   hack/fuzz.sh 10m runtime/snapshot  those of one package
#
# What it finds that leads to new code is kept in the cache of go build, so the next run goes on from it.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

time=${1:?give the time for each target, such as 60s}
folder=${2:-.}

files=$(grep -rlE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' "$folder" | sort)
if [[ -z "$files" ]]; then
	echo "no fuzz target below $folder" >&2
	exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seeds=$(go env GOCACHE)/fuzz
count=0

# fuzz runs one target of the package in the current directory. Up to Go 1.26 the fuzzer sometimes takes the end of its own time for a failure
# (https://go.dev/issue/75804): that alone, without an input that fails, isn't one.
fuzz() {
	"$work/fuzz.test" -test.run='^$' -test.fuzz="^$1\$" -test.fuzztime="$time" -test.fuzzminimizetime=20x -test.parallel=1 \
		-test.fuzzcachedir="$seeds/$(go list .)" 2>&1 | tee "$work/log" && return
	[[ "$(sed -n '/^--- FAIL: /,$p' "$work/log" | tail -n +2)" == $'    context deadline exceeded\nFAIL' ]]
}

for package in $(xargs -n1 dirname <<<"$files" | sort -u); do
	# Built once for all targets of the package, with the instructions that tell the fuzzer which code is new.
	go test -c -fuzz=. -o "$work/fuzz.test" "./${package#./}"
	targets=$("$work/fuzz.test" -test.list '^Fuzz')
	if [[ -z "$targets" ]]; then
		echo "the tests of $package list no fuzz target" >&2
		exit 1
	fi
	for target in $targets; do
		echo "== ${package#./} $target"
		(cd "$root/$package" && fuzz "$target") || exit 1
		count=$((count + 1))
	done
done
echo "== $count fuzz targets passed"
