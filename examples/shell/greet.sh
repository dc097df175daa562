#!/bin/sh
# Greets a customer by name and adds up the order, on an event like
#
#     {"name":"Zoë","lines":[{"item":"tea","quantity":2,"cents":350}]}
#
# It needs jq 1.6 or later, and greet.jq beside it. All JSON is read and made by jq, so no text of a caller's can
# break out of its string, and a strange event ends in an error reply, not in the end of the handler.

set -u
program=$(dirname -- "$0")/greet.jq

# Whatever goes to stderr is a log line.
log() {
    printf '%s: %s\n' "$id" "$*" >&2
}

# Said before the first event is read, this is an init error: the function does not start, and the cause is named.
if ! command -v jq >/dev/null; then
    echo '{"ready":false,"error":{"errorType":"MissingProgram","errorMessage":"greet.sh needs jq on its PATH"}}'
    exit 1
fi

# Only `IFS= read -r` leaves a line as it is: without them read trims white space and eats backslashes. A last line
# that has no newline makes read fail, and is a line all the same.
while IFS= read -r message || [ -n "$message" ]; do
    case $message in
    *'"id":"'*,\"event\":* | *'"id":"'*,\"eventBase64\":*) ;;
    *) continue ;; # an empty line, or a message without an event: it asks for nothing
    esac

    # The id is the message's first member and holds neither quote nor backslash. It is cut out here, so that an
    # error can be said even where jq can't read the message.
    id=${message#*'"id":"'}
    id=${id%%'"'*}

    log "begins, a message of ${#message} characters"
    # The reply is held back until jq has ended well: it can't be taken back, and there is only one.
    if reply=$(printf '%s\n' "$message" | jq -c -f "$program") && [ -n "$reply" ]; then
        log "ends"
    else
        log "ends without an answer from jq"
        reply='{"id":"'$id'","error":{"errorType":"GreetFailed","errorMessage":"jq gave no answer; the log says why"}}'
    fi
    printf '%s\n' "$reply"
done
