# The program of greet.sh: a message in, the whole reply out.

def refuse($type; $message): error({errorType: $type, errorMessage: $message});

# What is not JSON comes as eventBase64. Most of it is JSON behind a byte order mark.
def the_event:
    if has("event") then .event
    else .eventBase64 | @base64d | ltrimstr("\ufeff") | try fromjson catch refuse("NotJson"; "the event is not JSON")
    end;

def shown: tojson | if length > 80 then .[:80] + "..." else . end;
def whole($least; $most): type == "number" and . == floor and $least <= . and . <= $most;

# The price of one line in cents. Cents are whole numbers and bounded, so that every sum is exact.
def price($number):
    def wrong($what): refuse("InvalidOrder"; "line \($number): \($what)");
    def wrong($what; $value): wrong("\($what), not \($value | shown)");
    if type != "object" then wrong("must be an object, not \(type)")
    elif (.item | type) != "string" then wrong("item must be a text"; .item)
    elif (.quantity | whole(1; 10000) | not) then wrong("quantity must be a whole number, 1 to 10000"; .quantity)
    elif (.cents | whole(0; 1000000) | not) then wrong("cents must be a whole number, 0 to 1000000"; .cents)
    else .quantity * .cents
    end;

def greet:
    def wrong($what): refuse("InvalidOrder"; $what);
    if type != "object" then wrong("the event must be an object, not \(type)")
    elif (.name | type) != "string" or .name == "" then wrong("name must be a text, and not empty")
    elif .lines != null and (.lines | type) != "array" then wrong("lines must be a list, not \(.lines | type)")
    else .
    end
    | (.lines // []) as $lines
    | {
        greeting: "Hello, \(.name)!",
        lines: ($lines | length),
        totalCents: (reduce range($lines | length) as $i (0; . + ($lines[$i] | price($i + 1))))
    };

# A context member that is unknown is absent, and then so is the time left.
def time_left: if .context.deadlineMs then {timeLeftMs: (.context.deadlineMs - now * 1000 | floor)} else {} end;

# An error raised here is an object, in the form of an error reply; one that jq raises is a text, and tells of a
# mistake in this program. `debug` writes to stderr, and so makes a log line.
{id} + (
    try {response: ((the_event | greet | debug) + time_left)}
    catch {error: (if type == "object" then . else {errorType: "GreetFailed", errorMessage: tostring} end)}
)
