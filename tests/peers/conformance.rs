//! JSONTestSuite (<https://github.com/nst/JSONTestSuite>), each of its files as an event, as a reply's value, and as what a filter
//! gets and gives.
//!
//! The files are those that the crate json-syntax carries: `y_` is JSON, `n_` is none, and `i_` each reader decides. Numbers beyond
//! a double's range are `y_` there, since by its grammar they are JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::support::suite;
use crate::it_support::{Event, Kind, Report, Run, Setup, show};

/// A file: its name and its bytes.
type File = (String, Vec<u8>);

/// All files, as many as there have to be.
fn files() -> Vec<File> {
    let mut files: Vec<File> = std::fs::read_dir(suite())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    let count = |kind: &str| files.iter().filter(|(name, _)| name.starts_with(kind)).count();
    // docs/trust.md has these numbers.
    assert_eq!([count("y_"), count("n_"), count("i_")], [107, 188, 19]);
    assert_eq!(files.iter().filter(|file| is_json(file)).count(), 107 + 9);
    files
}

/// What is JSON to bootstrap. Of what is left to each reader, half a surrogate pair in a string is, since it is written in ASCII;
/// what is no UTF-8 is not, and neither is a byte order mark.
fn is_json((name, bytes): &File) -> bool {
    name.starts_with("y_") || name.starts_with("i_") && std::str::from_utf8(bytes).is_ok() && !bytes.starts_with(b"\xef\xbb\xbf")
}

/// On one line: the line breaks between tokens are spaces.
fn on_one_line(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// A run in which a handler may be replaced as often as there are files.
fn start(setup: Setup) -> Run {
    setup.env("BOOTSTRAP_MAX_RESTARTS", "1000").start()
}

#[track_caller]
fn check_response(name: &str, report: &Report, expected: &[u8]) {
    assert_eq!(report.kind, Kind::Response, "{name}: {}", report.request);
    assert!(report.request.body == expected, "{name}: {} and not {}", show(&report.request.body), show(expected));
}

/// What is JSON reaches the handler byte for byte. What is not comes as base64, or, where it is wrong only in its details, as it is;
/// echoed, it is then a malformed reply. Either way the next event's message is whole.
#[test]
fn each_file_is_echoed_byte_for_byte_or_comes_as_base64() {
    let run = start(Setup::of("echoes_bytes.py"));
    for file in files() {
        let (name, bytes) = &file;
        let report = run.invoke(Event::new(bytes.clone()));
        if is_json(&file) {
            // White space around a value is no part of it.
            check_response(name, &report, on_one_line(bytes).trim_ascii());
        } else if report.kind == Kind::Response {
            check_response(name, &report, format!("{{\"eventBase64\":\"{}\"}}", STANDARD.encode(bytes)).as_bytes());
        } else {
            report.is_error("Runtime.InvalidReply", &["is not valid JSON"]);
        }
    }
    check_response("the end", &run.invoke("[1.0]"), b"[1.0]");
    run.idle();
}

#[test]
fn each_file_is_a_response_byte_for_byte_or_a_malformed_reply() {
    let run = start(Setup::of("echoes_bytes.py"));
    for file in files() {
        let (name, bytes) = &file;
        let value = if is_json(&file) { on_one_line(bytes) } else { bytes.clone() };
        let report = run.invoke(format!("{{\"reply\":\"{}\"}}", STANDARD.encode(&value)));
        if is_json(&file) {
            check_response(name, &report, value.trim_ascii());
        } else {
            report.is_error("Runtime.InvalidReply", &["is not valid JSON"]);
        }
    }
    run.idle();
}

#[test]
fn each_file_goes_through_a_filter_byte_for_byte_or_is_refused() {
    let run = start(Setup::script("filter", "exec cat"));
    for file in files() {
        let (name, bytes) = &file;
        let report = run.invoke(Event::new(bytes.clone()));
        if is_json(&file) {
            check_response(name, &report, &on_one_line(bytes));
        } else {
            let document = report.error();
            let told = document["errorType"].as_str().unwrap();
            assert!(["Function.InvalidEvent", "Runtime.InvalidReply"].contains(&told), "{name}: {document}");
        }
    }
    run.idle();
}
