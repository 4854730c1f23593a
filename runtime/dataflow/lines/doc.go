// SPDX-License-Identifier: Apache-2.0

// Package lines makes rows of text and JSON lines, and JSON lines of rows.
//
// A JSON line is read in one pass, straight into the columns: no tree is built and nothing is allocated for a line. The
// whole line is checked, also the parts that no column needs. A field that is missing or null is the zero value of its
// column; of fields with the same name the last one counts.
package lines
