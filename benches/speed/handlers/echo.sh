#!/bin/sh
# The handler in sh: echoes in each of bootstrap's modes. Id and event are cut by position.
case ${1-jsonl} in
    jsonl)
        while IFS= read -r line; do
            id=${line#*'{"id":"'}
            event=${line#*'},"event":'}
            printf '{"id":"%s","response":%s}\n' "${id%%\"*}" "${event%\}}"
        done ;;
    filter)
        while IFS= read -r line; do
            printf '%s\n' "$line"
        done ;;
    oneshot)
        exec cat ;;
esac
