// SPDX-License-Identifier: Apache-2.0

// Package words is what the demonstrations have in common: the text, its upload to S3, the counts of the shell's tools, and the
// comparison with what a word count job has written.
package words
