//! `bootstrap invoke`: the command as people and scripts use it, and the execution environment behind it.

mod concurrency;
mod streaming;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{bootstrap, eventually, handler, hello, invoke, leftovers, parse_environ};

#[test]
fn the_first_command_answers_and_says_nothing_else() {
    let ended = invoke(["--event", "{\"name\":\"world\"}"]).handler(hello()).run();
    ended.gives("{\"hello\":{\"name\":\"world\"}}\n");
    assert_eq!(ended.stderr, "");
}

#[test]
fn an_event_and_its_response_pass_byte_for_byte() {
    let event = r#"{"n":123456789012345678901234567890, "m":1.10,"m":1.10,"lone":"\ud800","é":"\u00e9"}"#;
    invoke(["--event", event]).handler(hello()).run().gives(format!("{{\"hello\":{event}}}\n"));
}

#[test]
fn without_an_event_it_is_an_empty_object() {
    invoke([]).handler(hello()).run().gives("{\"hello\":{}}\n");
}

#[test]
fn a_pretty_printed_file_is_sent_as_it_is() {
    let local = invoke(["--event-file", "event.json"]).file("event.json", 0o644, "{\n  \"a\": 1\n}\n");
    // The message to the handler has spaces for the newlines; the protocol says so.
    let ended = local.handler(hello()).run();
    ended.gives("{\"hello\":{   \"a\": 1 } }\n");
    invoke(["--event-file", "-"]).stdin("[1,\n2]").handler(hello()).run().gives("{\"hello\":[1, 2]}\n");
}

#[test]
fn what_is_not_json_is_sent_where_it_is_meant() {
    let ended = invoke(["--raw-event", "world"]).handler(handler("saves_messages.py")).run();
    ended.gives("null\n");
    let message = std::fs::read_to_string(ended.dir.path().join("message.0")).unwrap();
    assert!(message.contains(r#""eventBase64":"d29ybGQ=""#), "{message}");

    let ended = invoke(["--event-file", "-"]).stdin("\u{fffd}").handler(handler("saves_messages.py")).run();
    ended.gives("null\n").says("stdin is not JSON");
}

#[test]
fn a_quoting_slip_is_shown_and_nothing_is_run() {
    let ended = invoke(["--event", "{name: world}"]).handler(handler("saves_messages.py")).run();
    ended.code(2).says("    {name: world}\n     ^\n").says("taken the double quotes away").says("--raw-event");
    assert!(ended.stdout.is_empty() && ended.starts() == 0, "{}", ended.story());
}

#[test]
fn mistakes_on_the_command_line_are_status_2() {
    for (local, text) in [
        (invoke(["--event", "{}"]), "no handler to run"),
        (invoke(["--event-file", "missing.json"]).handler("h"), "missing.json: No such file"),
        (invoke(["--event-file", "."]).handler("h"), ". is a directory"),
        (invoke(["--events", "missing.jsonl"]).handler("h"), "missing.jsonl: No such file"),
        (invoke(["--concurrency", "0"]).handler("h"), "--concurrency"),
        (invoke(["--concurrency", "1001"]).handler("h"), "--concurrency"),
        (invoke(["--timeout", "0"]).handler("h"), "--timeout"),
        (bootstrap([]), "bootstrap invoke --event"),
        (bootstrap([]).env("AWS_LAMBDA_RUNTIME_API", ""), "bootstrap invoke --event"),
        (bootstrap(["my.handler"]), "my.handler"),
    ] {
        let ended = local.run();
        ended.code(2).says(text);
        assert!(ended.stdout.is_empty(), "{}", ended.story());
        assert!(!ended.stderr.contains('\u{1b}'), "colours where there is no terminal: {:?}", ended.stderr);
    }
}

#[test]
fn help_is_on_stdout() {
    for (local, text) in
        [(bootstrap(["--help"]), "invoke"), (invoke(["--help"]), "--event-file"), (bootstrap(["--version"]), "bootstrap ")]
    {
        let ended = local.run();
        ended.code(0);
        assert!(String::from_utf8_lossy(&ended.stdout).contains(text), "{}", ended.story());
    }
}

#[test]
fn the_command_may_come_from_the_environment() {
    invoke([]).env("BOOTSTRAP_COMMAND", hello()).run().gives("{\"hello\":{}}\n");
    invoke([]).env("_HANDLER", hello()).run().gives("{\"hello\":{}}\n");
    let none = Path::new("/none");
    invoke([]).env("BOOTSTRAP_COMMAND", none).env("_HANDLER", none).handler(hello()).run().gives("{\"hello\":{}}\n");
}

#[test]
fn arguments_reach_the_handler_as_they_are() {
    let local = invoke([]).handler(handler("saves_environment.sh"));
    let ended = local.arg("a b").arg("").arg("'\"$HOME\\").arg("--event").run();
    ended.gives("null\n");
    assert_eq!(std::fs::read_to_string(ended.dir.path().join("args")).unwrap(), "a b\n\n'\"$HOME\\\n--event\n");
}

#[test]
fn the_handler_sees_lambdas_environment() {
    let local = invoke(["--memory", "512", "--env", "COLOUR=blue=green", "--mode", "jsonl"]).env("AWS_REGION", "eu-central-1");
    let ended = local.env("AWS_LAMBDA_MAX_CONCURRENCY", "4").handler(handler("saves_environment.sh")).run();
    ended.gives("null\n");
    let environment = parse_environ(&std::fs::read(ended.dir.path().join("env")).unwrap());
    let directory = std::fs::canonicalize(ended.dir.path()).unwrap().display().to_string();
    for (name, value) in [
        ("COLOUR", Some("blue=green")),
        ("AWS_REGION", Some("eu-central-1")),
        ("AWS_DEFAULT_REGION", Some("eu-central-1")),
        ("AWS_LAMBDA_FUNCTION_NAME", Some("function")),
        ("AWS_LAMBDA_FUNCTION_VERSION", Some("$LATEST")),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", Some("512")),
        ("AWS_LAMBDA_LOG_GROUP_NAME", Some("/aws/lambda/function")),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", Some("on-demand")),
        ("LAMBDA_TASK_ROOT", Some(directory.as_str())),
        ("BOOTSTRAP_MODE", Some("jsonl")),
        ("AWS_LAMBDA_RUNTIME_API", None),
        ("AWS_LAMBDA_MAX_CONCURRENCY", None),
    ] {
        assert_eq!(environment.get(name).map(String::as_str), value, "{name}");
    }
    assert!(environment["AWS_LAMBDA_LOG_STREAM_NAME"].contains("/[$LATEST]"), "{environment:?}");
}

#[test]
fn the_context_says_what_the_command_line_said() {
    let args = ["--client-context", "{\"custom\":\n{\"é\":1}}", "--tenant-id", "t-1", "--timeout", "60", "--trace-id"];
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
    let ended = invoke(args).arg(trace).handler(handler("saves_messages.py")).run();
    ended.gives("null\n");
    let message: Value = serde_json::from_slice(&std::fs::read(ended.dir.path().join("message.0")).unwrap()).unwrap();
    let context = &message["context"];
    assert_eq!(context["clientContext"], json!({"custom": {"é": 1}}));
    assert_eq!(context["tenantId"], "t-1");
    assert_eq!(context["traceId"], trace);
    assert_eq!(context["invokedFunctionArn"], "arn:aws:lambda:us-east-1:123456789012:function:function");
    assert_eq!(message["id"].as_str().map(str::len), Some(36), "{message}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let deadline = u128::from(context["deadlineMs"].as_u64().unwrap());
    assert!(deadline <= now + 60_000 && deadline + 60_000 > now, "the deadline {deadline} is about a minute after {now}");
}

#[test]
fn a_trace_is_begun_for_each_event() {
    let ended = invoke(["--events", "-"]).stdin("1\n2\n").handler(handler("saves_messages.py")).run();
    ended.gives("null\nnull\n");
    let trace = |name: &str| -> String {
        let message: Value = serde_json::from_slice(&std::fs::read(ended.dir.path().join(name)).unwrap()).unwrap();
        assert!(message["context"]["traceparent"].as_str().is_some_and(|parent| parent.ends_with("-01")), "{message}");
        message["context"]["traceId"].as_str().unwrap().to_owned()
    };
    assert_ne!(trace("message.0"), trace("message.1"));
}

#[test]
fn an_error_reply_is_on_stdout_with_a_line_on_stderr() {
    let error = json!([{"error": {"errorType": "OutOfStock", "errorMessage": "no more"}}]).to_string();
    let ended = invoke(["--event", &error]).handler(handler("does_as_told.py")).run();
    assert_eq!(ended.error(), ("OutOfStock".to_owned(), "no more".to_owned()));
    ended.says_once("no more").says("ended in an error (OutOfStock)");
}

#[test]
fn what_the_handler_prints_is_on_stderr() {
    let steps = json!([{"out": "printed\n"}, {"err": "warned\n"}, {"response": 1}]).to_string();
    let ended = invoke(["--event", &steps]).handler(handler("does_as_told.py")).run();
    ended.gives("1\n").says_once("printed").says_once("warned");
}

#[test]
fn a_handler_that_does_not_start_is_explained_once() {
    for (local, error_type, text) in [
        (invoke([]).handler("./missing"), "Runtime.HandlerNotFound", "the handler \"./missing\" (the arguments) was not found"),
        (invoke([]).env("BOOTSTRAP_COMMAND", "./missing"), "Runtime.HandlerNotFound", "(BOOTSTRAP_COMMAND) was not found"),
        (invoke([]).env("_HANDLER", "./missing"), "Runtime.HandlerNotFound", "(_HANDLER) was not found"),
        (invoke([]).file("h", 0o644, "#!/bin/sh\n").handler("./h"), "Runtime.InvalidEntrypoint", "chmod +x"),
        (invoke([]).file("h", 0o755, "#!/no/sh\n").handler("./h"), "Runtime.InvalidEntrypoint", "/no/sh"),
        (invoke([]).handler("."), "Runtime.InvalidEntrypoint", "is a directory"),
        (invoke([]).env("BOOTSTRAP_MODE", "x").handler(hello()), "Runtime.InvalidConfiguration", "BOOTSTRAP_MODE"),
    ] {
        let ended = local.run();
        let (told, message) = ended.error();
        assert_eq!(told, error_type, "{}", ended.story());
        assert!(message.contains(text), "{}", ended.story());
        ended.says_once(&message).says("the event was not run");
    }
}

#[test]
fn many_events_are_answered_in_order_one_a_line() {
    let events = "{\"n\":1}\n\n  [2]\r\n\"three\"\n4";
    let ended = invoke(["--events", "-"]).stdin(events).handler(hello()).run();
    ended.gives("{\"hello\":{\"n\":1}}\n{\"hello\":  [2]}\n{\"hello\":\"three\"}\n{\"hello\":4}\n");
    ended.says("4 events: 4 ok, 0 errors; latency in ms: min ");
    let ended = invoke(["--events", "events.jsonl"]).file("events.jsonl", 0o644, events).handler(hello()).run();
    assert_eq!(ended.answers().len(), 4, "{}", ended.story());
}

#[test]
fn no_events_are_no_error() {
    invoke(["--events", "-"]).stdin("\n").handler("./missing").run().gives("").says("0 events");
}

#[test]
fn each_response_is_out_before_the_next_event_is_there() {
    let mut running = invoke(["--events", "-"]).handler(hello()).start();
    for n in 0..3 {
        let mut stdin = running.stdin.take().unwrap();
        stdin.write_all(format!("{n}\n").as_bytes()).unwrap();
        running.stdin = Some(stdin);
        let response = format!("{{\"hello\":{n}}}\n").into_bytes();
        running.wait("the response", || running.stdout().ends_with(&response).then_some(()));
    }
    drop(running.stdin.take());
    running.end().code(0);
}

#[test]
fn a_line_that_is_not_json_ends_the_run_and_is_named() {
    let ended = invoke(["--events", "-"]).stdin("1\n\n{\"a\":}\n4\n").handler(hello()).run();
    ended.code(2).says("stdin, line 3: not JSON: expected value").says("    {\"a\":}\n         ^\n");
    assert_eq!(ended.answers().len(), 1, "{}", ended.story());
}

#[test]
fn after_an_error_the_next_event_is_answered() {
    let events = "[{\"response\":1}]\n[{\"exit\":7}]\n[{\"error\":\"no\"}]\n[{\"response\":4}]\n";
    let ended = invoke(["--events", "-"]).stdin(events).handler(handler("does_as_told.py")).run();
    ended.code(1).says("4 events: 2 ok, 2 errors").says("stdin, line 2: ").says("stdin, line 3: ");
    let answers = ended.answers();
    assert_eq!((&answers[0], &answers[3]), (&json!(1), &json!(4)));
    assert_eq!((&answers[1]["errorType"], &answers[2]["errorMessage"]), (&json!("Runtime.ExitError"), &json!("no")));
}

#[test]
fn a_handler_that_never_starts_is_not_tried_on_every_line() {
    let ended = invoke(["--events", "-"]).stdin("1\n2\n3\n").handler("./missing").run();
    ended.says_once("was not found").says("the lines after line 1 were not run").says("1 event: 0 ok, 1 error");
    assert_eq!(ended.error().0, "Runtime.HandlerNotFound");
}

#[test]
fn an_event_of_six_mib_is_run_and_a_larger_one_refused() {
    const MOST: usize = 6 * 1024 * 1024;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    for source in ["--event-file", "--events"] {
        let ended = invoke([source, "-"]).stdin(text(MOST)).handler(handler("saves_messages.py")).run();
        ended.gives("null\n");
        assert!(std::fs::metadata(ended.dir.path().join("message.0")).unwrap().len() > MOST as u64);
        let ended = invoke([source, "-"]).stdin(text(MOST + 1)).handler(handler("saves_messages.py")).run();
        assert_eq!(ended.error().0, "RequestTooLargeException");
        ended.says_once("6 MiB");
        assert_eq!(ended.starts(), 0, "{}", ended.story());
    }
    let events = format!("{}\n7\n", text(MOST + 9));
    let ended = invoke(["--events", "-"]).stdin(events).handler(hello()).run();
    ended.code(1).says("this one has 6291465").says("2 events: 1 ok, 1 error");
    assert_eq!(ended.answers()[1], json!({"hello": 7}));
}

#[test]
fn the_largest_response_passes_and_a_larger_one_is_an_error() {
    const MOST: usize = 6 * 1024 * 1024 + 100;
    let ended = invoke(["--events", "-"])
        .stdin(format!("{MOST}\n{}\n5\n", MOST + 1))
        .handler(handler("replies_with_so_many_bytes.py"))
        .run();
    ended.code(1);
    let lines: Vec<&[u8]> = ended.stdout.split(|&byte| byte == b'\n').collect();
    assert_eq!((lines[0].len(), lines[2]), (MOST, &b"\"xxx\""[..]));
    assert_eq!(ended.answers()[1]["errorType"], "Function.ResponseSizeTooLarge");
}

#[test]
fn a_slow_handler_is_answered_for() {
    // A margin that no busy machine uses up.
    let arguments = ["--timeout", "3", "--deadline-margin-ms", "2500", "--event", "[{\"hang\":true}]"];
    let ended = invoke(arguments).handler(handler("does_as_told.py")).run();
    assert_eq!(ended.error().0, "Function.Timeout");
    ended.says("--timeout SECONDS gives it longer");
}

#[test]
fn a_runtime_that_hangs_times_out_as_in_lambda_and_is_replaced() {
    // A stopped runtime answers nothing and follows no SIGTERM.
    let ended = invoke(["--events", "-", "--timeout", "1", "--stop-grace-ms", "0"])
        .stdin("1\n\"STOP\"\n3\n")
        .handler(handler("signals_its_runtime.sh"))
        .run();
    ended.code(1).says_once("Task timed out after 1.00 seconds");
    let answers = ended.answers();
    assert_eq!((&answers[0], &answers[2]), (&json!(1), &json!(3)), "{}", ended.story());
    assert_eq!(answers[1]["errorType"], "Sandbox.Timedout");
    let message = answers[1]["errorMessage"].as_str().unwrap();
    let id = message.strip_prefix("RequestId: ").and_then(|rest| rest.strip_suffix(" Error: Task timed out after 1.00 seconds"));
    assert_eq!(id.map(str::len), Some(36), "{message}");
    assert_eq!(ended.starts(), 2, "{}", ended.story());
}

#[test]
fn a_runtime_that_is_killed_is_told_and_replaced() {
    let ended = invoke(["--events", "-"]).stdin("\"KILL\"\n2\n").handler(handler("signals_its_runtime.sh")).run();
    ended.code(1).says_once("Runtime exited with error: signal: killed");
    let answers = ended.answers();
    assert_eq!((&answers[0]["errorType"], &answers[1]), (&json!("Runtime.ExitError"), &json!(2)));
}

#[test]
fn a_runtime_that_exits_in_its_init_phase_is_told() {
    let ended = invoke([]).env("AT_START", "exit").runtime("calls_out_of_turn.py").run();
    let (error_type, message) = ended.error();
    assert_eq!(error_type, "Runtime.ExitError");
    assert!(message.ends_with(" Error: Runtime exited with error: exit status 7"), "{message}");
}

#[test]
fn calls_that_are_not_due_are_refused_as_in_lambda() {
    let not_due = "InvalidStateTransition";
    let ended = invoke(["--events", "-"])
        .stdin("\"init\"\n\"running\"\n\"answered\"\n\"x\"\n\"breaks off\"\n\"too large\"\n\"x\"\n")
        .runtime("calls_out_of_turn.py")
        .run();
    let answers = ended.answers();
    assert_eq!(answers.len(), 7, "{}", ended.story());
    assert_eq!(
        answers[0],
        json!([
            ["response before the first /next", 400, "InvalidRequestID"],
            ["restore/next", 403, not_due],
            ["an extension without an identifier", 403, "Extension.MissingExtensionIdentifier"],
            ["an extension with events", 403, "Extension.InvalidEventType"],
            ["an extension with half a body", 403, "InvalidRequestFormat"],
            ["an extension without a name", 403, "Extension.InvalidExtensionName"],
            ["ping", 200, ""],
            ["an unknown path", 404, ""],
            ["an unknown method", 405, ""],
        ])
    );
    assert_eq!(
        answers[1],
        json!([
            ["next again", 200, ""],
            ["response of another id", 400, "InvalidRequestID"],
            ["error of another attempt", 410, "InvokeTimeout"],
            ["init/error", 403, not_due],
            ["register", 403, "Extension.RegistrationClosed"],
        ])
    );
    assert_eq!(answers[2], json!("first"));
    assert_eq!(
        answers[3],
        json!([["response", 202, ""], ["response again", 403, not_due], ["error after the response", 403, not_due]])
    );
    assert_eq!(answers[4], json!([]), "the report was still owed");
    assert_eq!(answers[5]["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(
        answers[5]["errorMessage"],
        "Response payload size (6291557 bytes) exceeded maximum allowed payload size (6291556 bytes)."
    );
    assert_eq!(answers[6], json!([["response", 413, "RequestEntityTooLarge"]]));
}

#[test]
fn a_streamed_response_is_collected_and_one_that_fails_is_an_error() {
    let ended =
        invoke(["--events", "-"]).stdin("\"stream\"\n\"failed stream\"\n\"unknown mode\"\n").runtime("calls_out_of_turn.py").run();
    let answers = ended.answers();
    assert_eq!(answers[0], "abcd");
    assert_eq!(answers[1], json!({"errorType": "Function.Broke", "errorMessage": "half way"}));
    assert_eq!(answers[2]["errorType"], "Runtime.InvalidResponseModeHeader");
}

#[test]
fn an_answer_before_the_exit_is_believed_and_the_next_event_gets_a_fresh_runtime() {
    let ended = invoke(["--events", "-"])
        .stdin("\"answers and exits\"\n\"stream\"\n\"answers and exits\"\n")
        .runtime("calls_out_of_turn.py")
        .run();
    ended.gives("\"last words\"\n\"abcd\"\n\"last words\"\n");
}

#[test]
fn a_signal_ends_the_handlers_whole_group() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let steps =
            json!([{"spawn": ["sleep", "1000"]}, {"daemon": ["sleep", "1000"]}, {"touch": "up"}, {"hang": true}]).to_string();
        let running = invoke(["--event", &steps]).handler(handler("does_as_told.py")).start();
        running.wait_file("up");
        running.signal(signal);
        let ended = running.end();
        ended.code(code).says("stopped by SIG");
        assert!(ended.stdout.is_empty(), "{}", ended.story());
    }
}

#[test]
fn a_second_signal_does_not_wait_for_the_grace_period() {
    let steps = json!([{"ignore": 15}, {"touch": "up"}, {"hang": true}]).to_string();
    let local = invoke(["--stop-grace-ms", "60000", "--event", &steps]);
    let mut running = local.handler(handler("does_as_told.py")).start();
    running.wait_file("up");
    running.signal(Signal::INT);
    // The second one may come before the first is handled, and then counts as the same: so again and again.
    let status = eventually(|| {
        running.signal(Signal::INT);
        running.child.try_wait().unwrap()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(130), "{}", running.story());
    // The handler dies with its runtime.
    running.wait("the handler's end", || leftovers(&running.mark).is_empty().then_some(()));
}

#[test]
fn a_signal_ends_the_wait_for_the_next_event() {
    let mut running = invoke(["--events", "-"]).handler(hello()).start();
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(b"1\n").unwrap();
    running.wait("the response", || (!running.stdout().is_empty()).then_some(()));
    running.signal(Signal::INT);
    running.end().code(130).says("1 event: 1 ok");
    drop(stdin);
}

#[test]
fn a_signal_ends_it_also_where_nobody_reads_what_it_writes() {
    // Each fills its pipe and blocks: log lines without end, and a response of 4 MB.
    for (args, handler_name) in
        [(["--event", "{}"], "prints_for_ever.py"), (["--event", "4000000"], "replies_with_so_many_bytes.py")]
    {
        let local = invoke(args).handler(handler(handler_name));
        let (reader, writer) = std::io::pipe().unwrap();
        let mut running = local.start_with(writer.try_clone().unwrap().into(), writer.into());
        drop(running.stdin.take());
        let mut filled = [PollFd::new(&reader, PollFlags::IN)];
        running.wait("output", || (poll(&mut filled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0).then_some(()));
        running.signal(Signal::INT);
        running.end().code(130);
    }
}

#[test]
fn nothing_stays_when_it_is_killed() {
    let steps = json!([{"spawn": ["sleep", "1000"]}, {"touch": "up"}, {"hang": true}]).to_string();
    let mut running = invoke(["--event", &steps]).handler(handler("does_as_told.py")).start();
    running.wait_file("up");
    running.signal(Signal::KILL);
    running.child.wait().unwrap();
    running.wait("the end of all processes", || leftovers(&running.mark).is_empty().then_some(()));
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut running = invoke(["--events", "-"]).handler(hello()).start_to(writer.into());
    drop(reader);
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(b"1\n").unwrap();
    // Stdin stays open: it is the closed stdout that ends it.
    let ended = running.end();
    ended.code(0);
    assert!(ended.stderr.lines().all(|line| line.contains("1 event: 1 ok")), "{}", ended.story());
    drop(stdin);
}

#[test]
fn a_stdout_that_takes_nothing_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut running = invoke([]).handler(hello()).start_to(full.into());
    drop(running.stdin.take());
    running.end().code(1).says("writing to stdout: No space left on device");
}

#[test]
fn an_extension_is_registered_for_a_graceful_shutdown() {
    let ended = invoke(["--graceful-shutdown"]).handler(hello()).run();
    ended.gives("{\"hello\":{}}\n");
    assert_eq!(ended.stderr, "");
}

#[test]
fn logs_come_before_the_response_that_follows_them() {
    // Both streams into one file, as `2>&1` does.
    let steps = json!([{"errMany": ["line\n", 1000]}, {"response": "done"}]).to_string();
    let local = invoke(["--event", &steps]).handler(handler("does_as_told.py"));
    let both = File::options().create(true).append(true).open(local.path("stdout")).unwrap();
    let ended = local.start_with(both.try_clone().unwrap().into(), both.into()).end();
    ended.gives(format!("{}\"done\"\n", "line\n".repeat(1000)));
}
