#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target of the module for some time, one after the other, and stops at the first failure. What made it fail is
# in testdata/fuzz of the package: mend the code, and commit the file as a regression test.
#
#   hack/fuzz.sh 60s                   all targets
#   hack/fuzz.sh 10m runtime/snapshot  those of one package
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:?give the time for each target, such as 60s}
folder=${2:-.}

targets=$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' "$folder" | sort)
if [[ -z "$targets" ]]; then
	echo "no fuzz target below $folder" >&2
	exit 1
fi
while IFS=: read -r file func; do
	package="./$(dirname "${file#./}")"
	echo "== $package ${func#func }"
	go test "$package" -run='^$' -fuzz="^${func#func }\$" -fuzztime="$time" -fuzzminimizetime=20x -parallel=1
done <<<"$targets"
