#!/bin/sh
# One process for each event, BOOTSTRAP_MODE=oneshot: the event is on stdin, what stands on stdout at the end is the
# response, and the exit status tells whether it went well. Any program that is used so in a shell is a function.
#
# This one measures a text, on an event like {"text":"Guten Tag,\nZoë"}, with programs that are everywhere, and jq.

set -eu

# stderr is the log. What is known of the invocation is in the environment, and a variable that is not known is not set.
# The programs that are started here have it too: those that speak OpenTelemetry find their parent in TRACEPARENT.
log() { printf '%s: %s\n' "${AWS_LAMBDA_REQUEST_ID:-no request}" "$*" >&2; }

# A status other than 0 makes the invocation an error, Runtime.ExitError. Its stackTrace has the last lines of the log,
# so that the caller sees the reason.
fail() { log "$1"; exit 65; }

seconds_left() {
    [ -n "${AWS_LAMBDA_DEADLINE_MS:-}" ] || { echo unknown; return; }
    echo $((AWS_LAMBDA_DEADLINE_MS / 1000 - $(date +%s)))
}

# The function: the event is its argument.
handler() {
    event=$1
    log "begins, an event of ${#event} characters, seconds left: $(seconds_left)"
    text() { printf '%s' "$event" | jq -j .text; }

    # Twice: is it JSON at all, and is it what is wanted here?
    kind=$(printf '%s' "$event" | jq -r 'if type == "object" then .text | type else type end') || fail "the event is not JSON"
    [ "$kind" = string ] || fail "the event must be an object whose text is a string, not $kind"

    read -r lines words bytes <<END
$(text | wc)
END
    sum=$(text | sha256sum)
    printf '{"lines":%d,"words":%d,"bytes":%d,"sha256":"%s"}\n' "$lines" "$words" "$bytes" "${sum%% *}"
    log "ends"
}

# $(cat) is the whole of stdin. A file of AWS's tutorial, which defines a function handler, needs no more than this line
# at its end and a #! line on top.
handler "$(cat)"
