use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::support::{Answer, Event, Route, Run, Setup, show};

/// What stands in `event`'s place in the message that an event becomes: `"event":…` or `"eventBase64":…`.
#[track_caller]
fn tail_of(run: &Run, number: usize, event: Event) -> Vec<u8> {
    let event = event.no_deadline();
    let head = format!("{{\"id\":\"{}\",\"context\":{{}},", event.request_id());
    run.invoke(event);
    let line = run.wait_file(&format!("message.{number}"));
    // The readiness probe's space may stand in front of the first message, and nothing in front of any other.
    let line = if number == 0 { line.trim_ascii_start() } else { line.as_slice() };
    let tail = line.strip_prefix(head.as_bytes()).unwrap_or_else(|| panic!("{} is no message", show(line)));
    let tail = tail.strip_suffix(b"}\n").unwrap_or_else(|| panic!("{} has no end", show(line)));
    assert!(!tail.contains(&b'\n') && !tail.contains(&b'\r'), "{} is one line", show(line));
    tail.to_vec()
}

#[track_caller]
fn check_text(run: &Run, number: usize, event: &[u8], expected: &[u8]) {
    let tail = tail_of(run, number, Event::new(event));
    let expected = [b"\"event\":", expected].concat();
    assert!(tail == expected, "{} became {}, not {}", show(event), show(&tail), show(&expected));
}

fn base64_of(event: &[u8]) -> Vec<u8> {
    format!("\"eventBase64\":\"{}\"", BASE64_STANDARD.encode(event)).into_bytes()
}

#[test]
fn the_event_is_in_the_message_byte_for_byte() {
    let run = Run::of("saves_messages.py");
    let events = [
        "{}",
        "null",
        "0",
        "-0",
        "1.10",
        "1e5",
        "-12.5E-3",
        "true",
        "false",
        "\"\"",
        "\"text\"",
        "[]",
        "[ 1 , 2\t]",
        "123456789012345678901234567890",
        "{\"b\":1,\"a\":2,\"b\":3}",
        "{ \"n\" : 1.10, \"m\" : 1E400 }",
        r#"{"s":"\ud800 \u0000 \" \\ \/"}"#,
        r#""\ud800""#,
        r#""ends in a backslash \\""#,
        r#"{"brackets in a string":"]}[{\"\\"}"#,
        "{\"unicode\":\"é 漢字 🦀 \u{2028}\u{2029}\u{85}\u{7f}\"}",
        r#"{"id":"forged","context":{},"event":1}"#,
        " {\"space\":\"around\"}\t ",
        "{\"no\\u006eascii \u{feff} inside\":1}",
    ];
    for (number, event) in events.iter().enumerate() {
        check_text(&run, number, event.as_bytes(), event.as_bytes());
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn line_breaks_between_the_tokens_of_an_event_become_spaces() {
    let run = Run::of("saves_messages.py");
    for (number, (event, expected)) in [
        ("{\n  \"a\": [\n    1,\r\n    2\n  ]\n}\n", "{   \"a\": [     1,      2   ] } "),
        ("\r\n\"text\"\r\n", "  \"text\"  "),
        ("\n1\n", " 1 "),
        ("[\r]", "[ ]"),
        ("{\"escaped\":\"\\r\\n\"\r}", "{\"escaped\":\"\\r\\n\" }"),
    ]
    .iter()
    .enumerate()
    {
        check_text(&run, number, event.as_bytes(), expected.as_bytes());
    }
}

#[test]
fn an_event_that_is_not_one_json_value_comes_as_base64() {
    let run = Run::of("saves_messages.py");
    let events: &[&[u8]] = &[
        b"",
        b" ",
        b"\n",
        b"not json",
        b"{",
        b"}",
        b"[",
        b"]",
        b"[}",
        b"{]",
        b"[{]}",
        b"}{",
        b"{\"a\":1}}",
        b"{\"a\":1",
        b"[[1]",
        b"{} {}",
        b"{}\n{}",
        b"1 2",
        b"{},",
        b"{}x",
        b"x{}",
        b"\"unclosed",
        b"\"ends in an escaped quote \\\"",
        b"{\"a\":\"unclosed}",
        b"\"two\" \"strings\"",
        b"1,\"context\":{}",
        b"{},\"event\":{}",
        b"1}\n{\"id\":\"forged\",\"context\":{},\"event\":1",
        b",",
        b":",
        b"tru",
        b"truee",
        b"True",
        b"nul",
        b"NaN",
        b"Infinity",
        b"undefined",
        b"'a'",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"-",
        b"--1",
        b"0x10",
        b"1_000",
        br#""\x""#,
        br#""\u12""#,
        b"\"raw\ttab\"",
        b"\"raw\nnewline\"",
        b"\xef\xbb\xbf{}",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\"\xff\"",
        b"{\"a\":\"\xc3\"}",
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf5\x80\x80\x80\"",
        b"{\"utf-16\":\xfe\xff}",
        b"\0",
        b"{}\0",
        b"\0{}",
        b"a=b&c=d",
        b"<xml/>",
    ];
    for (number, event) in events.iter().enumerate() {
        let tail = tail_of(&run, number, Event::new(*event));
        assert_eq!(show(&tail), show(&base64_of(event)), "for {:?}", show(event));
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn an_event_that_is_wrong_in_its_details_cannot_break_the_message() {
    let run = Run::of("saves_messages.py");
    let events: &[&[u8]] = &[
        b"[1,]",
        b"[,]",
        b"{\"a\"}",
        b"{a:1}",
        b"[01]",
        b"[1 2]",
        b"[\"\\x\"]",
        b"[\"raw\nnewline\"]",
        b"{\"a\":\"raw\r\"}",
        b"{\"raw\0nul\":1}",
        b"[tru]",
        b"{\"a\":1 \"b\":2}",
    ];
    for (number, event) in events.iter().enumerate() {
        let tail = tail_of(&run, number, Event::new(*event));
        let spaced: Vec<u8> = event.iter().map(|&b| if b == b'\n' || b == b'\r' { b' ' } else { b }).collect();
        let text = [b"\"event\":", spaced.as_slice()].concat();
        assert!(tail == text || tail == base64_of(event), "{} became {}", show(event), show(&tail));
    }
}

#[test]
fn an_event_of_six_megabytes_passes() {
    const SIZE: usize = 6 * 1024 * 1024;
    let run = Run::of("saves_messages.py");
    // One long string, one that is all line breaks, and one that is not JSON.
    let long = format!("\"{}\"", "é".repeat(SIZE / 2 - 1));
    assert_eq!(long.len(), SIZE);
    check_text(&run, 0, long.as_bytes(), long.as_bytes());
    let broken = format!("[{}]", "1,\r\n".repeat(SIZE / 4 - 1) + "1\n");
    let joined = broken.replace(['\r', '\n'], " ");
    check_text(&run, 1, broken.as_bytes(), joined.as_bytes());
    let bytes: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    let tail = tail_of(&run, 2, Event::new(bytes.as_slice()));
    assert!(tail == base64_of(&bytes));
    // And the small one after them.
    check_text(&run, 3, b"{}", b"{}");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn an_event_is_json_whatever_its_content_type_says() {
    let run = Run::of("saves_messages.py");
    let event = Event::new("{}").header("Content-Type", "text/plain");
    assert_eq!(show(&tail_of(&run, 0, event)), "\"event\":{}");
}

#[test]
fn every_request_id_that_is_allowed_comes_through() {
    let run = Run::of("saves_messages.py");
    let longest = "x".repeat(128);
    for (number, id) in ["a", "A-Z._0", "a..b", "-", longest.as_str(), "8476a536-e9f4-11e8-9739-2dfe598c3fcd"].iter().enumerate() {
        let tail = tail_of(&run, number, Event::new("1").id(id));
        assert_eq!(show(&tail), "\"event\":1");
    }
}

#[test]
fn a_request_id_of_dots_is_no_path() {
    // Taken as an id or refused as none, but no request goes where `..` leads.
    for dots in ["..", "."] {
        let bad = Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", dots).body("1");
        let run = Setup::of("saves_messages.py").lenient().answer(Route::Next, bad).event(Event::new("2").id("good")).start();
        run.wait("the report on the event after it", || run.api().reports().iter().any(|r| r.id == "good").then_some(()));
        for request in run.api().requests() {
            let path = request.path.strip_prefix("/2018-06-01/runtime/invocation/").unwrap_or("elsewhere");
            assert!(["next", "good/response", &format!("{dots}/response")].contains(&path), "{request}");
        }
    }
}

#[test]
fn the_message_says_nothing_else() {
    // With everything in the context, the envelope still is one line without a space of its own.
    let run = Setup::of("saves_messages.py").env("AWS_LAMBDA_FUNCTION_NAME", "name").start();
    run.invoke(Event::new("1").header("Lambda-Runtime-Trace-Id", "Root=1").deadline("1542409706888").id("i"));
    let line = run.wait_file("message.0");
    let line = String::from_utf8(line.trim_ascii_start().to_vec()).unwrap();
    assert!(line.starts_with("{\"id\":\"i\",\"context\":{\"") && line.ends_with("},\"event\":1}\n"), "{line}");
    assert!(!line.trim_end().contains([' ', '\t', '\n', '\r']), "{line}");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 3, "{line}");
}

#[test]
fn headers_are_known_in_any_case() {
    let run = Run::of("saves_messages.py");
    let answer =
        Answer::status(200).header("LAMBDA-RUNTIME-AWS-REQUEST-ID", "i").header("lambda-runtime-deadline-ms", "5").body("1");
    run.api().push(Route::Next, answer.carries("i"));
    assert_eq!(run.report(0).id, "i");
    assert_eq!(show(run.wait_file("message.0").trim_ascii()), "{\"id\":\"i\",\"context\":{\"deadlineMs\":5},\"event\":1}");
}
