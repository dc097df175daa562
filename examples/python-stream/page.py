#!/usr/bin/env python3
"""A web page that reaches its reader while it is made: the factors of the numbers that were asked for, row by row.

It serves a function URL of Lambda whose invoke mode is RESPONSE_STREAM, with nothing but Python. On a laptop:

    bootstrap invoke --event '{"queryStringParameters":{"n":"12,91,1000003"}}' -- examples/python-stream/page.py

bootstrap starts this program once and writes a line to its stdin for each event:

    {"id":"…","context":{…},"event":{…}}

The answer is made of lines too, each with the id of its event. What a chunk holds is on its way to the reader at once:

    {"id":"…","stream":{"statusCode":200,"contentType":"text/html"}}
    {"id":"…","chunk":"<h1>Factors</h1>"}
    {"id":"…","end":true}

For a page of your own, change `page` and keep the rest.
"""

import base64
import html
import json
import os
import re
import sys
import traceback

# Replies go to a descriptor of their own. So print() can say what it likes: it makes log lines, never a reply.
replies = open(int(os.environ.get("BOOTSTRAP_REPLY_FD", 1)), "w", closefd=False)
sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")


class Answer:
    """The answer to one event: stream, chunk, chunk, …, end."""

    def __init__(self, message_id):
        self.id = message_id

    def stream(self, status=200, content_type="text/html; charset=utf-8", headers=None):
        """Opens the answer: from here on the status and the headers stand."""
        self._say(stream={"statusCode": status, "contentType": content_type, "headers": headers or {}})

    def chunk(self, data):
        """Sends a piece of the body, text or bytes. It waits only where the reader is slower than we are."""
        if isinstance(data, bytes):
            self._say(chunkBase64=base64.b64encode(data).decode())
        else:
            # Half a surrogate pair, which a JSON event may hold, has no place in UTF-8: it becomes a question mark.
            self._say(chunk=data.encode("utf-8", "replace").decode())

    def end(self):
        """All is said. Without this, the event would wait for its deadline."""
        self._say(end=True)

    def error(self, e):
        """Ends the answer with an error, also in its middle: then what was sent stays sent, and the reader sees that it broke off."""
        self._say(error={"errorType": type(e).__name__, "errorMessage": str(e), "stackTrace": traceback.format_tb(e.__traceback__)})

    def _say(self, **member):
        # JSON on one line, all of it ASCII. Without the flush it would wait in a buffer.
        print(json.dumps({"id": self.id, **member}), file=replies, flush=True)


def factors(text):
    rest = int(text)
    if not 2 <= rest <= 10**12:
        raise ValueError(f"{rest} is not between 2 and 1000000000000")
    found, candidate = [], 2
    while candidate * candidate <= rest:
        if rest % candidate == 0:
            found.append(candidate)
            rest //= candidate
        else:
            candidate += 1
    return [*found, rest]


def page(event, context, answer):
    """The function. What it raises, before the stream is open or after, ends the answer with an error."""
    try:
        numbers = event["queryStringParameters"]["n"].split(",")
    except (AttributeError, KeyError, TypeError):
        # A mistake of the reader's is a page as well.
        answer.stream(status=400)
        answer.chunk("<!DOCTYPE html><title>Factors</title><p>Ask for numbers: <code>?n=12,91</code>\n")
        return

    answer.stream(headers={"cache-control": "no-store"})
    answer.chunk("<!DOCTYPE html><title>Factors</title><h1>Factors</h1><table>\n")
    for number in numbers:
        row = " × ".join(map(str, factors(number)))
        print(f"{number} is done")
        answer.chunk(f"<tr><td>{html.escape(number)}<td>{row}\n")
    answer.chunk("</table>\n")


def main():
    # The end of stdin is the end of the program.
    for line in sys.stdin.buffer:
        # The id is the message's first member: known even where the rest is more than Python's reader can take. A line
        # without one, an empty one for instance, asks for nothing.
        start = re.match(rb'\s*{"id":"([^"]*)"', line)
        if not start:
            continue
        answer = Answer(start[1].decode())
        try:
            message = json.loads(line)
            if "event" in message:
                page(message["event"], message["context"], answer)
                answer.end()
            elif "eventBase64" in message:
                raise ValueError("the event is not JSON")
        except Exception as e:
            answer.error(e)


if __name__ == "__main__":
    main()
