//! The same calls to AWS's emulator and to `bootstrap serve`, with the same bootstrap and the same handler in both.
//!
//! What differs is in the tables here, each with the reason; `docs/serve.md` shows them. Where the emulator differs from
//! Lambda, `serve` is held to what Lambda does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Emulator, Served, Setup};
use crate::it_support::{Call, Client, Reply, bootstrap, fixture, show};

/// A call, and what it is called.
type Named = (&'static str, fn() -> Call);

/// A call that is answered differently: what comes from the emulator, what from `serve`, and why.
struct Different(Named, &'static str, &'static str, &'static str);

/// A header that the emulator lacks: its name and value, the answers of `serve` that have it, and why.
struct Header(&'static str, &'static str, &'static str, fn(&str, &Reply) -> bool, &'static str);

/// A member of the handler's context that differs.
struct Member(&'static str, &'static str, &'static str, &'static str);

const LOG_TAIL: &str = "`X-Amz-Log-Type: Tail`";
const OTHER_PATH: &str = "any other path";

const TRACE_ID: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// A call whose handler takes these steps.
fn steps(steps: &Value) -> Call {
    Call::invoke("function", steps.to_string())
}

fn response() -> Call {
    steps(&json!([{"response": "done"}]))
}

/// A call whose handler answers with a string that makes a response of so many bytes.
fn response_of(size: usize) -> Call {
    let start = "{\"id\":\"@ID@\",\"response\":\"";
    steps(&json!([{"out": start}, {"outMany": ["x", size - 2]}, {"out": "\"}\n"}]))
}

/// What is answered with the same status and the same bytes, but for ids and times.
const SAME: &[Named] = &[
    ("an event", || Call::invoke("function", r#"{"price": 1.10, "n": 12345678901234567890, "n": "\ud800é"}"#)),
    ("an event of several lines", || Call::invoke("function", "{\n  \"a\": [1,\n2]}\n")),
    ("an event that is `null`", || Call::invoke("function", "null")),
    ("a qualifier", || Call::new("POST", "/2015-03-31/functions/function/invocations?Qualifier=live").body("{}")),
    ("`X-Amz-Client-Context`", || Call::invoke("function", "{}").header("X-Amz-Client-Context", "eyJjdXN0b20iOnsibiI6MS4xMH19")),
    (LOG_TAIL, || steps(&json!([{"err": "a line\n"}, {"response": 1}])).header("X-Amz-Log-Type", "Tail")),
    ("the response `null`", || steps(&json!([{"response": null}]))),
    ("a response of 6 MiB and 100 bytes", || response_of(6_291_556)),
    ("a response of a byte more", || response_of(6_291_557)),
    ("a streamed response", || steps(&json!([{"stream": {}}, {"chunk": "one"}, {"chunk": ", two"}, {"end": true}]))),
    ("a streamed response with a prelude", || {
        steps(&json!([{"stream": {"statusCode": 201, "contentType": "text/html"}}, {"chunk": "<h1>"}, {"end": true}]))
    }),
    ("an error reply", || {
        steps(&json!([{"error": {"errorType": "NotFound", "errorMessage": "no such order", "stackTrace": ["a"]}}]))
    }),
    ("an error reply of a text", || steps(&json!([{"error": "no such order"}]))),
    ("a reply that is not JSON", || steps(&json!([{"out": "{\"id\":\"@ID@\",\"response\":}\n"}, {"hang": true}]))),
    ("a handler that exits", || steps(&json!([{"exit": 3}]))),
    ("a handler that is killed", || steps(&json!([{"signal": 9}]))),
    ("the event after that", response),
];

/// What is answered the same when the function has three seconds.
const SAME_IN_TIME: &[Named] = &[("a handler that does not reply in time", || steps(&json!([{"hang": true}])))];

const DIFFERENT: &[Different] = &[
    Different(
        ("an empty body", || Call::invoke("function", "")),
        r#"200: "eventBase64":"""#,
        r#"200: "event":{}"#,
        "Lambda makes it an empty object",
    ),
    Different(
        ("a body that is not JSON", || Call::invoke("function", r#"{"a""#)),
        r#"200: "eventBase64":"eyJhIg==""#,
        "400: InvalidRequestContentException",
        "Lambda refuses it, and no handler sees it",
    ),
    Different(
        ("a body that is not UTF-8", || Call::invoke("function", b"\"\xff\"")),
        r#"200: "eventBase64":"Iv8i""#,
        "400: InvalidRequestContentException",
        "the same",
    ),
    Different(
        ("a body of more than 6 MiB", || {
            let event = r#"[{"response":"done"}]"#;
            Call::invoke("function", format!("{event}{}", " ".repeat(7 << 20)))
        }),
        r#"200: "done""#,
        "413: RequestTooLargeException",
        "the emulator cuts it without a word",
    ),
    Different(
        ("another function's name", || Call::invoke("orders", "{}")),
        "404: 404 page not found",
        "404: ResourceNotFoundException",
        "clients know an exception by its type",
    ),
    Different(
        ("the function's ARN", || {
            Call::invoke("arn:aws:lambda:us-east-1:123456789012:function:function", r#"[{"response":"done"}]"#)
        }),
        "404: 404 page not found",
        r#"200: "done""#,
        "Lambda takes names and ARNs",
    ),
    Different(
        ("`GET` in place of `POST`", || Call::new("GET", "/2015-03-31/functions/function/invocations")),
        r#"200: "eventBase64":"""#,
        "404: UnknownOperationException",
        "the emulator invokes the function whatever the method",
    ),
    Different(
        ("a call of Lambda's that is not here", || Call::new("GET", "/2015-03-31/functions/function")),
        "404: 404 page not found",
        "404: UnknownOperationException",
        "clients know an exception by its type",
    ),
    Different(
        (OTHER_PATH, || Call::new("GET", "/orders/12")),
        "404: 404 page not found",
        r#"200: "event":{"version":"2.0","routeKey":"$default",…"#,
        "the emulator has no function URL",
    ),
    Different(
        ("`InvokeWithResponseStream`", || {
            let call = Call::new("POST", "/2021-11-15/functions/function/response-streaming-invocations");
            call.body(r#"[{"response":"done"}]"#)
        }),
        "404: 404 page not found",
        "200: an event stream",
        "the emulator does not have this call",
    ),
    Different(
        ("`X-Amz-Invocation-Type: Event`", || response().header("X-Amz-Invocation-Type", "Event")),
        r#"200: "done""#,
        "202",
        "Lambda queues the event, and its caller does not wait",
    ),
    Different(
        ("`X-Amz-Invocation-Type: DryRun`", || response().header("X-Amz-Invocation-Type", "DryRun")),
        r#"200: "done""#,
        "204",
        "Lambda does not invoke the function",
    ),
    Different(
        ("an invocation type that there is not", || response().header("X-Amz-Invocation-Type", "Now")),
        r#"200: "done""#,
        "400: ValidationException",
        "Lambda refuses it",
    ),
    Different(
        ("a log type that there is not", || response().header("X-Amz-Log-Type", "All")),
        r#"200: "done""#,
        "400: ValidationException",
        "Lambda refuses it",
    ),
    Different(
        ("a client context that is not base64", || response().header("X-Amz-Client-Context", "?")),
        "500",
        "400: InvalidRequestContentException",
        "the caller's mistake is not the server's",
    ),
    Different(
        ("a stream that ends in an error", || {
            steps(&json!([{"stream": {}}, {"chunk": "one"}, {"error": {"errorType": "NotFound", "errorMessage": "a"}}]))
        }),
        "200: one",
        "200: the error NotFound",
        "the emulator hides that it broke off",
    ),
    Different(
        ("a runtime that is killed", || steps(&json!([{"signalRuntime": 9}]))),
        "502: the error Runtime.ExitError",
        "200: the error Runtime.ExitError",
        "Lambda's status is 200 for each error of a function",
    ),
];

/// What differs when the function has three seconds.
const DIFFERENT_IN_TIME: &[Different] = &[Different(
    ("a runtime that does not answer in time", || steps(&json!([{"signalRuntime": 19}]))),
    "200: Task timed out after 3.00 seconds",
    "200: the error Sandbox.Timedout",
    "Lambda answers with an error document",
)];

/// What differs where there is no handler.
const DIFFERENT_WITHOUT_A_HANDLER: &[Different] = &[Different(
    ("a handler that is not there", response),
    "502: the error Runtime.HandlerNotFound",
    "200: the error Runtime.HandlerNotFound",
    "the same",
)];

const HEADERS: &[Header] = &[
    Header("x-amzn-requestid", "the request's id", "all", |_, _| true, "the log and the handler's message have it, too"),
    Header(
        "x-amzn-trace-id",
        "the trace id",
        "those below 300",
        |_, reply| reply.status < 300,
        "it is the caller's or, without one, new",
    ),
    Header(
        "content-type",
        "`application/json`",
        "all that have a body, but the event stream",
        |_, reply| !reply.body.is_empty() && !is_event_stream(reply),
        "the emulator says `text/plain; charset=utf-8` or `application/octet-stream`, as the bytes look",
    ),
    Header(
        "x-amzn-errortype",
        "the exception's type",
        "those of 400 and above",
        |_, reply| reply.status >= 400,
        "clients know the exception by it",
    ),
    Header(
        "x-amz-executed-version",
        "`$LATEST`",
        "200, but at a function URL",
        |name, reply| reply.status == 200 && name != OTHER_PATH,
        "clients give it as `ExecutedVersion`",
    ),
    Header(
        "x-amz-function-error",
        "`Unhandled`",
        "200 with the error of a function",
        |_, reply| reply.status == 200 && error_type(reply).is_some(),
        "without it a failure looks like a response",
    ),
    Header(
        "x-amz-log-result",
        "the end of the log, in base64",
        "200 where `X-Amz-Log-Type: Tail` was sent",
        |name, _| name == LOG_TAIL,
        "clients give it as `LogResult`",
    ),
];

/// Those of a call that has a trace id, a client context and a tenant's id.
const MEMBERS: &[Member] = &[
    Member(
        "functionName",
        "test_function",
        "function",
        "the emulator takes it from `AWS_LAMBDA_FUNCTION_NAME`, `serve` from `--function-name`",
    ),
    Member(
        "invokedFunctionArn",
        "arn:aws:lambda:us-east-1:012345678912:function:test_function",
        "arn:aws:lambda:us-east-1:123456789012:function:function",
        "it has the function's name",
    ),
    Member("logGroupName", "/aws/lambda/Functions", "/aws/lambda/function", "it has the function's name"),
    Member("logStreamName", "$LATEST", "YYYY/MM/DD/[$LATEST]…", "each environment has its own"),
    Member("traceId", "—", TRACE_ID, "the emulator drops `X-Amzn-Trace-Id`"),
    Member("traceparent", "—", "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01", "the same"),
];

fn is_event_stream(reply: &Reply) -> bool {
    reply.header("content-type") == Some("application/vnd.amazon.eventstream")
}

/// The type in an error document.
fn error_type(reply: &Reply) -> Option<String> {
    let document: Value = serde_json::from_slice(&reply.body).ok()?;
    Some(document.get("errorType")?.as_str()?.to_owned())
}

/// The two, with the same handler.
struct Pair {
    emulator: Emulator,
    served: Served,
}

impl Pair {
    #[track_caller]
    fn start(timeout: &str) -> Pair {
        Pair::of(fixture("handlers/tells_or_does_as_told.py"), timeout)
    }

    #[track_caller]
    fn of(handler: impl AsRef<Path>, timeout: &str) -> Pair {
        let emulator = Setup::new().env("AWS_LAMBDA_FUNCTION_TIMEOUT", timeout).env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
        Pair {
            emulator: Emulator::start(emulator, &handler),
            served: Served::start(bootstrap(["serve", "--timeout", timeout]), &handler),
        }
    }

    /// Sends both the same call.
    fn call(&self, call: fn() -> Call) -> [Reply; 2] {
        let ask = |address: SocketAddr| Client::connect(address).call(&call());
        std::thread::scope(|scope| {
            let emulator = scope.spawn(|| ask(self.emulator.address()));
            let served = ask(self.served.address());
            [emulator.join().unwrap(), served]
        })
    }

    #[track_caller]
    fn answer_the_same(&self, calls: &[Named]) {
        for &(name, call) in calls {
            let [emulator, served] = self.call(call);
            assert_eq!(emulator.status, served.status, "{name}\n{emulator}\n{served}");
            let (a, b) = (comparable(&emulator), comparable(&served));
            assert!(a == b, "{name}: the emulator's\n{}\nand serve's\n{}\ndiffer", show(a.as_bytes()), show(b.as_bytes()));
            has_headers(name, &emulator, &served);
        }
    }

    #[track_caller]
    fn answer_differently(&self, calls: &[Different]) {
        for &Different((name, call), of_emulator, of_served, _) in calls {
            let [emulator, served] = self.call(call);
            assert_eq!([summary(&emulator), summary(&served)], [of_emulator, of_served], "{name}\n{emulator}\n{served}");
            has_headers(name, &emulator, &served);
        }
    }
}

#[track_caller]
fn has_headers(name: &str, emulator: &Reply, served: &Reply) {
    for &Header(header, value, _, is_due, _) in HEADERS {
        let is_due = is_due(name, served);
        let (of_emulator, of_served) = (emulator.header(header), served.header(header));
        if header == "content-type" {
            let known = [None, Some("text/plain; charset=utf-8"), Some("application/octet-stream")];
            assert!(known.contains(&of_emulator), "{name}: {emulator}");
            assert!(is_due || of_served.is_none() || is_event_stream(served), "{name}: {served}");
        } else {
            assert_eq!(of_emulator, None, "{name}: {emulator}");
            assert_eq!(of_served.is_some(), is_due, "{name}: {header}: {served}");
        }
        if let Some(value) = value.strip_prefix('`').filter(|_| is_due) {
            assert_eq!(of_served, value.strip_suffix('`'), "{name}: {header}: {served}");
        }
    }
}

/// The body without what no two answers have in common: ids, milliseconds, and the context of the handler, which is compared elsewhere.
fn comparable(reply: &Reply) -> String {
    let told: Option<Value> = serde_json::from_slice(&reply.body).ok();
    if let Some(came) = told.as_ref().and_then(|told| told.get("came")?.as_str()) {
        return came.to_owned();
    }
    let text = String::from_utf8_lossy(&reply.body);
    let is_id = |word: &str| word.len() == 36 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let mut words: Vec<&str> = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    for at in 0..words.len() {
        let word = words[at].trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_time =
            word.bytes().all(|byte| byte.is_ascii_digit()) && words.get(at + 1).is_some_and(|next| next.starts_with("ms"));
        if is_id(word) || is_time {
            words[at] = "… ";
        }
    }
    words.concat()
}

/// The status, and the exception's or the error's type, or the beginning of the body.
fn summary(reply: &Reply) -> String {
    const MOST: usize = 48;
    let said = match reply.header("x-amzn-errortype") {
        Some(exception) => exception.to_owned(),
        None if is_event_stream(reply) => "an event stream".to_owned(),
        None => error_type(reply).map_or_else(|| comparable(reply), |error_type| format!("the error {error_type}")),
    };
    let cut = if said.chars().count() > MOST { "…" } else { "" };
    let said: String = said.trim().chars().take(if cut.is_empty() { MOST } else { MOST - 1 }).collect();
    if said.is_empty() { reply.status.to_string() } else { format!("{}: {said}{cut}", reply.status) }
}

#[test]
fn what_is_the_same_beside_the_emulator_and_what_is_known_to_differ() {
    let pair = Pair::start("300");
    pair.answer_the_same(SAME);
    pair.answer_differently(DIFFERENT);
    pair.answer_the_same(&[("the event after the last", response)]);
    pair.served.end();
}

#[test]
fn times_out_beside_the_emulator() {
    let pair = Pair::start("3");
    pair.answer_the_same(SAME_IN_TIME);
    pair.answer_differently(DIFFERENT_IN_TIME);
    pair.served.end();
}

#[test]
fn an_init_error_beside_the_emulator() {
    let pair = Pair::of("/nowhere/to/be/found", "300");
    // Each event has it.
    for _ in 0..2 {
        pair.answer_differently(DIFFERENT_WITHOUT_A_HANDLER);
    }
    pair.served.end();
}

#[test]
fn the_handlers_context_beside_the_emulator() {
    let pair = Pair::start("300");
    let contexts = pair.call(|| {
        let call = Call::invoke("function", "{}").header("X-Amzn-Trace-Id", TRACE_ID).header("X-Amz-Tenant-Id", "blue");
        call.header("X-Amz-Client-Context", "eyJjdXN0b20iOnsibiI6MS4xMH19")
    });
    let [emulator, served] = contexts.map(|reply| {
        let mut context: BTreeMap<String, Value> = serde_json::from_value(reply.json()["context"].take()).unwrap();
        assert!(context.remove("deadlineMs").is_some_and(|deadline| deadline.is_u64()), "{reply}");
        let shown = |name: &str, value: Value| match value {
            Value::String(text) if name == "logStreamName" && text.contains("/[$LATEST]") => "YYYY/MM/DD/[$LATEST]…".to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        context.into_iter().map(|(name, value)| (name.clone(), shown(&name, value))).collect::<BTreeMap<_, _>>()
    });
    for (name, value) in &served {
        let known = MEMBERS.iter().find(|member| member.0 == name);
        let (of_emulator, of_served) = known.map_or((&**value, &**value), |member| (member.1, member.2));
        let came = (emulator.get(name).map_or("—", String::as_str), &**value);
        assert_eq!(came, (of_emulator, of_served), "{name}: {emulator:?}\n{served:?}");
    }
    assert!(emulator.keys().all(|name| served.contains_key(name)), "{emulator:?}\n{served:?}");
    assert!(MEMBERS.iter().all(|member| served.contains_key(member.0)), "{served:?}");
    pair.served.end();
}

#[test]
fn the_documentation_has_these_tables() {
    let documentation = include_str!("../../docs/serve.md");
    let mut calls = "| call | RIE | `bootstrap serve` | why |\n|---|---|---|---|\n".to_owned();
    for Different((name, _), emulator, served, why) in DIFFERENT.iter().chain(DIFFERENT_WITHOUT_A_HANDLER).chain(DIFFERENT_IN_TIME)
    {
        calls += &format!("| {name} | `{emulator}` | `{served}` | {why} |\n");
    }
    let mut headers = "| header | value | which answers | why |\n|---|---|---|---|\n".to_owned();
    for Header(name, value, which, _, why) in HEADERS {
        headers += &format!("| `{name}` | {value} | {which} | {why} |\n");
    }
    let mut members = "| member | RIE | `bootstrap serve` | why |\n|---|---|---|---|\n".to_owned();
    for Member(name, emulator, served, why) in MEMBERS {
        members += &format!("| `{name}` | `{emulator}` | `{served}` | {why} |\n");
    }
    let mut same = String::new();
    for (name, _) in SAME.iter().chain(SAME_IN_TIME) {
        same += &format!("- {name}\n");
    }
    let emulator = include_str!("../requirements.txt").lines().find_map(|line| line.strip_prefix("aws-sam-cli==")).unwrap();
    assert!(documentation.contains(&format!("RIE is the one in `aws-sam-cli` {emulator}.")), "it has another version: {emulator}");
    for part in [calls, headers, members, same] {
        assert!(
            documentation.contains(&format!("\n\n{part}\n")),
            "docs/serve.md does not have this, with empty lines around it:\n\n{part}"
        );
    }
}
