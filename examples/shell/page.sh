#!/bin/sh
# A web page that reaches its reader while it is made, with nothing but sh: the factors of the numbers that were asked
# for, row by row. It serves a function URL of Lambda whose invoke mode is RESPONSE_STREAM. On a laptop:
#
#     bootstrap invoke --event '{"rawQueryString":"n=12,91,1000003"}' -- examples/shell/page.sh
#
# A message is cut by position, as in hello.sh. In an event of a function URL the first member with the name
# rawQueryString is the query as the reader sent it, percent-encoded; what is used of it is digits and commas alone. So
# nothing of the reader's can break out of the JSON or of the page.

# reply MEMBER: one line. What a chunk holds is on its way to the reader at once.
reply() { printf '{"id":"%s",%s}\n' "$id" "$1"; }
chunk() { reply "\"chunk\":\"$1\\n\""; }

# Sets found to the factors of a number from 2 up, found one after the other by trial.
factors() {
    rest=$1 candidate=2 found=
    while [ $((candidate * candidate)) -le "$rest" ]; do
        if [ $((rest % candidate)) = 0 ]; then
            found="$found$candidate × "
            rest=$((rest / candidate))
        else
            candidate=$((candidate + 1))
        fi
    done
    found=$found$rest
}

# A mistake of the reader's is a page as well.
refuse() {
    reply '"stream":{"statusCode":400,"contentType":"text/html; charset=utf-8"}'
    chunk '<!DOCTYPE html><title>Factors</title><p>Ask for numbers from 2 to 9999999999: <code>?n=12,91</code>'
    reply '"end":true'
}

page() {
    numbers=$1
    reply '"stream":{"statusCode":200,"contentType":"text/html; charset=utf-8","headers":{"cache-control":"no-store"}}'
    chunk '<!DOCTYPE html><title>Factors</title><h1>Factors</h1><table>'
    while [ -n "$numbers" ]; do
        number=${numbers%%,*}
        numbers=${numbers#"$number"}
        numbers=${numbers#,}
        factors "$number"
        printf '%s: %s is done\n' "$id" "$number" >&2
        chunk "<tr><td>$number<td>$found"
    done
    chunk '</table>'
    reply '"end":true'
}

# Sets numbers to the list in the query n=12,91 of an event; fails where it has none that can be answered.
asked() {
    case $1 in *'"rawQueryString":"n='*) ;; *) return 1 ;; esac
    query=${1#*'"rawQueryString":"n='}
    query=${query%%'"'*}
    # A comma may come encoded. No more than 200 characters are answered.
    [ ${#query} -le 200 ] || return
    numbers=
    while :; do
        case $query in *%2[Cc]*) ;; *) break ;; esac
        numbers=$numbers${query%%%2[Cc]*},
        query=${query#*%2[Cc]}
    done
    numbers=$numbers$query
    # Each number has 1 to 10 digits and no zero in front; 1 is the product of none.
    case ,$numbers, in *[!0-9,]* | *,,* | *,0* | *,1,* | *[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]*) return 1 ;; esac
}

# The end of stdin is the end of the program.
while IFS= read -r message || [ -n "$message" ]; do
    head=${message%%',"event'*} # what stands before the event: the id and the context
    event=${message#"$head"}
    id=${head#*'"id":"'}
    id=${id%%'"'*}
    case $head in *'"clientContext":'* | *'"identity":'*) [ -z "$event" ] || event=',"event":' ;; esac
    case $event in # what has no event asks for nothing
    ,\"event\":* | ,\"eventBase64\":*) if asked "$event"; then page "$numbers"; else refuse; fi ;;
    esac
done
