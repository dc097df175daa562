use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::support::{Event, Kind, Report, Run, stack_of};

/// A line that is a reply by its beginning but breaks a rule: `Runtime.InvalidReply`, and a fresh handler.
#[track_caller]
fn check_invalid(run: &Run, step: Value) -> Report {
    let before = run.starts().len();
    // The message that follows would be a good reply: it comes too late.
    let report = run.invoke(json!([step, { "response": "after a malformed one" }]));
    assert_eq!(report.kind, Kind::Error, "for {step}");
    report.is_error("Runtime.InvalidReply", &[]);
    assert_eq!(report.header("lambda-runtime-function-error-type"), Some("Runtime.InvalidReply"));
    assert_eq!(run.invoke(json!([{ "response": "fresh" }])).response(), "\"fresh\"", "after {step}");
    assert_eq!(run.starts().len(), before.max(1) + 1, "handlers started, after {step}");
    report
}

const INVALID: &[&str] = &[
    // Not exactly one reply member, or one besides.
    r#"{"id":"@ID@","response":1,"error":"e"}"#,
    r#"{"id":"@ID@","error":"e","response":1}"#,
    r#"{"id":"@ID@","response":1,"chunk":"c"}"#,
    r#"{"id":"@ID@","response":1,"end":true}"#,
    r#"{"id":"@ID@","response":1,"unknown":1}"#,
    r#"{"unknown":1,"id":"@ID@","response":1}"#,
    r#"{"response":1,"unknown":1,"id":"@ID@"}"#,
    r#"{"id":"@ID@","response":1,"level":"INFO","message":"m"}"#,
    // Twice the same.
    r#"{"id":"@ID@","response":1,"response":1}"#,
    r#"{"id":"@ID@","id":"@ID@","response":1}"#,
    r#"{"id":"@ID@","response":1,"respons\u0065":2}"#,
    // An error that is none.
    r#"{"id":"@ID@","error":null}"#,
    r#"{"id":"@ID@","error":1}"#,
    r#"{"id":"@ID@","error":false}"#,
    r#"{"id":"@ID@","error":["e"]}"#,
    r#"{"id":"@ID@","error":{"errorType":1}}"#,
    r#"{"id":"@ID@","error":{"errorType":null,"errorMessage":"m"}}"#,
    r#"{"id":"@ID@","error":{"errorMessage":["m"]}}"#,
    r#"{"id":"@ID@","error":{"stackTrace":"one line"}}"#,
    r#"{"id":"@ID@","error":{"stackTrace":[1]}}"#,
    r#"{"id":"@ID@","error":{"stackTrace":["a",null]}}"#,
    r#"{"id":"@ID@","error":{"stackTrace":{}}}"#,
    // Begins as a reply but is not JSON.
    r#"{"id":"@ID@","response":NaN}"#,
    r#"{"id":"@ID@","response":-Infinity}"#,
    r#"{"id":"@ID@","response":}"#,
    r#"{"id":"@ID@","response":1"#,
    r#"{"id":"@ID@","response":1,}"#,
    r#"{"id":"@ID@","response":1}}"#,
    r#"{"id":"@ID@","response":1} {"id":"@ID@","response":2}"#,
    r#"{"id":"@ID@","response":1} trailing"#,
    r#"{"id":"@ID@","response":'single'}"#,
    r#"{"id":"@ID@","response":01}"#,
    r#"{"id":"@ID@","response":1.}"#,
    r#"{"id":"@ID@","response":undefined}"#,
    r#"{"id":"@ID@","response":[1,]}"#,
    r#"{"id":"@ID@","response":{"a":1,}}"#,
    r#"{"id":"@ID@","response":{a:1}}"#,
    r#"{"id":"@ID@","response":[1 2]}"#,
    r#"{"id":"@ID@","response":[}"#,
    r#"{"id":"@ID@","response":"unclosed}"#,
    r#"{"id":"@ID@","response":"\x"}"#,
    r#"{"id":"@ID@","response":"\u12g4"}"#,
    "{\"id\":\"@ID@\",\"response\":\"raw\ttab\"}",
    "{\"id\":\"@ID@\",\"response\":\"raw\u{0}nul\"}",
    "{\"id\":\"@ID@\",\"response\":1}\u{0}",
    "{ \"id\" : \"@ID@\" , \"error\" : oops }",
];

#[test]
fn a_malformed_reply_on_stdout_ends_its_invocation_and_the_handler() {
    let run = Run::told();
    for line in INVALID {
        check_invalid(&run, json!({ "out": format!("{line}\n") }));
    }
}

#[test]
fn a_malformed_reply_on_fd_3_ends_its_invocation_and_the_handler() {
    // Every third: the rules are the same.
    let run = Run::told();
    for line in INVALID.iter().step_by(3) {
        check_invalid(&run, json!({ "fd3": format!("{line}\n") }));
    }
}

#[test]
fn a_reply_that_is_not_utf_8_is_malformed() {
    for value in [b"\"\xff\"".as_slice(), b"\"\xed\xa0\x80\"", b"{\"\xc3\":1}", b"\"\xc0\xaf\""] {
        let line = [b"{\"id\":\"abc\",\"response\":".as_slice(), value, b"}\n"].concat();
        let run = Run::told();
        let event = json!([{ "outBase64": BASE64_STANDARD.encode(line) }]);
        let report = run.invoke(Event::new(event.to_string()).id("abc"));
        report.is_error("Runtime.InvalidReply", &[]);
    }
}

#[test]
fn a_reply_is_checked_at_any_depth() {
    let run = Run::told();
    let report = run.invoke(json!([
        { "out": "{\"id\":\"@ID@\",\"response\":" },
        { "outMany": ["[", 100_000] },
        { "out": "1," },
        { "outMany": ["]", 100_000] },
        { "out": "}\n" },
    ]));
    report.is_error("Runtime.InvalidReply", &[]);
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn the_message_says_what_is_wrong_with_a_reply() {
    for (line, part) in [
        (r#"{"id":"@ID@","response":1,"colour":1}"#, "colour"),
        (r#"{"id":"@ID@","response":1,"error":"e"}"#, "error"),
        (r#"{"id":"@ID@","error":{"errorType":1}}"#, "errorType"),
        (r#"{"id":"@ID@","error":{"stackTrace":"s"}}"#, "stackTrace"),
        (r#"{"id":"@ID@","response":NaN}"#, "NaN"),
    ] {
        check_invalid(&Run::told(), json!({ "out": format!("{line}\n") })).is_error("Runtime.InvalidReply", &[part]);
    }
}

#[test]
fn at_most_200_bytes_of_a_malformed_reply_are_quoted() {
    for (text, times) in [("q", 10_000), ("é", 10_000), ("漢", 10_000), ("🦀", 10_000), ("\\u0071", 10_000)] {
        for before in ["", "a", "bb"] {
            let run = Run::told();
            let report = run.invoke(json!([
                { "out": format!("{{\"id\":\"@ID@\",\"response\":\"{before}") },
                { "outMany": [text, times] },
                { "out": "\",\"unknown\":1}\n" },
            ]));
            let document = report.is_error("Runtime.InvalidReply", &[]);
            let message = document["errorMessage"].as_str().unwrap();
            let quoted = message.matches(text).count() * text.len();
            assert!(quoted <= 200, "{quoted} bytes are quoted: {message}");
            assert!(!message.contains('\u{fffd}'), "cut between characters: {message}");
        }
    }
}

#[test]
fn a_long_malformed_reply_is_logged_in_bounds() {
    // What of it gets into the stack is the tail of the log, which has bounds of its own.
    let run = Run::told();
    let report = run.invoke(json!([
        { "out": "{\"id\":\"@ID@\",\"response\":1,\"x\":\"" },
        { "outMany": ["y", 1_000_000] },
        { "out": "\"}\n" },
    ]));
    let document = report.is_error("Runtime.InvalidReply", &[]);
    assert!(stack_of(&document).concat().len() <= 4096);
    assert!(report.request.body.len() < 10_000);
}

#[test]
fn what_does_not_begin_as_a_reply_is_a_log_line() {
    let run = Run::told();
    let lines = [
        // Glued to text, or the id comes after: nothing says that this was to be a reply.
        r#"text{"id":"@ID@","response":1}"#,
        r#"[{"id":"@ID@","response":1}]"#,
        r#"{"response":NaN,"id":"@ID@"}"#,
        r#"{"a":{"id":"@ID@","response":1}}"#,
        r#""{\"id\":\"@ID@\",\"response\":1}""#,
        r#"{"id":"@ID@","message":"the word response"}"#,
        r#"{"id":"@ID@x","response":NaN}"#,
        r#"{"id":["@ID@"],"response":1}"#,
        r#"{"ID":"@ID@","response":1}"#,
        r#"{"id":"@ID@","Response":1}"#,
        r#"{"id":"@ID@""#,
        r#"{"id":"@ID@",}"#,
    ];
    let mut steps: Vec<Value> = lines.iter().map(|line| json!({ "out": format!("{line}\n") })).collect();
    steps.push(json!({ "response": "the reply" }));
    let report = run.invoke(Value::from(steps));
    assert_eq!(report.response(), "\"the reply\"");
    let log = run.log_before(&report);
    for line in lines {
        let line = line.replace("@ID@", &report.id);
        assert!(log.lines().any(|l| l == line), "{line} is in the log");
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_reply_glued_to_a_print_is_a_log_line() {
    let run = Run::told();
    run.push(Event::new(json!([{ "out": "no newline" }, { "response": 1 }]).to_string()).deadline_in(1500));
    run.report(0).is_error("Function.Timeout", &[]);
    assert!(run.log().contains("no newline{"));
}

#[test]
fn a_late_or_repeated_reply_is_dropped_with_a_warning() {
    for channel in ["out", "fd3"] {
        let run = Run::told();
        let twice = "{\"id\":\"@ID@\",\"response\":1}\n{\"id\":\"@ID@\",\"response\":2}\n{\"id\":\"@ID@\",\"error\":\"e\"}\n";
        let first = run.invoke(json!([{ channel: twice }]));
        assert_eq!(first.response(), "1");
        // Late by an event, good and bad: it is not in flight, so it can't be malformed.
        let second = run.invoke(json!([
            { channel: "{\"id\":\"@PREVIOUS@\",\"response\":\"late\"}\n" },
            { channel: "{\"id\":\"@PREVIOUS@\",\"response\":\"late\",\"error\":\"too\"}\n" },
            { channel: "{\"id\":\"@ID@\",\"response\":\"in time\"}\n" },
        ]));
        assert_eq!(second.response(), "\"in time\"");
        let log = run.log_before(&second);
        let warnings = log.lines().filter(|l| l.starts_with("[WARN] bootstrap: ") && l.contains(&first.id)).count();
        assert!(warnings >= 4, "{warnings} warnings of 4 about {}", first.id);
        let late = format!("{{\"id\":\"{}\",\"response\":\"late\"}}", first.id);
        assert!(!log.lines().any(|l| l == late), "dropped, not passed on as a log line");
        run.idle();
        assert_eq!(run.starts().len(), 1, "the handler is kept");
    }
}

#[test]
fn a_repeated_reply_is_dropped_while_nothing_is_in_flight() {
    let run = Run::told();
    let first = run.invoke(json!([{ "response": 1 }, { "await": "go" }, { "response": 2 }, { "out": "done\n" }]));
    run.idle();
    run.touch("go");
    run.wait_log("done\n");
    assert!(run.log().contains(&first.id), "a warning names the invocation");
    assert_eq!(run.invoke(json!([{ "response": 3 }])).response(), "3");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_handler_knows_its_last_thousand_invocations() {
    let run = Run::told();
    let mut ids = Vec::new();
    for _ in 0..1003 {
        ids.push(run.push(json!([{ "response": 1 }])));
    }
    for n in (0..1003).step_by(50) {
        run.report(n);
    }
    run.report(1002);
    // The first one is forgotten, so this is a line as any other; the last one is not, nor one of nearly a thousand ago.
    let line = |id: &str| format!("{{\"id\":\"{id}\",\"response\":1}}");
    let lines = [&ids[0], &ids[10], &ids[1002]].map(|id| line(id) + "\n").concat();
    run.invoke(json!([{ "out": lines }, { "response": 1 }]));
    let log = run.log();
    assert!(log.lines().any(|l| l == line(&ids[0])), "the oldest");
    assert!(!log.lines().any(|l| l == line(&ids[10])), "one within the thousand");
    assert!(!log.lines().any(|l| l == line(&ids[1002])), "the youngest");
}

#[test]
fn a_fresh_handler_owes_nothing_to_the_old_ones_invocations() {
    let run = Run::told();
    let first = run.invoke(json!([{ "exit": 3 }]));
    let line = format!("{{\"id\":\"{}\",\"response\":1}}", first.id);
    let second = run.invoke(json!([{ "out": format!("{line}\n") }, { "response": 2 }]));
    assert_eq!(second.response(), "2");
    assert!(run.log().lines().any(|l| l == line), "another handler's id is an unknown id");
}

#[test]
fn a_line_on_fd_3_that_is_no_reply_ends_the_invocation() {
    for line in [
        "text",
        "{}",
        "[1]",
        "null",
        "{\"id\":\"@ID@\"}",
        "{\"response\":1}",
        "{\"level\":\"INFO\"}",
        "{\"id\":",
        "\u{feff}{\"id\":\"@ID@\",\"response\":1}",
    ] {
        let report = check_invalid(&Run::told(), json!({ "fd3": format!("{line}\n") }));
        assert!(!report.error()["errorMessage"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_reply_with_an_unknown_id_on_fd_3_is_dropped_with_a_warning() {
    let run = Run::told();
    let report =
        run.invoke(json!([{ "fd3": "{\"id\":\"never-seen\",\"response\":1}\n" }, { "fd3": "{\"id\":\"@ID@\",\"response\":2}\n" }]));
    assert_eq!(report.response(), "2");
    let log = run.log_before(&report);
    assert!(log.lines().any(|l| l.starts_with("[WARN] bootstrap: ") && l.contains("never-seen")), "{log}");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn control_messages_and_blank_lines_are_allowed_on_fd_3() {
    let run = Run::told();
    let report = run.invoke(json!([{ "fd3": "\n\r\n{\"ready\":true}\n\n{\"id\":\"@ID@\",\"response\":2}\n" }]));
    assert_eq!(report.response(), "2");
}

#[test]
fn a_stray_line_on_fd_3_between_events_does_not_hurt_the_next_one() {
    let run = Run::told();
    run.invoke(json!([{ "response": 1 }, { "await": "go" }, { "fd3": "stray\n" }, { "touch": "strayed" }]));
    run.idle();
    run.touch("go");
    run.wait_file("strayed");
    assert_eq!(run.invoke(json!([{ "response": 2 }])).response(), "2");
}
