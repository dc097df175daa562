# A Lambda function that is one jq program: it cleans the records of a Firehose stream on their way.
#
#     BOOTSTRAP_MODE=filter
#     BOOTSTRAP_COMMAND="jq --unbuffered -cn -f firehose.jq"
#
# Each event is a line of JSON on stdin, and the next line on stdout is its response: -c keeps it one line, and
# --unbuffered sends it at once. With -n and `inputs`, jq runs this program once, over all events, so that an error ends
# jq: the caller gets Runtime.ExitError with jq's message in its stackTrace, and the next event a fresh jq. Without them
# jq would only log the error and read on, and the event would wait for its deadline.
#
# The event is {"records":[{"recordId":"…","data":"<base64>"},…]}, each record a log entry in JSON. It leaves with its
# level in capitals and no password in it. Entries of level DEBUG are dropped; what can't be read is handed back.

def entry: @base64d | fromjson | if type == "object" then . else error("no object") end;
def clean: .level |= (. // "info" | ascii_upcase) | del(.password);

def record:
    . as {$recordId, $data}
    | try ($data | entry | clean
        | {$recordId, result: (if .level == "DEBUG" then "Dropped" else "Ok" end), data: (tojson + "\n" | @base64)})
      catch {$recordId, result: "ProcessingFailed", $data};

# Exactly one output for each input: nothing but its place ties a response to its event.
inputs
| if type == "object" and (.records | type) == "array" then {records: [.records[] | record]}
  else error("this is no event of Firehose: it has no list of records")
  end
