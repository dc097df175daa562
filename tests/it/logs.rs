use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::support::{Event, Report, Run, Setup, show};

fn json_run() -> Setup {
    Setup::told().env("AWS_LAMBDA_LOG_FORMAT", "JSON")
}

/// The log's lines as JSON objects.
#[track_caller]
fn objects(log: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {}", show(line.as_bytes())));
    log.lines().map(parse).inspect(|v: &Value| assert!(v.is_object(), "{v}")).collect()
}

#[track_caller]
fn check_timestamp(object: &Value) {
    let text = object["timestamp"].as_str().unwrap_or_else(|| panic!("no timestamp in {object}"));
    assert!(humantime::parse_rfc3339(text).is_ok(), "{text} is RFC 3339");
}

/// What the log holds when one event has been answered, whose handler did these steps.
#[track_caller]
fn log_of(setup: Setup, mut steps: Vec<Value>) -> (String, Report) {
    steps.push(json!({ "response": 1 }));
    let run = setup.start();
    let report = run.invoke(Value::from(steps));
    assert_eq!(report.response(), "1");
    let log = run.log_before(&report);
    (log, report)
}

#[test]
fn lines_pass_as_they_are() {
    let (log, _) = log_of(Setup::told(), vec![json!({ "err": "one\n{\"two\": 1.10}\n" }), json!({ "err": "  three \t é\n" })]);
    assert_eq!(log, "one\n{\"two\": 1.10}\n  three \t é\n");
    let (log, _) = log_of(Setup::told(), vec![json!({ "out": "one\n{\"two\": 1.10}\n  three \t é\n" })]);
    assert_eq!(log, "one\n{\"two\": 1.10}\n  three \t é\n");
}

#[test]
fn carriage_returns_at_the_end_and_empty_lines_are_ignored() {
    for channel in ["out", "err"] {
        let (log, _) = log_of(Setup::told(), vec![json!({ channel: "a\r\nb\n\n\r\n\nc\rd\r\n" })]);
        assert_eq!(log, "a\nb\nc\rd\n", "on {channel}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_pass_in_text() {
    let bytes = b"a\xff\xfe\0b\xc3\n\x1b[31mred\x1b[0m\n".as_slice();
    for channel in ["outBase64", "errBase64"] {
        let run = Run::told();
        let report = run.invoke(json!([{ channel: BASE64_STANDARD.encode(bytes) }, { "response": 1 }]));
        assert_eq!(&run.log_bytes()[..report.request.log_length], bytes, "on {channel}");
    }
}

#[test]
fn a_line_without_its_end_is_logged_when_the_handler_ends() {
    let run = Run::told();
    let report = run.invoke(json!([{ "err": "on stderr" }, { "out": "on stdout" }, { "exit": 0 }]));
    let log = run.log_before(&report);
    assert!(log.lines().any(|l| l == "on stderr") && log.lines().any(|l| l == "on stdout"), "{log}");
}

#[test]
fn everything_logged_before_the_reply_is_out_before_the_report() {
    let run = Run::told();
    for (log, reply) in [("err", "out"), ("out", "out"), ("err", "fd3"), ("out", "fd3")] {
        let many = format!("{log}Many");
        let before = run.log_bytes().len();
        let report = run.invoke(json!([
            { many: ["0123456789\n", 100_000] },
            { log: "the last line\n" },
            { reply: "{\"id\":\"@ID@\",\"response\":1}\n" },
        ]));
        assert_eq!(report.response(), "1");
        let log = &run.log_before(&report)[before..];
        assert_eq!(log.len(), 100_000 * 11 + "the last line\n".len(), "{}", show(log.as_bytes()));
        assert!(log.ends_with("the last line\n"), "in order");
    }
}

#[test]
fn logs_do_not_wait_for_an_event() {
    let run = Setup::told().env("AT_START", json!([{ "err": "at the start\n" }]).to_string()).start();
    run.wait_log("at the start\n");
    run.invoke(json!([{ "response": 1 }, { "out": "after the reply\n" }]));
    run.wait_log("after the reply\n");
    run.push(json!([{ "err": "in between\n" }, { "await": "go" }, { "response": 2 }]));
    run.wait_log("in between\n");
    run.touch("go");
    run.report(1);
}

#[test]
fn a_line_of_any_length_passes() {
    for (channel, size) in [("err", 100_000), ("out", 8_000_000), ("err", 8_000_000), ("out", 12_000_000), ("err", 12_000_000)] {
        let many = format!("{channel}Many");
        let (log, _) = log_of(Setup::told(), vec![json!({ many: ["0123456789", size / 10] }), json!({ channel: "\n" })]);
        assert_eq!(log.len(), size + 1, "on {channel}");
        assert_eq!(log.lines().count(), 1, "on {channel}");
    }
}

#[test]
fn a_line_up_to_8_mib_is_never_torn() {
    // It grows while other lines come on the other stream.
    for (long, short) in [("out", "err"), ("err", "out")] {
        let many = format!("{long}Many");
        let mut steps = Vec::new();
        for n in 0..8 {
            steps.push(json!({ many.as_str(): ["0123456789", 100_000] }));
            steps.push(json!({ short: format!("short {n}\n") }));
        }
        steps.push(json!({ long: "\n" }));
        let (log, _) = log_of(Setup::told(), steps);
        assert!(log.lines().any(|l| l.len() == 8_000_000), "one line on {long}");
        assert_eq!(log.lines().filter(|l| l.starts_with("short ")).count(), 8);
        assert_eq!(log.lines().count(), 9);
    }
}

#[test]
fn lines_of_two_writers_are_not_mixed() {
    let line = |c: &str| format!("{}\n", c.repeat(5000));
    let (log, _) = log_of(
        Setup::told(),
        vec![
            json!({ "spawn": ["python3", "-c", "import os\nfor _ in range(200): os.write(2, b'b' * 5000 + b'\\n')\nopen(os.environ['TEST_DIR'] + '/b', 'w')"] }),
            json!({ "outMany": [line("a"), 200] }),
            json!({ "await": "b" }),
        ],
    );
    for line in log.lines() {
        assert!(
            line.len() == 5000 && (line.bytes().all(|b| b == b'a') || line.bytes().all(|b| b == b'b')),
            "{}",
            show(line.as_bytes())
        );
    }
    assert_eq!(log.lines().count(), 400);
}

#[test]
fn json_wraps_every_line_that_is_no_object() {
    let lines = [
        "text",
        "  indented \t tab",
        "[1]",
        "\"string\"",
        "42",
        "null",
        "{",
        "{}x",
        "{\"a\":}",
        "{\"a\":1,}",
        "{'a':1}",
        "{} {}",
        "quotes \" and \\ and \u{1} and \u{7f} and é 漢 🦀",
        "level: {\"level\":\"ERROR\"}",
    ];
    for channel in ["out", "err"] {
        let steps = lines.iter().map(|line| json!({ channel: format!("{line}\n") })).collect();
        let (log, report) = log_of(json_run(), steps);
        let found = objects(&log);
        assert_eq!(found.len(), lines.len(), "{log}");
        for (object, line) in found.iter().zip(lines) {
            check_timestamp(object);
            assert_eq!(object["level"], "INFO");
            assert_eq!(object["requestId"], report.id);
            assert_eq!(object["message"], *line);
        }
    }
}

#[test]
fn json_passes_an_object_as_it_is() {
    let lines = [
        "{}",
        "{\"level\":\"DEBUG\",\"message\":\"m\"}",
        "{ \"n\" : 1.10, \"big\" : 123456789012345678901234567890, \"n\" : 2 }",
        "{\"s\":\"\\ud800\",\"u\":\"é\"}",
        "{\"id\":\"not in flight\",\"message\":\"m\"}",
    ];
    for channel in ["out", "err"] {
        let steps = lines.iter().map(|line| json!({ channel: format!("{line}\n") })).collect();
        let (log, _) = log_of(json_run(), steps);
        assert_eq!(log.lines().collect::<Vec<_>>(), lines);
    }
}

#[test]
fn json_replaces_what_is_not_utf_8() {
    let bytes = b"a\xffb\n\xc3\n{\"s\":\"\xff\"}\nc\0d\n".as_slice();
    let (log, _) = log_of(json_run(), vec![json!({ "errBase64": BASE64_STANDARD.encode(bytes) })]);
    let messages: Vec<String> = objects(&log).iter().map(|o| o["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(messages, ["a\u{fffd}b", "\u{fffd}", "{\"s\":\"\u{fffd}\"}", "c\0d"]);
}

#[test]
fn json_keeps_characters_whole_however_they_arrive() {
    // 3 and 65,536 have no common factor: characters lie across the ends of every read.
    let (log, _) = log_of(json_run(), vec![json!({ "errMany": ["漢", 300_000] }), json!({ "err": "\n" })]);
    let found = objects(&log);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["message"].as_str().unwrap(), "漢".repeat(300_000));
}

#[test]
fn json_wraps_a_long_line_as_one() {
    let (log, _) = log_of(json_run(), vec![json!({ "outMany": ["01234567\t\"", 700_000] }), json!({ "out": "\n" })]);
    let found = objects(&log);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["message"].as_str().unwrap().len(), 7_000_000);
    // Longer than that it may be split, but each part is an object and nothing is lost.
    let (log, _) = log_of(json_run(), vec![json!({ "outMany": ["0123456789", 1_200_000] }), json!({ "out": "\n" })]);
    let length: usize = objects(&log).iter().map(|o| o["message"].as_str().unwrap().len()).sum();
    assert_eq!(length, 12_000_000);
}

#[test]
fn json_has_no_request_id_where_none_is_known() {
    let run = json_run().env("AT_START", json!([{ "err": "starting\n" }]).to_string()).start();
    let found = objects(&run.wait_log("starting"));
    assert_eq!(found[0]["message"], "starting");
    assert_eq!(found[0].get("requestId").filter(|v| !v.is_null()), None);
}

#[test]
fn json_logs_a_fault_with_its_type_and_message() {
    let run = json_run().start();
    let report = run.invoke(json!([{ "exit": 7 }]));
    let document = report.error();
    let found = objects(&run.log_before(&report));
    let faults: Vec<&Value> = found.iter().filter(|o| o["level"] == "ERROR").collect();
    assert_eq!(faults.len(), 1, "{found:?}");
    check_timestamp(faults[0]);
    assert_eq!(faults[0]["requestId"], report.id);
    assert_eq!(faults[0]["errorType"], "Runtime.ExitError");
    assert_eq!(faults[0]["errorMessage"], document["errorMessage"]);
    assert!(faults[0]["message"].is_string());
}

#[test]
fn json_logs_an_init_error_too() {
    let mut run = Setup::new().env("AWS_LAMBDA_LOG_FORMAT", "JSON").env("_HANDLER", "no-such-handler").start();
    run.init_error();
    let found = objects(&run.log());
    assert!(found.iter().any(|o| o["level"] == "ERROR" && o["errorType"] == "Runtime.HandlerNotFound"), "{found:?}");
}

#[test]
fn the_format_is_read_in_any_case() {
    for format in ["json", "Json", "JSON"] {
        let (log, _) = log_of(Setup::told().env("AWS_LAMBDA_LOG_FORMAT", format), vec![json!({ "err": "text\n" })]);
        assert_eq!(objects(&log)[0]["message"], "text");
    }
    for format in ["Text", "text", "TEXT", ""] {
        let (log, _) = log_of(Setup::told().env("AWS_LAMBDA_LOG_FORMAT", format), vec![json!({ "err": "text\n" })]);
        assert_eq!(log, "text\n", "no warning about {format:?}");
    }
}

#[test]
fn a_format_or_level_that_there_is_not_means_the_default_with_a_warning() {
    for (name, value) in [("AWS_LAMBDA_LOG_FORMAT", "xml"), ("AWS_LAMBDA_LOG_LEVEL", "LOUD")] {
        let (log, _) = log_of(Setup::told().env(name, value), vec![json!({ "err": "text\n" })]);
        assert!(log.ends_with("text\n"), "{log}");
        let warning = log.lines().find(|l| l.starts_with("[WARN] bootstrap: ")).unwrap_or_else(|| panic!("no warning in {log}"));
        assert!(warning.contains(name) && warning.contains(value), "{warning}");
    }
}

#[test]
fn the_level_is_for_bootstraps_own_lines() {
    for (level, warns, errs) in [
        ("", true, true),
        ("TRACE", true, true),
        ("DEBUG", true, true),
        ("INFO", true, true),
        ("WARN", true, true),
        ("ERROR", false, true),
    ] {
        let run = Setup::told().env("AWS_LAMBDA_LOG_LEVEL", level).start();
        run.invoke(json!([{ "out": "a handler's line\n{\"level\":\"DEBUG\"}\n" }, { "response": 1 }, { "response": "repeated" }]));
        let report = run.invoke(json!([{ "exit": 7 }]));
        let log = run.log_before(&report);
        assert!(log.contains("a handler's line\n{\"level\":\"DEBUG\"}\n"), "{log}");
        assert_eq!(log.contains("[WARN] bootstrap: "), warns, "with {level}: {log}");
        assert_eq!(log.contains("[ERROR] bootstrap: "), errs, "with {level}: {log}");
    }
}

#[test]
fn bootstrap_says_nothing_when_nothing_is_wrong() {
    let run = Run::of("echoes.py");
    for n in 0..3 {
        run.invoke(n.to_string());
    }
    run.idle();
    assert_eq!(run.log(), "");
}

#[test]
fn a_stalled_stderr_delays_a_report_at_most_until_the_deadline() {
    let run = Setup::told().stalled_stderr().start();
    run.push(Event::new(json!([{ "errMany": ["0123456789abcdef\n", 300_000] }, { "response": 1 }]).to_string()).deadline_in(5000));
    assert_eq!(run.report(0).response(), "1");
    // A second one with nobody there, then somebody reads again.
    run.push(Event::new(json!([{ "outMany": ["0123456789abcdef\n", 300_000] }, { "response": 2 }]).to_string()).deadline_in(5000));
    assert_eq!(run.report(1).response(), "2");
    run.read_stderr(true);
    let warning = run.wait("a warning that counts what was dropped", || {
        run.log().lines().find(|l| l.starts_with("[WARN] bootstrap: ") && l.contains("dropped")).map(str::to_owned)
    });
    let counted = warning.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()).any(|n| n > 1000);
    assert!(counted, "{warning}");
    let report = run.invoke(json!([{ "err": "seen again\n" }, { "response": 3 }]));
    assert_eq!(report.response(), "3");
    run.wait_log("seen again\n");
    // What came through is whole lines.
    for line in run.log().lines() {
        assert!(line == "0123456789abcdef" || line == "seen again" || line.starts_with("[WARN] "), "{line}");
    }
}

#[test]
fn a_stderr_that_only_pauses_loses_nothing() {
    let run = Setup::told().stalled_stderr().start();
    run.push(json!([{ "errMany": ["0123456789abcdef\n", 30_000] }, { "touch": "written" }, { "response": 1 }]));
    run.wait_file("written");
    run.read_stderr(true);
    let report = run.report(0);
    assert_eq!(run.log_before(&report).len(), 30_000 * 17);
}

#[test]
fn a_stderr_that_takes_nothing_and_fails_stops_nothing() {
    let run = Setup::told().full_stderr().start();
    for n in 0..3 {
        assert_eq!(run.invoke(json!([{ "errMany": ["line\n", 1000] }, { "response": n }])).response(), n.to_string());
    }
    run.invoke(json!([{ "exit": 1 }])).is_error("Runtime.ExitError", &[]);
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn stderr_may_be_a_file() {
    let run = Setup::told().stderr_to_file().start();
    let report = run.invoke(json!([{ "errMany": ["line\n", 10_000] }, { "response": 1 }]));
    assert_eq!(run.log_before(&report).len(), 50_000);
}

#[test]
fn memory_is_bounded_whatever_is_logged() {
    let run = Run::told();
    run.invoke(json!([{ "response": 0 }]));
    // 40 MB in one line, on each stream.
    for channel in ["outMany", "errMany"] {
        run.invoke(json!([{ channel: ["0123456789", 4_000_000] }, { "out": "\n" }, { "err": "\n" }, { "response": 1 }]));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64_000, "a peak of {peak} kB");
    assert_eq!(run.log_bytes().iter().filter(|b| b.is_ascii_digit()).count(), 80_000_000);
}
