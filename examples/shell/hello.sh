#!/bin/sh
# A whole handler that needs nothing but sh: it answers {"hello":<the event, byte for byte>}.
#
# It cuts the message by position. That is sound because the members stand in a fixed order, the event last,
# and because a quote inside a JSON string is escaped: the first `,"event` is the message's own. Only what a
# caller puts into the context as JSON, clientContext and identity, could hold those bytes too; where one
# stands ahead of the cut, the reply is an error.

while IFS= read -r message || [ -n "$message" ]; do
    head=${message%%',"event'*} # what stands before the event: the id and the context
    tail=${message#"$head"}
    id=${head#*'"id":"'}
    id=${id%%'"'*}
    case $head in *'"clientContext":'* | *'"identity":'*) tail=unsure ;; esac
    case $tail in # the tail ends with the brace that closed the message, and so it closes the reply
    ,\"event\":*) printf '{"id":"%s","response":{"hello":%s}\n' "$id" "${tail#*:}" ;;
    ?*) printf '{"id":"%s","error":{"errorType":"NeedsParser","errorMessage":"sh has no JSON parser"}}\n' "$id" ;;
    esac
done
