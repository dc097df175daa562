//! Streamed responses: printed as they come, and what happens where they don't come to their end.

use std::io::Read as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::it::support::eventually;
use crate::it::support::{Ended, Local, invoke};

/// What a caller that takes no stream gets at most.
const MOST_WHOLE: usize = 6 * 1024 * 1024 + 100;

/// What a caller of streams gets at most.
const MOST_STREAMED: usize = 200 * 1024 * 1024;

/// The arguments, and the runtime that streams: the steps are the only event.
fn stream<const N: usize>(args: [&str; N], steps: &Value) -> Local {
    invoke(args).arg("--event").arg(steps.to_string()).runtime("streams.py")
}

/// The same with many events, one a line.
fn streams(events: &[Value]) -> Ended {
    let lines: String = events.iter().map(|steps| format!("{steps}\n")).collect();
    invoke(["--events", "-"]).stdin(lines).runtime("streams.py").run()
}

#[test]
fn a_streamed_response_is_printed_as_it_comes_and_as_it_is() {
    // With the prelude of an HTTP response, which is bytes as any others here.
    let prelude = "{\"statusCode\":200}\0\0\0\0\0\0\0\0";
    let steps = json!([
        {"chunk": prelude}, {"wait": "first"}, {"chunk": "one\n"}, {"wait": "second"}, {"chunk": "two\r\n"}, {"chunk": "é"},
    ]);
    let running = stream([], &steps).start();
    running.wait_stdout(prelude);
    running.touch("first");
    running.wait_stdout(format!("{prelude}one\n"));
    running.touch("second");
    let ended = running.end();
    ended.gives(format!("{prelude}one\ntwo\r\né\n"));
    assert_eq!((ended.stderr.as_str(), ended.file("said").as_str()), ("", "202 \n"));
}

#[test]
fn a_stream_ends_in_a_newline_as_any_response() {
    stream([], &json!([{"chunk": "a\n"}])).run().gives("a\n");
    stream([], &json!([{"chunk": "a"}])).run().gives("a\n");
    stream([], &json!([])).run().gives("\n");
}

#[test]
fn an_error_at_the_end_of_a_stream_is_told_beside_it() {
    let steps = json!([{"chunk": "half"}, {"error": {"errorType": "Function.Broke", "errorMessage": "no more paper"}}]);
    let ended = stream([], &steps).run();
    ended.code(1).says_once("the streamed response ended in an error: no more paper (Function.Broke)");
    assert_eq!((ended.stdout.as_slice(), ended.file("said").as_str()), (&b"half\n"[..], "202 \n"), "{}", ended.story());

    let ended = stream([], &json!([{"error_type": "Function.Unsaid"}])).run();
    ended.code(1).says_once("(Function.Unsaid)");
    // The stream was open: what is on stdout is its, and it had nothing.
    assert_eq!(ended.stdout, b"\n", "{}", ended.story());
}

#[test]
fn a_stream_that_breaks_off_is_an_error() {
    for end in [json!({"breaks": true}), json!({"exit": 3})] {
        let ended = stream([], &json!([{"chunk": "half"}, end])).run();
        ended.code(1).says_once("the streamed response broke off before its end (Runtime.TruncatedResponse)");
        assert_eq!(ended.stdout, b"half\n", "{}", ended.story());
    }
}

#[test]
fn a_stream_that_takes_too_long_is_an_error() {
    for concurrency in ["1", "2"] {
        let ended = stream(["--timeout", "1", "--concurrency", concurrency], &json!([{"chunk": "half"}, {"hang": true}])).run();
        ended.code(1).says_once("Task timed out after 1.00 seconds (Sandbox.Timedout); --timeout SECONDS gives it longer");
        assert_eq!(ended.stdout, b"half\n", "{}", ended.story());
    }
}

#[test]
fn a_stream_has_no_limit_of_6_mib_but_one_of_200() {
    let ended = stream([], &json!([{"bytes": MOST_WHOLE + 1}])).run();
    ended.code(0);
    assert_eq!((ended.stdout.len(), ended.file("said").as_str()), (MOST_WHOLE + 2, "202 \n"));

    for over in [0, 1] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let local = stream([], &json!([{"bytes": MOST_STREAMED + over}]));
        let running = local.start_to(writer.into());
        let mut count = 0;
        let mut buffer = vec![0; 1024 * 1024];
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => break,
                read => count += read,
            }
        }
        assert_eq!(count, MOST_STREAMED + 1, "and a newline");
        let ended = running.end();
        if over == 0 {
            ended.code(0);
        } else {
            let size = MOST_STREAMED + over;
            ended
                .code(1)
                .says_once(&format!("({size} bytes) exceeded maximum allowed payload size (209715200 bytes). What is beyond"));
            assert_eq!(ended.file("said"), "413 RequestEntityTooLarge\n");
        }
    }
}

#[test]
fn among_many_events_a_stream_is_one_line_and_has_the_limit_of_a_whole_response() {
    let document = json!({"errorType": "Function.Broke", "errorMessage": "half way"});
    let events = [
        json!([{"chunk": "{\"a\":\n"}, {"chunk": "1}"}]),
        json!([{"chunk": "half"}, {"error": document}]),
        json!([{"chunk": "half"}, {"breaks": true}]),
        json!([{"bytes": MOST_WHOLE}]),
        json!([{"bytes": MOST_WHOLE + 1}]),
        json!([{"chunk": "2"}]),
    ];
    let ended = streams(&events);
    ended.code(1).says("6 events: 3 ok, 3 errors");
    let lines: Vec<&[u8]> = ended.stdout.split(|&byte| byte == b'\n').collect();
    assert_eq!((lines.len(), lines[0], lines[3].len(), lines[5]), (7, &b"{\"a\": 1}"[..], MOST_WHOLE, &b"2"[..]));
    // An error has its line, as it always has: there is nothing of the stream that it could be mixed with.
    let answer = |n: usize| serde_json::from_slice::<Value>(lines[n]).unwrap();
    assert_eq!(answer(1), document);
    assert_eq!(answer(2)["errorType"], "Runtime.TruncatedResponse");
    assert_eq!(answer(4)["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(ended.file("said"), "202 \n202 \n202 \n413 RequestEntityTooLarge\n202 \n");
}

#[test]
fn a_slow_reader_slows_the_stream_down() {
    // Beyond what pipes and sockets hold by themselves.
    const MUCH: usize = 128 * 1024 * 1024;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let running = stream([], &json!([{"bytes_until_stuck": MUCH}])).start_to(writer.into());
    let taken = || running.dir.path().join("all-taken").exists();
    let stuck = || running.dir.path().join("stuck").exists();
    let either = eventually(|| (taken() || stuck()).then_some(()));
    assert!(either.is_some() && !taken(), "nobody has read, and all was taken\n{}", running.story());
    // The stream goes on as soon as somebody reads.
    let count = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert!(count > 0);
    running.end().code(0);
}

#[test]
fn a_reader_that_has_seen_enough_of_a_stream_ends_it_quietly() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // The pipe may be open a little longer, in a process that is being started beside; so much does not fit into it.
    let steps = json!([{"chunk": "one\n"}, {"wait": "read"}, {"bytes": 10_000_000}, {"hang": true}]);
    let running = stream([], &steps).start_to(writer.into());
    let mut first = [0; 4];
    reader.read_exact(&mut first).unwrap();
    drop(reader);
    running.touch("read");
    let ended = running.end();
    ended.code(0);
    assert_eq!((&first, ended.stderr.as_str()), (b"one\n", ""));
}

#[test]
fn a_signal_ends_a_stream() {
    let running = stream([], &json!([{"chunk": "half"}, {"hang": true}])).start();
    running.wait_stdout("half");
    running.signal(Signal::INT);
    running.end().code(130).says("stopped by SIGINT");
}
