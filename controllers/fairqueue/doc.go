// SPDX-License-Identifier: Apache-2.0

// Package fairqueue has a queue for controllers in which no namespace takes all workers.
//
// A controller has a few workers for the objects of all namespaces. Somebody who makes a thousand objects, or edits them in a loop, would keep all of them busy, and
// everybody else waiting. Of this queue no more objects of one namespace are worked on at once than a limit says. What is over it waits aside and
// goes back into the queue, by its priority, when one of the namespace is done; meanwhile the workers get what is next of others.
//
// An object that waits aside is the queue's as one that is worked on is: if it changes meanwhile it isn't handed out twice.
package fairqueue
