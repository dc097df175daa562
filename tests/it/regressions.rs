//! Faults that were found once. Each test tells its story.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Answer, Event, Gate, Route, Run, Setup};

/// Every warning of bootstrap's own went into the log's queue, which was only bounded by no longer reading stdout and stderr.
#[test]
fn warnings_about_fd_3_do_not_fill_the_memory_while_stderr_is_stuck() {
    let run = Setup::told().stalled_stderr().start();
    let stale = format!("{}\n", json!({ "id": "nobody", "response": 1 }));
    let steps = json!([{ "spawn": ["sh", "-c", format!("yes '{}' | head -c 6000000 >&3; echo done >\"$TEST_DIR/all-written\"", stale.trim())] },
        { "await": "all-written" }, { "response": 1 }]);
    assert_eq!(run.invoke(Event::new(steps.to_string()).no_deadline()).response(), "1");
    let peak = run.memory_kb("VmHWM");
    assert!(peak < 32_000, "a peak of {peak} kB");
}

/// To make the X-Ray cause, each frame was compared with each frame before it.
#[test]
fn an_error_with_very_many_frames_is_reported_in_time() {
    let program = "import json,os,sys\nfor l in sys.stdin:\n m=json.loads(l)\n print(json.dumps({'id':m['id'],'error':{'errorType':'A.B',\
        'errorMessage':'m','stackTrace':['at a%d(F%d.java:%d)'%(n,n,n) for n in range(150000)]}}),flush=True)\n";
    let run = Setup::new().arg("python3").arg("-c").arg(program).start();
    let report = run.invoke("1");
    report.is_error("A.B", &["m"]);
    let cause: Value = serde_json::from_str(report.header("lambda-runtime-function-xray-error-cause").unwrap()).unwrap();
    assert_eq!(cause["exceptions"][0]["stack"][0]["path"], "F0.java");
}

/// A frame with a number and no file in its brackets ended bootstrap. The fuzz target `replies` found it.
#[test]
fn a_frame_that_is_a_number_alone_is_no_end_of_bootstrap() {
    let run = Run::told();
    let report = run.invoke(json!([{ "error": { "errorType": "A.B", "errorMessage": "m", "stackTrace": ["at native(42)"] } }]));
    report.is_error("A.B", &["m"]);
    let cause: Value = serde_json::from_str(report.header("lambda-runtime-function-xray-error-cause").unwrap()).unwrap();
    assert_eq!(cause["exceptions"][0]["stack"][0], json!({ "path": "42", "line": 0, "label": "native" }));
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

/// A stderr that takes nothing delayed each report until its deadline, not one.
#[test]
fn a_stuck_stderr_delays_one_report_and_not_the_next() {
    let run = Setup::told().stalled_stderr().start();
    // More than the pipe takes, so that something waits; this one is delayed.
    run.push(Event::new(json!([{ "errMany": ["0123456789abcdef\n", 20_000] }, { "response": 1 }]).to_string()).deadline_in(1500));
    assert_eq!(run.report(0).response(), "1");
    // Without a deadline a report waits for ten seconds; three of them would outlast the patience of this test.
    for n in 0..12 {
        let steps = json!([{ "err": "a line\n" }, { "response": n }]).to_string();
        assert_eq!(run.invoke(Event::new(steps).no_deadline()).response(), n.to_string());
    }
}

/// What a handler logged after its reply stood in the error of the next event, for the next caller to read.
#[test]
fn what_is_logged_after_a_reply_is_not_in_the_next_callers_error() {
    let run = Run::told();
    run.invoke(json!([{ "response": 1 }, { "err": "the first caller's secret\n" }, { "out": "and another\n" }]));
    run.wait_log("and another\n");
    let document = run.invoke(json!([{ "err": "mine\n" }, { "exit": 3 }])).is_error("Runtime.ExitError", &["exit status 3"]);
    assert_eq!(document["stackTrace"], json!(["mine"]));
}

/// With options or assignments env's program is not the next word.
#[test]
fn env_with_options_is_left_to_env() {
    for first in ["#!/usr/bin/env -S -u FOO python3", "#!/usr/bin/env -S PATH=/usr/bin:/bin python3"] {
        let code =
            "\nimport json,sys\nfor l in sys.stdin:\n print(json.dumps({'id':json.loads(l)['id'],'response':1}),flush=True)\n";
        let setup = Setup::new();
        let root = setup.dir().to_owned();
        let run = setup
            .file("handler", 0o755, format!("{first}{code}"))
            .env("LAMBDA_TASK_ROOT", root)
            .env("_HANDLER", "./handler")
            .start();
        assert_eq!(run.invoke("1").response(), "1", "{first}");
    }
}

/// `{"ready":false}` ended the handler before its unfinished line was read.
#[test]
fn the_last_words_before_ready_false_are_logged() {
    let start = json!([{ "err": "the reason is X" }, { "out": "{\"ready\":false,\"error\":\"no\"}\n" }, { "hang": true }]);
    let mut run = Setup::told().env("AT_START", start.to_string()).start();
    run.init_error().is_error("Function.Error", &["no"]);
    run.exits_with(1);
    assert!(run.log().contains("the reason is X\n"), "{}", run.log());
}

/// A FIFO was opened to look at its first line, which waits for a writer.
#[test]
fn a_fifo_as_command_is_refused() {
    let setup = Setup::new();
    let root = setup.dir().to_owned();
    assert!(std::process::Command::new("mkfifo").arg("-m").arg("755").arg(root.join("fifo")).status().unwrap().success());
    let mut run = setup.env("LAMBDA_TASK_ROOT", root).env("_HANDLER", "./fifo").start();
    run.init_error().is_error("Runtime.InvalidEntrypoint", &["fifo", "not a regular file"]);
}

/// The extension began to wait only after the snapshot was restored; Lambda ends the init phase only once it waits.
#[test]
fn under_snapstart_the_extension_waits_before_the_restore() {
    let restored = Gate::default();
    let run = Setup::told()
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
        .env("BOOTSTRAP_GRACEFUL_SHUTDOWN", "true")
        .answer(Route::RestoreNext, Answer::status(200).held(&restored))
        .start();
    run.requests("GET", "/extension/event/next", 1);
    run.requests("GET", "/restore/next", 1);
    restored.open();
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

/// A report that was only waiting for stderr was given up at SIGTERM.
#[test]
fn an_answered_invocation_is_reported_in_the_shutdown_phase_though_stderr_is_stuck() {
    let mut run = Setup::told().stalled_stderr().start();
    let steps = json!([{ "errMany": ["0123456789abcdef\n", 20_000] }, { "touch": "written" }, { "response": 1 }]).to_string();
    run.push(Event::new(steps).no_deadline());
    run.wait_file("written");
    run.signal(Signal::TERM);
    run.exits_with(0);
    assert_eq!(run.report(0).response(), "1");
}

/// A failed exec leaves SIGPIPE at its default, and the next line to a stderr without a reader ended bootstrap.
#[test]
fn a_wrapper_that_cannot_run_is_reported_though_nobody_reads_stderr() {
    let mut run = Setup::told().env("AWS_LAMBDA_EXEC_WRAPPER", "/no/such/wrapper").stalled_stderr().start();
    run.init_error().is_error("Runtime.InvalidEntrypoint", &["AWS_LAMBDA_EXEC_WRAPPER", "/no/such/wrapper"]);
    run.exits_with(1);
}

/// A refusal's body was read to its end, however long, to quote the beginning.
#[test]
fn a_refusal_without_end_is_quoted_and_left() {
    let endless = Answer::status(403).body("because ".repeat(5_000_000)).then_close();
    let run = Setup::told().event(json!([{ "response": 1 }])).answer(Route::Report, endless).start();
    run.report(0);
    assert_eq!(run.invoke(json!([{ "response": 2 }])).response(), "2");
    assert!(run.log().contains("because because"), "{}", run.log());
    assert!(run.log().len() < 10_000 && run.memory_kb("VmHWM") < 64_000);
}

/// One line at a time is read, so that what follows stays in the pipe. Each event names itself, and what is done with it: `die` is to
/// answer it and end. The first process takes four at a time, the second one, the third four.
const TAKES_FOUR_ONE_FOUR: &str = "import json, os, time
folder = os.environ['TEST_DIR'] + '/'
open(folder + 'starts', 'a').write('%d\\n' % os.getpid())
number = len(open(folder + 'starts').readlines())
print(json.dumps({'ready': True, 'concurrency': 1 if number == 2 else 4}), flush=True)
while True:
    line = b''
    while not line.endswith(b'\\n'):
        byte = os.read(0, 1)
        if not byte:
            os._exit(0)
        line += byte
    if not line.strip():
        continue
    message = json.loads(line)
    event = message['event']
    open(folder + 'in-' + event['name'], 'w').close()
    while event['waits'] and not os.path.exists(folder + 'go-' + event['name']):
        time.sleep(0.01)
    print(json.dumps({'id': message['id'], 'response': event['name']}), flush=True)
    if event['waits']:
        os._exit(0)
";

/// Events that had come back unread from a handler with four places waited in one with a single place, and nobody looked at them
/// again when it had answered the first.
#[test]
fn events_that_come_back_unread_find_places_though_fewer_are_offered_meanwhile() {
    let run = Setup::new().concurrency(5).arg("python3").arg("-c").arg(TAKES_FOUR_ONE_FOUR).start();
    let event = |name: &str, waits: bool| json!({ "name": name, "waits": waits }).to_string();
    run.invoke(event("first", false));
    let last = run.push(event("last", true));
    run.wait_file("in-last");
    let unread = ["a", "b", "c"].map(|name| (name, run.push(event(name, false))));
    run.waiting(1);
    // This one goes to a process that takes one at a time, which is then the last word on how many a fresh one takes.
    run.invoke(event("elsewhere", false));
    assert_eq!(run.starts().len(), 2);
    run.touch("go-last");
    assert_eq!(run.report_of(&last).response(), "\"last\"");
    for (name, id) in unread {
        assert_eq!(run.report_of(&id).response(), format!("\"{name}\""));
    }
    run.waiting(5);
}

/// A handler that takes so many events at once.
fn at_once(n: usize) -> Setup {
    Setup::of("does_as_told_at_once.py").concurrency(n).env("AT_ONCE", n.to_string()).env("BOOTSTRAP_READY", "message")
}

/// What a handler logged for an invocation that had timed out had the request id of the only one that was still in flight.
#[test]
fn a_line_that_may_be_a_late_invocations_names_no_other() {
    let run = at_once(2).env("AWS_LAMBDA_LOG_FORMAT", "JSON").start();
    let steps = json!([{ "touch": "in-late" }, { "await": "go-late" }, { "err": "about the late one\n" }, { "response": 1 }]);
    let late = run.push(Event::new(steps.to_string()).deadline_in(1500));
    run.wait_file("in-late");
    let id = run.push(json!([{ "response": "a sign of life" }]));
    run.report_of(&id);
    run.report_of(&late).is_error("Function.Timeout", &[]);
    let steps = json!([{ "touch": "in" }, { "await": "go" }, { "err": "about one alone\n" }, { "response": 2 }]);
    let other = run.push(steps);
    run.wait_file("in");
    run.touch("go-late");
    let record = |text: &str| -> Value {
        let log = run.wait_log(text);
        serde_json::from_str(log.lines().find(|line| line.contains(text)).unwrap()).unwrap()
    };
    assert_eq!(record("about the late one").get("requestId"), None);
    // Once the late reply has come, there is but one that a line can be about.
    run.wait_log("is over");
    run.touch("go");
    assert_eq!(record("about one alone")["requestId"], json!(other));
    run.report_of(&other);
}

/// Until a handler had answered for the first time, the error of each event held what was logged before that event had come, for
/// other callers.
#[test]
fn what_was_logged_before_an_event_came_is_not_in_its_error_though_nothing_was_answered_yet() {
    let run = at_once(2).start();
    let first = run.push(json!([{ "err": "the first caller's secret\n" }, { "hang": true }]));
    run.wait_log("secret\n");
    let second = run.push(json!([{ "err": "mine\n" }, { "exit": 3 }]));
    let document = run.report_of(&second).is_error("Runtime.ExitError", &["exit status 3"]);
    assert_eq!(document["stackTrace"], json!(["mine"]));
    let document = run.report_of(&first).is_error("Runtime.ExitError", &["exit status 3"]);
    assert_eq!(document["stackTrace"], json!(["the first caller's secret", "mine"]));
}

/// A stream that had been accepted at once, and was read no further, was given up some time after its end. Its body then ended in
/// order, without the handler's fault, as if what had been sent were the whole.
#[test]
fn a_stream_that_is_given_up_does_not_look_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let run = Setup::of("streams_so_many_megabytes.py").env("STREAM_FD", "1").address("", move |_| address.clone()).start();
    listener.set_nonblocking(true).unwrap();
    let accept = || {
        let (stream, _) = run.wait("a connection", || listener.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        BufReader::new(stream)
    };
    let mut first = accept();
    let deadline = super::support::epoch_ms(std::time::Duration::from_millis(1500));
    for (request, answer) in [
        (
            "GET ",
            format!(
                "200 OK\r\nLambda-Runtime-Aws-Request-Id: a\r\nLambda-Runtime-Deadline-Ms: {deadline}\r\nContent-Length: 2\r\n\r\n50"
            ),
        ),
        ("POST ", "202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned()),
    ] {
        let head: Vec<String> = first.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        assert!(head[0].starts_with(request), "{head:?}");
        write!(first.get_mut(), "HTTP/1.1 {answer}").unwrap();
    }
    // Bootstrap asks for the next event: it has given up.
    let _next = accept();
    let mut body = Vec::new();
    // It may be reset, too.
    let _ = first.read_to_end(&mut body);
    assert!(body.len() > 1_000_000 && !body.ends_with(b"\r\n0\r\n\r\n"), "{} bytes, which look whole", body.len());
    drop(run);
}

/// Where a filter was started again, the next event did not wait until it read its stdin, and what it wrote while it started was
/// the answer.
#[test]
fn what_a_filter_writes_while_it_starts_again_is_no_answer_where_its_start_is_watched() {
    let banner = "sleep 0.3; echo '{\"banner\":true}'; exec cat";
    let run = Setup::script("filter", banner).env("BOOTSTRAP_READY", "auto").start();
    // Before it is the space by which it was seen to read.
    assert_eq!(run.invoke("1").response(), " 1");
    for n in 2..5 {
        let pid = *run.starts().last().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        run.wait_starts(n);
        assert_eq!(run.invoke(n.to_string()).response(), format!(" {n}"));
    }
    assert_eq!(run.log().matches("{\"banner\":true}\n").count(), 4, "{}", run.log());
}

/// How long a stuck stderr may hold a handler up was said by the last event of any, so that one with much time took another's.
#[test]
fn a_stuck_stderr_leaves_each_of_several_events_the_other_half_of_its_time() {
    for setup in [Setup::told().concurrency(2), at_once(2)] {
        let run = setup.stalled_stderr().start();
        let steps =
            json!([{ "touch": "in" }, { "await": "go" }, { "errMany": ["0123456789abcdef\n", 400_000] }, { "response": 1 }]);
        let short = run.push(Event::new(steps.to_string()).deadline_in(5000));
        run.wait_file("in");
        let long = run
            .push(Event::new(json!([{ "touch": "in-long" }, { "await": "go-long" }, { "response": 2 }]).to_string()).no_deadline());
        run.wait_file("in-long");
        run.touch("go");
        assert_eq!(run.report_of(&short).response(), "1");
        run.touch("go-long");
        assert_eq!(run.report_of(&long).response(), "2");
    }
}

/// Lines longer than are held as a whole, of two handlers, were woven into one.
#[test]
fn very_long_lines_of_two_handlers_are_not_mixed() {
    let run = Setup::told().concurrency(2).start();
    let letters = |letter: &str| json!({ "errMany": [letter.repeat(1000), 9000] });
    let first =
        run.push(json!([letters("a"), { "touch": "half" }, { "await": "go" }, letters("a"), { "err": "\n" }, { "response": 1 }]));
    run.wait_file("half");
    let second = run.push(json!([letters("b"), { "err": "\n" }, { "response": 2 }]));
    assert_eq!(run.report_of(&second).response(), "2");
    run.touch("go");
    assert_eq!(run.report_of(&first).response(), "1");
    let log = run.log();
    assert!(log.lines().all(|line| !(line.contains('a') && line.contains('b'))), "mixed");
    assert_eq!((log.matches('a').count(), log.matches('b').count()), (18_000_000, 9_000_000));
}

/// The end of descriptor 3 was not taken for the end of a reply that is too large, and `/next` waited until the deadline.
#[test]
fn a_reply_that_is_too_large_ends_with_its_channel() {
    let program = "import json, os, sys
for line in sys.stdin:
    id = json.loads(line)['id']
    if line.strip().endswith('\"event\":1}'):
        file = os.fdopen(3, 'w')
        file.write('{\"id\":\"%s\",\"response\":\"' % id + 9_000_000 * 'x')
        file.close()
    else:
        print(json.dumps({'id': id, 'response': 2}), flush=True)
";
    let run = Setup::new().arg("python3").arg("-c").arg(program).start();
    run.invoke("1").is_error("Function.ResponseSizeTooLarge", &["8388608"]);
    let handler = run.processes()[0].0;
    assert_eq!(run.invoke("2").response(), "2");
    assert_eq!(run.processes()[0].0, handler, "it is kept");
}
