use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Answer, Event, Gate, Kind, Report, Route, Run, Setup, stack_of};

const INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";
const NULS: &str = "\0\0\0\0\0\0\0\0";

/// The next event is answered, by the handler that there was or by a fresh one.
#[track_caller]
fn check_next(run: &Run, starts: usize) {
    assert_eq!(run.invoke(json!([{ "response": "next" }])).response(), "\"next\"");
    run.idle();
    assert_eq!(run.starts().len(), starts, "handlers started");
}

/// The fault of a stream is one line of level ERROR.
#[track_caller]
fn check_logged(run: &Run, report: &Report, error_type: &str) {
    let log = run.log_before(report);
    let start = format!("[ERROR] bootstrap: RequestId: {} {error_type}: ", report.id);
    assert_eq!(log.lines().filter(|l| l.starts_with(&start)).count(), 1, "one line for one fault: {log}");
}

#[track_caller]
fn check_warned(run: &Run, id: &str) {
    let log = run.log();
    assert!(log.lines().any(|l| l.starts_with("[WARN] bootstrap: ") && l.contains(id)), "{log}");
}

#[test]
fn each_chunk_has_arrived_before_the_next_is_written() {
    for fd in [1, 3] {
        let run = Run::told();
        let id = run.push(json!([
            { "repliesOn": fd },
            { "stream": {} },
            { "await": "go1" },
            { "chunk": "one" },
            { "await": "go2" },
            { "chunk": "two" },
            { "await": "go3" },
            { "end": true },
        ]));
        run.arrived(0, "");
        let head = run.streamed(0).request;
        assert_eq!(head.header("lambda-runtime-function-response-mode"), Some("streaming"));
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        assert_eq!(head.header("content-type"), Some("application/octet-stream"));
        assert_eq!(head.header("content-length"), None);
        assert_eq!(head.header("lambda-runtime-function-error-type"), None);
        run.touch("go1");
        run.arrived(0, "one");
        run.touch("go2");
        run.arrived(0, "onetwo");
        assert_eq!(run.api().report_count(), 0, "it goes on");
        run.touch("go3");
        let report = run.report(0);
        assert_eq!((report.streamed(), &report.id), ("onetwo".to_owned(), &id));
        check_next(&run, 1);
    }
}

#[test]
fn the_text_of_a_chunk_arrives_as_utf_8() {
    for (text, bytes) in [
        (r"plain", "plain".as_bytes()),
        (r#"\"\\\/\b\f\n\r\t"#, b"\"\\/\x08\x0c\n\r\t"),
        (r"\u0000\u001f\u007f", b"\0\x1f\x7f"),
        (r"\u00e9\u6f22\u2028", "é漢\u{2028}".as_bytes()),
        (r"\ud83e\udd80\uD83E\uDD80", "🦀🦀".as_bytes()),
        ("é漢🦀\u{7f}\u{2028}", "é漢🦀\u{7f}\u{2028}".as_bytes()),
        (r"\\u0041\\n", br"\u0041\n"),
        (r"\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    ] {
        let run = Run::told();
        run.push(json!([
            { "stream": {} },
            { "out": format!("{{\"id\":\"@ID@\",\"chunk\":\"{text}\"}}\n") },
            { "await": "go" },
            { "end": true },
        ]));
        run.arrived(0, bytes);
        run.touch("go");
        assert_eq!(run.report(0).streamed().as_bytes(), bytes);
    }
}

#[test]
fn a_chunk_in_base64_arrives_as_its_bytes() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let run = Run::told();
    let report = run.invoke(json!([
        { "stream": {} },
        { "chunkBase64": BASE64_STANDARD.encode(&bytes) },
        { "chunkBase64": "" },
        { "chunk": "text" },
        { "chunkBase64": "/w==" },
        { "chunkBase64": "/v8=" },
        { "out": "{\"id\":\"@ID@\",\"chunkBase64\":\"\\/w\\u003d=\"}\n" },
        { "end": true },
    ]));
    let expected = [&bytes[..], b"text", b"\xff", b"\xfe\xff", b"\xff"].concat();
    assert_eq!((report.kind, report.request.body), (Kind::Response, expected));
    check_next(&run, 1);
}

#[test]
fn an_empty_chunk_does_not_end_the_stream() {
    let run = Run::told();
    run.push(json!([
        { "stream": {} },
        { "chunk": "" },
        { "chunkBase64": "" },
        { "await": "go" },
        { "chunk": "after" },
        { "chunk": "" },
        { "end": true },
    ]));
    run.arrived(0, "");
    run.touch("go");
    assert_eq!(run.report(0).streamed(), "after");
}

#[test]
fn an_empty_stream_ends() {
    let run = Run::told();
    let report = run.invoke(json!([{ "stream": {} }, { "end": true }]));
    assert_eq!(report.streamed(), "");
    check_next(&run, 1);
    let report = run.invoke(json!([{ "stream": { "statusCode": 204 } }, { "end": true }]));
    let body = report.streamed();
    let prelude = body.strip_suffix(NULS).unwrap();
    assert_eq!(serde_json::from_str::<Value>(prelude).unwrap()["statusCode"], 204);
}

#[test]
fn a_stream_has_its_content_type() {
    let run = Run::told();
    for (stream, content_type) in [
        (json!({}), "application/octet-stream"),
        (json!({ "contentType": "text/html" }), "text/html"),
        (json!({ "contentType": "text/event-stream; charset=utf-8" }), "text/event-stream; charset=utf-8"),
    ] {
        let report = run.invoke(json!([{ "stream": stream }, { "chunk": "body" }, { "end": true }]));
        assert_eq!(report.header("content-type"), Some(content_type));
        assert_eq!(report.streamed(), "body", "no prelude");
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn an_http_stream_begins_with_its_prelude() {
    for (stream, expected) in [
        (json!({ "statusCode": 404 }), json!({ "statusCode": 404 })),
        (json!({ "headers": { "x-a": "1" } }), json!({ "statusCode": 200, "headers": { "x-a": "1" } })),
        (json!({ "cookies": ["a=1; Path=/", "b=é"] }), json!({ "statusCode": 200, "cookies": ["a=1; Path=/", "b=é"] })),
        (json!({ "headers": {} }), json!({ "statusCode": 200 })),
        (
            json!({ "contentType": "text/html", "statusCode": 201 }),
            json!({ "statusCode": 201, "headers": { "content-type": "text/html" } }),
        ),
        (
            json!({ "contentType": "text/html", "statusCode": 200, "headers": { "x-b": "2" }, "cookies": ["c=3"] }),
            json!({ "statusCode": 200, "headers": { "x-b": "2", "content-type": "text/html" }, "cookies": ["c=3"] }),
        ),
    ] {
        let run = Run::told();
        run.push(json!([{ "stream": stream }, { "await": "go" }, { "chunk": "<p>\0\0\0\0\0\0\0\0</p>" }, { "end": true }]));
        // It is there before any chunk.
        let prelude = run.wait("the prelude", || {
            let body = String::from_utf8(run.api().nth_streamed(0)?.request.body).unwrap();
            body.strip_suffix(NULS).map(str::to_owned)
        });
        let mut found: Value = serde_json::from_str(&prelude).unwrap();
        // What is empty may be left out, and a content type that nobody gave is the default's.
        let members = found.as_object_mut().unwrap();
        if stream.get("contentType").is_none()
            && let Some(headers) = members.get_mut("headers").and_then(Value::as_object_mut)
        {
            headers.retain(|name, value| name != "content-type" || value != "application/octet-stream");
        }
        members.retain(|_, value| *value != json!({}) && *value != json!([]));
        assert_eq!(found, expected, "for {stream}");
        run.touch("go");
        let report = run.report(0);
        assert_eq!(report.header("content-type"), Some(INTEGRATION));
        assert_eq!(report.streamed(), format!("{prelude}{NULS}<p>{NULS}</p>"));
    }
}

#[test]
fn a_content_type_among_the_headers_is_the_only_one() {
    let run = Run::told();
    for name in ["content-type", "Content-Type"] {
        let report = run.invoke(json!([{ "stream": { "headers": { name: "text/html", "x-a": "1" } } }, { "end": true }]));
        let body = report.streamed();
        let prelude: Value = serde_json::from_str(body.strip_suffix(NULS).unwrap()).unwrap();
        let headers = prelude["headers"].as_object().unwrap();
        let types: Vec<&Value> = headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("content-type")).map(|(_, v)| v).collect();
        assert_eq!(types, ["text/html"], "{prelude}");
        assert_eq!(prelude["headers"]["x-a"], "1");
    }
}

#[test]
fn what_is_logged_before_a_stream_is_out_before_the_post_begins_and_what_is_logged_before_its_end_before_that() {
    for (log, fd) in [("err", 1), ("out", 1), ("err", 3), ("out", 3)] {
        let run = Run::told();
        let report = run.invoke(json!([
            { "repliesOn": fd },
            { log: "before the stream\n" },
            { "stream": {} },
            { "chunk": "c" },
            { log: "in the stream\n" },
            { "end": true },
        ]));
        assert_eq!(report.streamed(), "c");
        assert!(run.log_before_head(&report).contains("before the stream\n"), "{log}, replies on {fd}");
        assert!(run.log_before(&report).contains("in the stream\n"), "{log}, replies on {fd}");
    }
}

#[test]
fn an_error_in_an_open_stream_is_in_the_trailers_and_the_handler_is_kept() {
    let run = Run::told();
    for (error, error_type, message, header) in [
        (json!("no more rows"), "Function.Error", "no more rows", "Function.Error"),
        (
            json!({ "errorType": "java.lang.IllegalStateException", "errorMessage": "closed", "stackTrace": ["at a"] }),
            "java.lang.IllegalStateException",
            "closed",
            "Function.IllegalStateException",
        ),
        (json!({ "errorType": "Function.NoRows", "errorMessage": "é\n" }), "Function.NoRows", "é\n", "Function.NoRows"),
        (json!({}), "Function.Error", "", "Function.Error"),
    ] {
        let report = run.invoke(json!([{ "stream": {} }, { "chunk": "half a bo" }, { "error": error }]));
        let document = report.breaks_off(error_type, &[message]);
        assert_eq!(document["errorMessage"], message);
        assert_eq!(report.request.body, b"half a bo", "nothing of the error is in the body");
        assert_eq!(report.request.trailer("lambda-runtime-function-error-type"), Some(header));
        assert_eq!(report.header("lambda-runtime-function-error-type"), None, "a trailer, not a header");
    }
    let report = run.invoke(json!([{ "stream": { "statusCode": 200 } }, { "error": "at once" }]));
    report.breaks_off("Function.Error", &["at once"]);
    assert!(report.request.body.ends_with(NULS.as_bytes()), "the prelude is whole");
    check_next(&run, 1);
}

#[test]
fn a_document_too_large_for_a_trailer_is_cut_as_any_other() {
    let run = Run::told();
    let report = run.invoke(json!([{ "stream": {} }, { "error": { "errorMessage": "m".repeat(600_000), "more": "x" } }]));
    report.breaks_off("Function.Error", &["mmm"]);
    check_next(&run, 1);
}

#[test]
fn a_handler_that_ends_in_an_open_stream_is_an_exit_error() {
    for (step, said) in
        [(json!({ "exit": 0 }), "exit status 0"), (json!({ "exit": 7 }), "exit status 7"), (json!({ "signal": 9 }), "SIGKILL")]
    {
        for half in ["", "{\"id\":\"@ID@\",\"chunk\":\"ha", "{\"id\":\"@ID@\",\"end\":tr"] {
            let run = Run::told();
            let report = run.invoke(json!([
                { "stream": {} },
                { "chunk": "body" },
                { "err": "last words\n" },
                { "out": half },
                step,
            ]));
            let document = report.breaks_off("Runtime.ExitError", &[said]);
            assert!(stack_of(&document).contains(&"last words".to_owned()), "{document}");
            assert_eq!(report.request.body, b"body");
            let line = half.replace("@ID@", &report.id);
            assert!(line.is_empty() || run.log_before(&report).lines().any(|l| l == line), "{line} is a log line");
            check_logged(&run, &report, "Runtime.ExitError");
            check_next(&run, 2);
        }
    }
}

#[test]
fn a_stream_that_ended_before_the_exit_has_ended() {
    // With the newline of its last line and without.
    for newline in ["\n", ""] {
        let run = Run::told();
        let last = format!("{{\"id\":\"@ID@\",\"end\":true}}{newline}");
        let report = run.invoke(json!([{ "stream": {} }, { "chunk": "all" }, { "out": last }, { "exit": 3 }]));
        assert_eq!(report.streamed(), "all");
        check_next(&run, 2);
        assert!(!run.log().contains("[ERROR]"), "{}", run.log());
    }
}

#[test]
fn the_deadline_of_an_open_stream_is_a_timeout() {
    let run = Run::told();
    let steps = json!([{ "stream": {} }, { "chunk": "body" }, { "err": "working\n" }, { "hang": true }]);
    run.push(Event::new(steps.to_string()).deadline_in(1000));
    let report = run.report(0);
    let document = report.breaks_off("Function.Timeout", &[]);
    assert_eq!(stack_of(&document), ["working"]);
    assert_eq!(report.request.body, b"body");
    check_logged(&run, &report, "Function.Timeout");
    // The fresh one waits for no event.
    let starts = run.wait_starts(2);
    assert!(!run.processes().iter().any(|(pid, _)| *pid == starts[0]), "the old one is gone");
    check_next(&run, 2);
}

const MALFORMED: &[&str] = &[
    // Out of order.
    r#"{"id":"@ID@","stream":{}}"#,
    r#"{"id":"@ID@","response":1}"#,
    // A chunk that is none.
    r#"{"id":"@ID@","chunk":1}"#,
    r#"{"id":"@ID@","chunk":null}"#,
    r#"{"id":"@ID@","chunk":["c"]}"#,
    r#"{"id":"@ID@","chunk":{}}"#,
    r#"{"id":"@ID@","chunk":"\ud800"}"#,
    r#"{"id":"@ID@","chunk":"\udc00\ud800"}"#,
    r#"{"id":"@ID@","chunk":"\ud83e "}"#,
    r#"{"id":"@ID@","chunkBase64":"a"}"#,
    r#"{"id":"@ID@","chunkBase64":"*==="}"#,
    r#"{"id":"@ID@","chunkBase64":"dGV4\ndA=="}"#,
    r#"{"id":"@ID@","chunkBase64":"dGV4 dA=="}"#,
    r#"{"id":"@ID@","chunkBase64":"dGV4dA==dGV4"}"#,
    r#"{"id":"@ID@","chunkBase64":5}"#,
    // An end that is none.
    r#"{"id":"@ID@","end":false}"#,
    r#"{"id":"@ID@","end":null}"#,
    r#"{"id":"@ID@","end":1}"#,
    r#"{"id":"@ID@","end":"true"}"#,
    r#"{"id":"@ID@","end":{}}"#,
    // What is malformed everywhere.
    r#"{"id":"@ID@","chunk":"c","end":true}"#,
    r#"{"id":"@ID@","chunk":"c","chunkBase64":"Yw=="}"#,
    r#"{"id":"@ID@","chunk":"c","chunk":"c"}"#,
    r#"{"id":"@ID@","chunk":"c","unknown":1}"#,
    r#"{"id":"@ID@","chunk":"unclosed}"#,
    r#"{"id":"@ID@","chunk":"\x"}"#,
    r#"{"id":"@ID@","chunk":'c'}"#,
    r#"{"id":"@ID@","end":true"#,
    r#"{"id":"@ID@","error":1}"#,
];

#[test]
fn a_malformed_reply_in_an_open_stream_is_in_the_trailers_and_costs_the_handler() {
    let run = Run::told();
    for (n, line) in MALFORMED.iter().enumerate() {
        // What follows would be in order: it comes too late.
        let (fd, channel) = if n % 4 == 3 { (3, "fd3") } else { (1, "out") };
        let report = run.invoke(json!([
            { "repliesOn": fd },
            { "stream": {} },
            { "chunk": "body" },
            { channel: format!("{line}\n") },
            { "chunk": "more" },
            { "end": true },
        ]));
        report.breaks_off("Runtime.InvalidReply", &[]);
        assert_eq!(report.request.body, b"body", "for {line}");
        check_logged(&run, &report, "Runtime.InvalidReply");
        check_next(&run, n + 2);
    }
}

#[test]
fn a_chunk_that_is_not_utf_8_is_malformed() {
    let run = Run::told();
    let line = BASE64_STANDARD.encode(b"{\"id\":\"abc\",\"chunk\":\"\xff\"}\n");
    let event = Event::new(json!([{ "stream": {} }, { "outBase64": line }]).to_string()).id("abc");
    run.invoke(event).breaks_off("Runtime.InvalidReply", &[]);
    check_next(&run, 2);
}

#[test]
fn text_on_fd_3_in_an_open_stream_is_malformed() {
    let run = Run::told();
    run.invoke(json!([{ "repliesOn": 3 }, { "stream": {} }, { "fd3": "text\n" }])).breaks_off("Runtime.InvalidReply", &[]);
    check_next(&run, 2);
}

#[test]
fn a_chunk_or_an_end_with_no_open_stream_is_malformed() {
    let run = Run::told();
    for (n, line) in [
        r#"{"id":"@ID@","chunk":"text"}"#,
        r#"{"id":"@ID@","chunkBase64":"dGV4dA=="}"#,
        r#"{"id":"@ID@","end":true}"#,
        r#"{"id":"@ID@","end":false}"#,
    ]
    .iter()
    .enumerate()
    {
        let report = run.invoke(json!([{ "out": format!("{line}\n") }, { "stream": {} }, { "end": true }]));
        assert_eq!(report.kind, Kind::Error, "for {line}");
        report.is_error("Runtime.InvalidReply", &["stream"]);
        assert!(run.api().nth_streamed(0).is_none(), "no stream is opened");
        check_next(&run, n + 2);
    }
}

#[test]
fn a_stream_that_is_opened_with_the_wrong_types_is_malformed() {
    let run = Run::told();
    for (n, stream) in [
        "null",
        "true",
        "\"text/html\"",
        "[]",
        "{\"statusCode\":\"200\"}",
        "{\"headers\":[]}",
        "{\"cookies\":\"a=1\"}",
        "{\"cookies\":[1]}",
        "{\"contentType\":1}",
    ]
    .iter()
    .enumerate()
    {
        let report = run.invoke(json!([{ "out": format!("{{\"id\":\"@ID@\",\"stream\":{stream}}}\n") }, { "end": true }]));
        assert_eq!(report.kind, Kind::Error, "for {stream}");
        report.is_error("Runtime.InvalidReply", &[]);
        check_next(&run, n + 2);
    }
}

#[test]
fn a_content_type_cannot_forge_a_header() {
    for content_type in ["text/html\r\nX-Forged: 1", "text/html\nX-Forged: 1", "text/html\0", "é"] {
        let run = Run::told();
        let report = run.invoke(json!([{ "stream": { "contentType": content_type } }, { "chunk": "c" }, { "end": true }]));
        // Refused or mended: one report, and nothing in it that the handler has smuggled in.
        assert_eq!(report.header("x-forged"), None);
        assert_eq!(run.invoke(json!([{ "response": "next" }])).response(), "\"next\"");
    }
}

#[test]
fn a_second_end_and_what_follows_an_end_is_late() {
    for fd in [1, 3] {
        let run = Run::told();
        let report = run.invoke(json!([
            { "repliesOn": fd },
            { "stream": {} },
            { "chunk": "all" },
            { "end": true },
            { "end": true },
            { "chunk": "more" },
            { "chunkBase64": "####" },
            { "stream": {} },
            { "response": 1 },
            { "error": "late" },
        ]));
        assert_eq!(report.streamed(), "all");
        check_next(&run, 1);
        let log = run.log();
        let warnings = log.lines().filter(|l| l.starts_with("[WARN] bootstrap: ") && l.contains(&report.id)).count();
        assert_eq!(warnings, 6, "{log}");
        assert_eq!(log.lines().count(), 6, "dropped, not passed on as log lines: {log}");
    }
}

#[test]
fn what_follows_an_error_in_a_stream_is_late() {
    let run = Run::told();
    let report =
        run.invoke(json!([{ "stream": {} }, { "chunk": "half" }, { "error": "no" }, { "chunk": "more" }, { "end": true }]));
    report.breaks_off("Function.Error", &["no"]);
    check_next(&run, 1);
    check_warned(&run, &report.id);
}

#[test]
fn chunks_of_the_event_before_are_dropped_in_the_next_ones_stream() {
    let run = Run::told();
    let first = run.invoke(json!([{ "stream": {} }, { "chunk": "first" }, { "end": true }]));
    let report = run.invoke(json!([
        { "stream": {} },
        { "out": "{\"id\":\"@PREVIOUS@\",\"chunk\":\"late\"}\n{\"id\":\"@PREVIOUS@\",\"end\":true}\n" },
        { "chunk": "second" },
        { "out": "{\"id\":\"nobody\",\"chunk\":\"unknown\"}\n" },
        { "fd3": "{\"id\":\"nobody-3\",\"chunk\":\"unknown\"}\n" },
        { "end": true },
    ]));
    assert_eq!((first.streamed(), report.streamed()), ("first".to_owned(), "second".to_owned()));
    check_next(&run, 1);
    check_warned(&run, &first.id);
    check_warned(&run, "nobody-3");
    assert!(run.log().lines().any(|l| l == "{\"id\":\"nobody\",\"chunk\":\"unknown\"}"), "on stdout an unknown id is a log line");
}

#[test]
fn streams_and_responses_alternate() {
    let run = Run::told();
    for n in 0..20 {
        let text = format!("stream {n}");
        assert_eq!(run.invoke(json!([{ "stream": {} }, { "chunk": text }, { "end": true }])).streamed(), text);
        assert_eq!(run.invoke(json!([{ "response": n }])).response(), n.to_string());
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_line_of_more_than_8_mib_ends_a_stream_and_the_handler_is_kept() {
    for member in ["chunk", "chunkBase64"] {
        let run = Run::told();
        run.push(json!([
            { "stream": {} },
            { "chunk": "body" },
            { "out": format!("{{\"id\":\"@ID@\",\"{member}\":\"") },
            { "outMany": ["x", 9_000_000] },
            { "await": "go" },
            { "out": "\"}\n" },
        ]));
        // At once, though the line goes on.
        let report = run.report(0);
        report.breaks_off("Function.ResponseSizeTooLarge", &[]);
        assert_eq!(report.request.body, b"body");
        check_logged(&run, &report, "Function.ResponseSizeTooLarge");
        run.touch("go");
        check_next(&run, 1);
        assert!(run.log_bytes().len() < 100_000, "the chunk is not logged");
    }
}

#[test]
fn a_stream_and_its_chunks_may_be_larger_than_a_response() {
    let run = Run::told();
    let steps = json!([
        { "stream": {} },
        { "out": "{\"id\":\"@ID@\",\"chunk\":\"" },
        { "outMany": ["x", 8_000_000] },
        { "out": "\"}\n" },
        { "out": "{\"id\":\"@ID@\",\"chunkBase64\":\"" },
        { "outMany": ["eHh4", 2_000_000] },
        { "out": "\"}\n" },
        { "end": true },
    ]);
    let body = run.invoke(steps).streamed();
    assert!(body.len() == 14_000_000 && body.bytes().all(|b| b == b'x'), "{} bytes", body.len());
    check_next(&run, 1);
}

#[test]
fn half_a_stream_whose_channels_close_is_told_so() {
    let run = Run::told();
    let report = run.invoke(json!([{ "stream": {} }, { "chunk": "half" }, { "close": 1 }, { "close": 3 }, { "hang": true }]));
    report.breaks_off("Runtime.ReplyChannelClosed", &[]);
    assert_eq!(report.request.body, b"half");
    check_logged(&run, &report, "Runtime.ReplyChannelClosed");
    check_next(&run, 2);
}

#[test]
fn a_stream_may_go_on_on_another_channel() {
    let run = Run::told();
    run.push(json!([
        { "stream": {} },
        { "chunk": "on stdout" },
        { "await": "go" },
        { "repliesOn": 3 },
        { "close": 1 },
        { "chunk": ", on fd 3" },
        { "end": true },
    ]));
    run.arrived(0, "on stdout");
    run.touch("go");
    assert_eq!(run.report(0).streamed(), "on stdout, on fd 3");
}

#[test]
fn a_streamed_report_carries_its_invocation_id() {
    let run = Run::told();
    let steps = json!([{ "stream": {} }, { "chunk": "c" }, { "end": true }]).to_string();
    let report = run.invoke(Event::new(steps).invocation_id("attempt-2"));
    assert_eq!((report.streamed().as_str(), report.invocation_id.as_deref()), ("c", Some("attempt-2")));
}

#[test]
fn a_stream_begins_on_a_fresh_connection_where_the_kept_one_is_gone() {
    let steps = json!([{ "await": "go" }, { "stream": {} }, { "chunk": "c" }, { "end": true }]);
    let event = Event::new(steps.to_string());
    let run = Setup::told().answer(Route::Next, event.answer().then_close()).start();
    run.wait("the event's delivery", || (run.api().waiting() == 0 && !run.api().requests().is_empty()).then_some(()));
    run.touch("go");
    assert_eq!(run.report(0).streamed(), "c");
    check_next(&run, 1);
}

/// A handler that streams more than all buffers between here and there hold, and a Runtime API that does not read on.
#[track_caller]
fn congested(megabytes: usize, fd: &str, gate: &Gate, deadline_ms: Option<u64>) -> Run {
    let run = Setup::of("streams_so_many_megabytes.py")
        .env("STREAM_FD", fd)
        .answer(Route::Report, Answer::accepted().stalls_at(1_000_000, gate))
        .start();
    let event = Event::new(megabytes.to_string());
    run.push(match deadline_ms {
        Some(ms) => event.deadline_in(ms),
        None => event,
    });
    run.wait_file("congested");
    run
}

#[test]
fn a_slow_runtime_api_slows_the_handler_down_and_the_other_channels_are_read() {
    for fd in ["1", "3"] {
        let gate = Gate::default();
        let run = congested(50, fd, &gate, None);
        // Three megabytes of log lines come through on each of the other channels meanwhile.
        run.wait_file("printed");
        let lines = if fd == "1" { 170_000 } else { 340_000 };
        run.wait("the log", || (run.log_bytes().len() == lines * "a line of the log\n".len()).then_some(()));
        assert_eq!(run.api().report_count(), 0);
        gate.open();
        let body = run.report(0).streamed();
        assert!(body.len() == 50_000_000 && body.as_bytes().chunks(10).all(|c| c == b"0123456789"), "{} bytes", body.len());
        let peak = run.memory_kb("VmHWM");
        assert!(peak < 30_000, "a peak of {peak} kB");
        assert_eq!(run.invoke("1").streamed().len(), 1_000_000);
        run.idle();
        assert_eq!(run.starts().len(), 1);
    }
}

#[test]
fn the_deadline_strikes_while_a_stream_is_congested() {
    let gate = Gate::default();
    let run = congested(50, "1", &gate, Some(4000));
    run.wait_end_of(run.starts()[0]);
    gate.open();
    run.report(0).breaks_off("Function.Timeout", &[]);
    assert_eq!(run.invoke("1").streamed().len(), 1_000_000);
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn a_handler_that_ends_while_its_stream_is_congested_is_an_exit_error() {
    let gate = Gate::default();
    let run = congested(50, "1", &gate, None);
    rustix::process::kill_process(rustix::process::Pid::from_raw(run.starts()[0]).unwrap(), Signal::KILL).unwrap();
    gate.open();
    run.report(0).breaks_off("Runtime.ExitError", &["SIGKILL"]);
    assert_eq!(run.invoke("1").streamed().len(), 1_000_000);
}

#[test]
fn a_signal_while_a_stream_is_congested_ends_bootstrap() {
    let gate = Gate::default();
    let mut run = congested(50, "1", &gate, None);
    run.signal(Signal::TERM);
    run.exits_with(0);
    assert_eq!(run.processes(), []);
    gate.open();
}

/// How a Runtime API turns a stream away, when two bytes of its body have come.
fn refusals() -> Vec<(&'static str, Answer, Gate)> {
    let deaf = Gate::default();
    let no = |status: u16| Answer::status(status).body(format!("no more, says {status}")).after(2);
    vec![
        ("400 before any of it", no(400).after(0), Gate::default()),
        ("400", no(400), Gate::default()),
        ("403, then the connection ends", no(403).then_close(), Gate::default()),
        ("410", no(410), Gate::default()),
        ("413", no(413), Gate::default()),
        ("413, then deaf", no(413).then_deaf(&deaf), deaf.clone()),
        ("500", no(500), Gate::default()),
        ("202 too early", Answer::accepted().after(2), Gate::default()),
        ("a reset", Answer::reset().after(2), Gate::default()),
        ("a hang-up", Answer::hang_up().after(2), Gate::default()),
    ]
}

#[test]
fn a_stream_that_is_refused_or_breaks_is_dropped_until_its_end() {
    for (how, answer, gate) in refusals() {
        let run = Setup::told().answer(Route::Report, answer).start();
        run.push(json!([
            { "stream": {} },
            { "chunk": "first" },
            { "await": "go" },
            { "chunk": "second" },
            { "outMany": ["{\"id\":\"@ID@\",\"chunk\":\"0123456789012345678901234567890123456789\"}\n", 50_000] },
            { "touch": "all-written" },
            { "await": "go2" },
            { "end": true },
        ]));
        run.report(0);
        run.touch("go");
        // All of it is read, and the handler is not done before it has said so.
        run.wait_file("all-written");
        for _ in 0..10 {
            assert_eq!(run.requests("GET", "/next", 1).len(), 1, "no /next before the stream's end: {how}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        run.touch("go2");
        check_next(&run, 1);
        if how.starts_with('4') {
            assert!(run.log().contains("no more, says 4"), "{how}: {}", run.log());
        }
        assert_eq!(run.requests("POST", "", 2).len(), 2, "{how}: one report for each event");
        gate.open();
    }
}

#[test]
fn a_stream_that_is_refused_at_its_end_is_over() {
    for answer in [Answer::status(413).body("too large"), Answer::status(500), Answer::reset(), Answer::hang_up()] {
        let run = Setup::told().answer(Route::Report, answer).start();
        run.push(json!([{ "stream": {} }, { "chunk": "all" }, { "end": true }]));
        run.report(0);
        check_next(&run, 1);
        assert_eq!(run.requests("POST", "", 2).len(), 2, "one report for each event");
        assert!(run.log().lines().any(|l| l.starts_with('[') && l.contains("bootstrap: ")), "it is logged: {}", run.log());
    }
}

#[test]
fn what_goes_wrong_in_a_refused_stream_makes_no_second_report() {
    for (step, starts) in [
        (json!({ "error": "no" }), 1),
        (json!({ "exit": 3 }), 2),
        (json!({ "out": "{\"id\":\"@ID@\",\"chunk\":1}\n" }), 2),
        (json!({ "hang": true }), 2),
    ] {
        let refused = Answer::status(403).body("no").after(2);
        let run = Setup::told().answer(Route::Report, refused).start();
        let steps = json!([{ "stream": {} }, { "chunk": "first" }, { "await": "go" }, { "chunk": "second" }, step]);
        run.push(Event::new(steps.to_string()).deadline_in(2000));
        run.report(0);
        run.touch("go");
        check_next(&run, starts);
        assert_eq!(run.requests("POST", "", 2).len(), 2, "one report for each event");
    }
}

#[test]
fn a_stream_that_is_not_yet_ended_when_bootstrap_is_told_to_end_may_end_in_the_grace() {
    let mut run = Setup::told().env("BOOTSTRAP_STOP_GRACE_MS", "60000").start();
    run.push(json!([
        { "ignore": 15 },
        { "stream": {} },
        { "chunk": "first" },
        { "await": "go" },
        { "chunk": ", last" },
        { "end": true },
    ]));
    run.arrived(0, "first");
    run.signal(Signal::TERM);
    run.touch("go");
    run.exits_with(0);
    assert_eq!(run.report(0).streamed(), "first, last");
    assert_eq!(run.requests("GET", "/next", 1).len(), 1, "no other event is asked for");
}

#[test]
fn a_stream_that_is_not_ended_in_the_grace_does_not_look_whole() {
    let mut run = Run::told();
    run.push(json!([{ "ignore": 15 }, { "stream": {} }, { "chunk": "first" }, { "hang": true }]));
    run.arrived(0, "first");
    run.signal(Signal::TERM);
    run.exits_with(0);
    for report in run.api().reports() {
        assert!(!report.request.trailers.is_empty(), "it ended as if it were whole: {}", report.request);
    }
    assert_eq!(run.processes(), []);
}

#[test]
fn a_stream_needs_no_deadline() {
    let run = Run::told();
    run.push(Event::new(json!([{ "stream": {} }, { "await": "go" }, { "end": true }]).to_string()).no_deadline());
    run.arrived(0, "");
    run.touch("go");
    assert_eq!(run.report(0).streamed(), "");
}

#[test]
fn a_fault_in_a_stream_is_no_answer_and_an_end_is_one() {
    let broken = json!([{ "stream": {} }, { "chunk": "c" }, { "exit": 1 }]);
    let mut run = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "2").start();
    run.invoke(broken.clone()).breaks_off("Runtime.ExitError", &[]);
    assert_eq!(run.invoke(json!([{ "stream": {} }, { "end": true }, { "exit": 1 }])).streamed(), "");
    run.invoke(broken.clone()).breaks_off("Runtime.ExitError", &[]);
    run.invoke(broken).breaks_off("Runtime.ExitError", &[]);
    run.exits_with(1);
}
