use serde_json::json;

use super::support::{Kind, Run, Setup};

/// The reply lines that one event makes, and the response that is posted for it.
#[track_caller]
fn check_response(setup: Setup, lines: &str, response: &str) {
    let run = setup.start();
    let report = run.invoke(json!([{ "out": lines }]));
    assert_eq!(report.response(), response);
    assert_eq!(report.header("lambda-runtime-function-error-type"), None);
    assert_eq!(report.header("lambda-runtime-function-response-mode"), None);
    // The handler is kept, and the next event is answered.
    assert_eq!(run.invoke(json!([{ "response": "next" }])).response(), "\"next\"");
    run.idle();
    assert_eq!(run.starts().len(), 1, "handlers started");
}

#[test]
fn an_event_is_answered_with_the_response() {
    let run = Run::of("echoes.py");
    assert_eq!(run.invoke("{\"hello\": \"world\"}").response(), "{\"hello\": \"world\"}");
    run.idle();
}

#[test]
fn a_thousand_events_go_through_one_handler_in_order() {
    let mut setup = Setup::of("echoes.py");
    for n in 0..1000 {
        setup = setup.event(n.to_string());
    }
    let run = setup.start();
    let last = run.report(999);
    let bodies: Vec<String> = run.api().reports().iter().map(|r| r.response()).collect();
    assert_eq!(bodies, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(last.request.connection, 1, "one kept connection");
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn the_value_of_the_response_is_posted_byte_for_byte() {
    for value in [
        "null",
        "0",
        "\"\"",
        "false",
        "true",
        "[]",
        "{}",
        "-0.0",
        "1.10",
        "1E400",
        "123456789012345678901234567890",
        "{\"a\":1,\"a\":2}",
        "{ \"b\" : [ 1 ,\t2 ] }",
        r#""\ud800""#,
        r#""\u00e9\/\b""#,
        "\"é 漢 🦀\"",
        "\"\u{2028}\u{7f}\"",
        r#"{"id":"other","error":"in the response"}"#,
    ] {
        check_response(Setup::told(), &format!("{{\"id\":\"@ID@\",\"response\":{value}}}\n"), value);
    }
}

#[test]
fn a_reply_may_be_spaced_and_ordered_as_its_writer_likes() {
    for (lines, response) in [
        ("{\"response\":1,\"id\":\"@ID@\"}\n", "1"),
        ("  {\t\"id\" : \"@ID@\" , \"response\" :  {\"a\": 1}  }  \n", "{\"a\": 1}"),
        ("{\"id\":\"@ID@\",\"response\":1}\r\n", "1"),
        ("\n\r\n\n{\"id\":\"@ID@\",\"response\":1}\n\n\r\n", "1"),
        // Names and ids may be written with escapes; it is the same JSON.
        ("{\"\\u0069d\":\"@ID@\",\"respons\\u0065\":1}\n", "1"),
    ] {
        check_response(Setup::told(), lines, response);
    }
}

#[test]
fn an_id_written_with_escapes_is_the_same_id() {
    let run = Run::told();
    let id =
        run.push(super::support::Event::new(json!([{ "out": "{\"id\":\"\\u0061bc\",\"response\":1}\n" }]).to_string()).id("abc"));
    let report = run.report(0);
    assert_eq!((report.id.as_str(), report.response().as_str()), (id.as_str(), "1"));
}

#[test]
fn what_is_printed_around_a_reply_is_logged() {
    let run = Run::told();
    let report = run.invoke(json!([
        { "out": "before\n{\"a\":\"json line\"}\n[1]\n42\n" },
        { "out": "{\"id\":\"unknown\",\"response\":1}\n{\"response\":1}\n{\"id\":\"@ID@\"}\n{\"id\":\"@ID@\",\"level\":\"INFO\"}\n" },
        { "out": "{\"id\":17,\"response\":1}\n{\"id\":null,\"response\":1}\n" },
        { "response": 1 },
        { "out": "after\n" },
    ]));
    assert_eq!(report.response(), "1");
    let log = run.log_before(&report);
    for line in [
        "before",
        "{\"a\":\"json line\"}",
        "[1]",
        "42",
        "{\"id\":\"unknown\",\"response\":1}",
        "{\"response\":1}",
        "{\"id\":17,\"response\":1}",
        "{\"id\":null,\"response\":1}",
    ] {
        assert!(log.lines().any(|l| l == line), "{line} is a log line");
    }
    assert!(log.contains("\"level\":\"INFO\"}"), "an object without a reply member is a log line");
    run.wait_log("after\n");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn the_echo_of_a_message_is_no_reply() {
    // `cat` is a handler that answers nothing: its line has the id but no reply member.
    let setup = Setup::new();
    let run = setup.env("_HANDLER", "cat").env("BOOTSTRAP_DEADLINE_MARGIN_MS", "0").start();
    run.push(super::support::Event::new("{\"response\":1,\"error\":2}").id("the-id").deadline_in(800));
    run.report(0).is_error("Function.Timeout", &[]);
    run.wait_log("\"event\":{\"response\":1,\"error\":2}}");
}

#[test]
fn an_error_reply_is_posted_as_the_error_document_and_the_handler_is_kept() {
    let run = Run::told();
    for (error, document) in [
        (
            json!({ "errorType": "Function.Bad", "errorMessage": "m", "stackTrace": ["a", "b"] }),
            json!({ "errorType": "Function.Bad", "errorMessage": "m", "stackTrace": ["a", "b"] }),
        ),
        (json!({ "errorMessage": "m" }), json!({ "errorType": "Function.Error", "errorMessage": "m" })),
        (json!({ "errorType": "T" }), json!({ "errorType": "T", "errorMessage": "" })),
        (json!({}), json!({ "errorType": "Function.Error", "errorMessage": "" })),
        (json!("text"), json!({ "errorType": "Function.Error", "errorMessage": "text" })),
        (json!(""), json!({ "errorType": "Function.Error", "errorMessage": "" })),
        (
            json!({ "errorType": "E", "errorMessage": "é\n\"", "cause": { "x": [1, null] }, "code": 7 }),
            json!({ "errorType": "E", "errorMessage": "é\n\"", "cause": { "x": [1, null] }, "code": 7 }),
        ),
    ] {
        let report = run.invoke(json!([{ "error": error }]));
        assert_eq!(report.kind, Kind::Error);
        let mut posted = report.error();
        // Where the handler gives no stack, an empty one may stand there.
        if document.get("stackTrace").is_none() && posted["stackTrace"] == json!([]) {
            posted.as_object_mut().unwrap().remove("stackTrace");
        }
        assert_eq!(posted, document, "for the error {error}");
    }
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn other_members_of_an_error_pass_byte_for_byte() {
    let run = Run::told();
    let report = run.invoke(
        json!([{ "out": "{\"id\":\"@ID@\",\"error\":{\"big\":123456789012345678901234567890,\"errorMessage\":\"\\u0000\"}}\n" }]),
    );
    let body = String::from_utf8(report.request.body.clone()).unwrap();
    assert!(body.contains("123456789012345678901234567890"), "{body}");
    assert_eq!(report.error()["errorMessage"], "\u{0}");
}

#[test]
fn replies_on_fd_3_are_taken_and_stdout_still_works() {
    let run = Run::told();
    let report = run.invoke(json!([{ "out": "printed\n" }, { "fd3": "{\"id\":\"@ID@\",\"response\":3}\n" }]));
    assert_eq!(report.response(), "3");
    assert!(run.log().contains("printed\n"));
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    let report = run.invoke(json!([{ "fd3": "\r\n\n  {\"id\":\"@ID@\",\"error\":\"no\"}\r\n" }]));
    assert_eq!(report.error()["errorMessage"], "no");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_reply_may_drip_in_byte_by_byte() {
    let run = Run::of("drips_its_reply.py");
    assert_eq!(run.invoke("{\"n\":1}").response(), "{\"n\":1}");
    assert_eq!(run.invoke("\"two\"").response(), "\"two\"");
}

#[test]
fn a_reply_may_come_before_the_message_is_read() {
    // 2 MB fit no pipe: bootstrap still writes when the reply comes, and has to end the message before the next one.
    let run = Run::of("replies_before_reading_it_all.py");
    for n in 0..3 {
        let event = format!("[{n},\"{}\"]", "x".repeat(2_000_000));
        assert_eq!(run.invoke(event).response(), n.to_string());
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_reply_without_its_last_newline_counts_at_the_end_of_stdout() {
    let run = Run::told();
    let report = run.invoke(json!([{ "out": "{\"id\":\"@ID@\",\"response\":1}" }, { "close": 1 }, { "hang": true }]));
    assert_eq!(report.response(), "1");
}

#[test]
fn a_whole_reply_is_believed_though_the_handler_then_exits() {
    // With its newline and without, and whatever the status: the reply was first.
    for (line, status) in [("\n", 0), ("\n", 7), ("", 0)] {
        let run = Run::told();
        let line = format!("{{\"id\":\"@ID@\",\"response\":1}}{line}");
        let report = run.invoke(json!([{ "out": line }, { "exit": status }]));
        assert_eq!(report.response(), "1", "status {status}");
        assert_eq!(run.invoke(json!([{ "response": 2 }])).response(), "2");
        assert_eq!(run.starts().len(), 2, "handlers started");
    }
}

#[test]
fn a_response_of_the_largest_size_passes() {
    let run = Run::of("replies_with_so_many_bytes.py");
    let report = run.invoke("6291556");
    assert_eq!(report.kind, Kind::Response);
    assert_eq!(report.request.body.len(), 6_291_556);
    assert!(report.request.body[1..6_291_555].iter().all(|&b| b == b'x'));
    assert_eq!(report.request.connection, 1);
}

#[test]
fn every_reply_is_deep_enough() {
    // The nesting depth has no limit, on either way.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let run = Run::of("saves_messages.py");
    run.invoke(deep.as_str());
    assert!(run.wait_file("message.0").windows(deep.len()).any(|w| w == deep.as_bytes()));
    drop(run);
    let run = Run::told();
    let report = run.invoke(json!([
        { "out": "{\"id\":\"@ID@\",\"response\":" },
        { "outMany": ["[", 100_000] },
        { "outMany": ["]", 100_000] },
        { "out": "}\n" },
    ]));
    assert_eq!(report.response(), deep);
}

#[test]
fn six_megabytes_go_both_ways() {
    let run = Run::of("echoes.py");
    let event = format!("\"{}\"", "x".repeat(6 * 1024 * 1024 - 2));
    for _ in 0..2 {
        assert!(run.invoke(event.as_str()).response() == event);
    }
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_handler_may_write_megabytes_before_it_reads_on() {
    // Both pipes are full at once: who waits for one of them waits for ever.
    let run = Run::of("writes_before_it_reads.py");
    for n in 0..3 {
        let event = format!("[{n},\"{}\"]", "x".repeat(3_000_000));
        let report = run.invoke(event);
        assert_eq!(report.request.body.len(), 3_000_000);
        let log = run.log_before(&report);
        assert_eq!(log.lines().filter(|l| l.len() == 1_000_000).count(), 2 * (n + 1));
    }
    assert_eq!(run.starts().len(), 1);
}
