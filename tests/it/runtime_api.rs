use serde_json::{Value, json};

use super::support::{Answer, Event, Gate, Kind, Route, Run, Setup, stack_of};

/// Answers to `/next` that are failed tries.
fn failed_tries() -> Vec<(&'static str, Answer)> {
    let event = || Event::new("[]").answer();
    vec![
        ("500", Answer::status(500).body("{\"errorType\":\"InternalServerError\"}")),
        ("502 without a body", Answer::status(502)),
        ("503", Answer::status(503)),
        ("a reset", Answer::reset()),
        ("the connection's end", Answer::hang_up()),
        ("a reset within the head", event().cut(40)),
        ("a reset within the body", event().cut_in_body()),
        ("no HTTP", Answer::raw("no http\r\n\r\n")),
        ("no request id", Answer::status(200).body("[]")),
        ("an empty request id", Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", "").body("[]")),
        ("a request id too long", Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", "x".repeat(129)).body("[]")),
        ("a request id with a slash", Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", "a/../b").body("[]")),
        ("a request id with a space", Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", "a b").body("[]")),
        ("a request id with a query", Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", "a?b#c%20").body("[]")),
        ("a request id with a quote", Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", "a\",\"b").body("[]")),
        ("a request id that is not ASCII", Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", "é").body("[]")),
    ]
}

/// The line in which bootstrap says why it can't go on.
#[track_caller]
fn gave_up(log: &str) -> &str {
    let found = log.lines().find(|l| l.starts_with("[FATAL] bootstrap: ") || l.starts_with("[ERROR] bootstrap: "));
    found.unwrap_or_else(|| panic!("no word of why it ends: {log}"))
}

#[test]
fn everything_goes_over_one_kept_connection() {
    let run = Run::told();
    for n in 0..5 {
        run.invoke(json!([{ "response": n }]));
        run.invoke(json!([{ "error": "e" }]));
    }
    run.invoke(json!([{ "exit": 1 }]));
    run.idle();
    let requests = run.api().requests();
    assert_eq!(requests.len(), 23);
    assert!(requests.iter().all(|r| r.connection == 1));
}

#[test]
fn the_handler_runs_before_the_first_next() {
    let run = Setup::told().env("AT_START", json!([{ "err": "started\n" }]).to_string()).start();
    let first = run.requests("GET", "/2018-06-01/runtime/invocation/next", 1).remove(0);
    assert!(first.log_length > 0, "it had logged when /next came");
    assert!(first.body.is_empty());
}

#[test]
fn a_failed_next_is_tried_again() {
    for (what, answer) in failed_tries() {
        let run = Setup::told().answer(Route::Next, answer).event(json!([{ "response": 1 }])).start();
        assert_eq!(run.report(0).response(), "1", "after {what}");
        run.idle();
        assert_eq!(run.requests("GET", "/next", 3).len(), 3, "after {what}");
        assert_eq!(run.starts().len(), 1);
    }
}

#[test]
fn an_answer_without_a_request_id_is_logged() {
    let answer = Answer::status(200).header("Lambda-Runtime-Aws-Request-Id", "a/b").body("[]");
    let run = Setup::told().answer(Route::Next, answer).event(json!([{ "response": 1 }])).start();
    run.report(0);
    assert!(run.log().to_lowercase().contains("lambda-runtime-aws-request-id"), "{}", run.log());
}

#[test]
fn the_fifth_failed_next_in_a_row_ends_bootstrap() {
    // One that failed on the way and one that came but can't be used; each try's pauses take two seconds.
    for (what, answer) in failed_tries().into_iter().step_by(8) {
        let mut setup = Setup::told();
        for _ in 0..4 {
            setup = setup.answer(Route::Next, answer.clone());
        }
        setup = setup.event(json!([{ "response": 1 }]));
        for _ in 0..5 {
            setup = setup.answer(Route::Next, answer.clone());
        }
        let mut run = setup.start();
        // Four are forgiven, and an answer starts the count anew.
        assert_eq!(run.report(0).response(), "1", "after four times {what}");
        run.exits_with(1);
        assert_eq!(run.requests("GET", "/next", 1).len(), 10, "{what}");
        assert_eq!(run.processes(), []);
        gave_up(&run.log());
    }
}

#[test]
fn a_refused_next_ends_bootstrap_at_once() {
    for status in [301, 302, 307, 308, 400, 403, 404, 410, 418] {
        let answer = Answer::status(status).header("Location", "/2018-06-01/runtime/invocation/next").body("refused because");
        let mut run = Setup::told().answer(Route::Next, answer).start();
        run.exits_with(1);
        assert_eq!(run.api().requests().len(), 1, "one try, and no redirect is followed, with {status}");
        assert!(run.log().contains(&status.to_string()), "{}", run.log());
        assert_eq!(run.processes(), []);
    }
}

#[test]
fn nobody_at_the_address_ends_bootstrap() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut run = Setup::told().env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{port}")).start();
    run.exits_with(1);
    assert_eq!(run.processes(), []);
}

#[test]
fn a_runtime_api_that_goes_away_ends_bootstrap() {
    let mut run = Run::told();
    run.invoke(json!([{ "spawn": ["sleep", "1000"] }, { "daemon": ["sleep", "1000"] }, { "response": 1 }]));
    run.idle();
    run.api().stop();
    run.exits_with(1);
    assert_eq!(run.processes(), []);
}

#[test]
fn an_address_that_is_none_is_named() {
    for address in ["not an address", "ftp://127.0.0.1:1", "127.0.0.1:99999", "http://", "http:///.rt", "/.rt"] {
        let mut run = Setup::told().env("AWS_LAMBDA_RUNTIME_API", address).start();
        run.exits_with(1);
        let log = run.log();
        assert!(gave_up(&log).contains(address), "{address}: {log}");
    }
}

#[test]
fn an_address_may_have_a_scheme_and_a_path() {
    for (prefix, form) in [
        ("", "HERE"),
        ("", "http://HERE"),
        ("", "HERE/"),
        ("", "localhost:PORT"),
        ("/.rt", "HERE/.rt"),
        ("/.rt", "http://HERE/.rt"),
        ("/a/b", "http://HERE/a/b/"),
    ] {
        let form = move |here: &str| form.replace("HERE", here).replace("PORT", here.rsplit(':').next().unwrap());
        let run = Setup::told().address(prefix, form).env("BOOTSTRAP_GRACEFUL_SHUTDOWN", "true").start();
        assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
        assert_eq!(run.invoke(json!([{ "error": "e" }])).kind, Kind::Error);
        drop(run);
        let mut run = Setup::new().env("_HANDLER", "no-such").address(prefix, form).start();
        run.init_error();
    }
}

#[test]
fn a_slow_or_chunked_event_is_whole() {
    let big = json!([{ "out": "x".repeat(300_000) + "\n" }, { "response": 1 }]);
    let run = Setup::told().start();
    for change in [Answer::drip, Answer::chunked, |a: Answer| a.chunked().drip(), Answer::until_close] {
        run.api().push(Route::Next, change(Event::new(big.to_string()).answer()));
    }
    for n in 0..4 {
        assert_eq!(run.report(n).response(), "1");
    }
    assert_eq!(run.log().lines().filter(|l| l.len() == 300_000).count(), 4);
}

#[test]
fn a_connection_that_ends_after_each_answer_is_made_anew() {
    let run = Run::told();
    for n in 0..5 {
        run.api().push(Route::Report, Answer::accepted().then_close());
        run.api().push(Route::Next, Event::new(json!([{ "response": n }]).to_string()).answer().then_close());
    }
    for n in 0..5 {
        assert_eq!(run.report(n).response(), n.to_string());
    }
    run.idle();
    // Announced, it is the same.
    for _ in 0..3 {
        run.api().push(Route::Report, Answer::accepted().header("Connection", "close").then_close());
        let event = Event::new(json!([{ "response": 7 }]).to_string()).answer();
        run.api().push(Route::Next, event.header("Connection", "close").then_close());
    }
    for n in 5..8 {
        assert_eq!(run.report(n).response(), "7");
    }
}

#[test]
fn a_frozen_environment_takes_up_where_it_was() {
    let mut run = Run::told();
    run.invoke(json!([{ "response": 1 }]));
    run.idle();
    run.signal(rustix::process::Signal::STOP);
    let id = run.push(json!([{ "response": 2 }]));
    run.wait("the event on its way", || (run.api().waiting() == 0).then_some(()));
    run.signal(rustix::process::Signal::CONT);
    assert_eq!(run.report(1).id, id);
}

#[test]
fn a_refused_report_is_logged_and_the_next_event_is_served() {
    for status in [400, 403, 410, 413] {
        for steps in [json!([{ "response": 1 }]), json!([{ "error": "e" }]), json!([{ "exit": 1 }])] {
            let answer = Answer::status(status).body(format!("{{\"errorMessage\":\"why {status}\"}}"));
            let run = Setup::told().answer(Route::Report, answer).start();
            run.invoke(steps);
            run.invoke(json!([{ "response": 2 }]));
            // Exactly one report each: the Runtime API here watches over that.
            assert_eq!(run.api().reports().len(), 2);
            assert!(run.log().contains(&format!("why {status}")), "the body is logged: {}", run.log());
        }
    }
}

#[test]
fn a_refusal_that_comes_before_the_body_is_read_is_a_refusal() {
    let run =
        Setup::of("replies_with_so_many_bytes.py").answer(Route::Report, Answer::status(413).body("too large").early()).start();
    run.invoke("6000000");
    assert_eq!(run.invoke("3").response(), "\"x\"");
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_report_that_does_not_get_through_is_tried_again_once() {
    for answer in
        [Answer::reset(), Answer::hang_up(), Answer::accepted().cut(5), Answer::status(500), Answer::status(503).body("busy")]
    {
        for steps in [json!([{ "response": 1 }]), json!([{ "error": "e" }])] {
            // Once, and it gets through.
            let run = Setup::told().answer(Route::Report, answer.clone()).start();
            let first = run.invoke(Event::new(steps.to_string()).invocation_id("i-1"));
            let second = run.report(1);
            assert_eq!((first.id, first.request.body), (second.id, second.request.body));
            assert_eq!(run.invoke(json!([{ "response": 2 }])).response(), "2");
            assert_eq!(run.api().reports().len(), 3);
            drop(run);
            // Twice, and it is given up.
            let run = Setup::told().answer(Route::Report, answer.clone()).answer(Route::Report, answer.clone()).start();
            run.invoke(steps);
            run.report(1);
            let id = run.push(json!([{ "response": 2 }]));
            assert_eq!(run.report(2).id, id);
            run.idle();
            assert_eq!(run.api().reports().len(), 3);
            assert!(run.log().contains("bootstrap: "), "it is logged");
            assert_eq!(run.starts().len(), 1, "the handler has nothing to do with it");
        }
    }
}

#[test]
fn a_report_on_a_connection_that_died_meanwhile_gets_through() {
    let run = Run::told();
    let answer = Event::new(json!([{ "response": 1 }]).to_string()).answer();
    run.api().push(Route::Next, answer.then_close());
    assert_eq!(run.report(0).response(), "1");
    run.idle();
    assert_eq!(run.api().reports().len(), 1);
}

#[test]
fn the_invocation_id_is_sent_back_where_there_was_one() {
    // The Runtime API here compares it on each report. The same request id may come again with another one.
    let run = Run::told();
    for (id, invocation_id) in
        [("a", Some("first")), ("a", Some("second")), ("a", None), ("b", Some("x.Y-7_=/+")), ("a", Some("third"))]
    {
        for steps in [json!([{ "response": 1 }]), json!([{ "error": "e" }]), json!([{ "exit": 0 }])] {
            let event = Event::new(steps.to_string()).id(id);
            let fresh = run.api().reports().len();
            // A third attempt with the very same ids would be a repetition for the referee.
            let event = match invocation_id {
                Some(value) => event.invocation_id(&format!("{value}{fresh}")),
                None => event.id(&format!("{id}{fresh}")),
            };
            let report = run.invoke(event);
            assert_eq!(report.header("lambda-runtime-invocation-id").is_some(), invocation_id.is_some());
        }
    }
}

#[test]
fn a_request_id_that_comes_again_is_a_new_invocation() {
    let run = Run::told();
    for n in 0..3 {
        let event = Event::new(json!([{ "response": n }]).to_string()).id("same").invocation_id(&n.to_string());
        assert_eq!(run.invoke(event).response(), n.to_string());
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
    assert_eq!(run.log(), "");
}

#[test]
fn no_proxy_is_used_and_the_handler_still_sees_it() {
    let mut setup = Setup::told();
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"] {
        setup = setup.env(name, "http://127.0.0.1:1");
    }
    let run = setup.start();
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn the_error_type_header_has_the_form_that_lambda_knows() {
    let long = format!("Function.{}", "A".repeat(128));
    let too_long = format!("Function.{}", "A".repeat(129));
    let long_name = "B".repeat(128);
    let too_long_name = "B".repeat(129);
    let run = Run::told();
    for (error_type, header) in [
        ("Function.MyError", "Function.MyError"),
        ("Runtime.MyError", "Runtime.MyError"),
        ("Function.Ab", "Function.Ab"),
        (long.as_str(), long.as_str()),
        (too_long.as_str(), "Function.Error"),
        ("MyError", "Function.MyError"),
        (long_name.as_str(), &format!("Function.{long_name}")),
        (too_long_name.as_str(), "Function.Error"),
        ("java.lang.IllegalStateException", "Function.IllegalStateException"),
        ("my::module::MyError", "Function.MyError"),
        ("a.b:Xy", "Function.Xy"),
        ("Runtime.a", "Function.Error"),
        ("Runtime.A", "Function.Error"),
        ("Sandbox.Timedout", "Function.Timedout"),
        ("Runtime.My.Error", "Function.Error"),
        ("Function.My.Other", "Function.Other"),
        ("unhandled", "Function.Error"),
        ("E", "Function.Error"),
        ("E2", "Function.Error"),
        ("Error2", "Function.Error"),
        ("My_Error", "Function.Error"),
        ("My Error", "Function.Error"),
        ("Ärger", "Function.Error"),
        ("Function.", "Function.Error"),
        ("MyError.", "Function.Error"),
        ("", "Function.Error"),
        ("Function.X\r\nInjected: 1", "Function.Error"),
        ("X-Y", "Function.Error"),
    ] {
        let report = run.invoke(json!([{ "error": { "errorType": error_type, "errorMessage": "m" } }]));
        assert_eq!(report.error()["errorType"], error_type, "the body has it as it was");
        assert_eq!(report.header("lambda-runtime-function-error-type"), Some(header), "for {error_type:?}");
        assert_eq!(report.header("injected"), None);
    }
}

#[test]
fn the_x_ray_cause_is_made_from_the_error() {
    let run = Run::told();
    let error = json!({ "errorType": "My.Ärger", "errorMessage": "é\r\n\u{7f}\"\\ 🦀", "stackTrace": ["at f (a.js:1)", "zwölf"] });
    let report = run.invoke(json!([{ "error": error }]));
    let cause: Value = serde_json::from_str(report.header("lambda-runtime-function-xray-error-cause").unwrap()).unwrap();
    assert_eq!(cause["exceptions"][0]["type"], "My.Ärger");
    assert_eq!(cause["exceptions"][0]["message"], "é\r\n\u{7f}\"\\ 🦀");
    // Faults have one too.
    let report = run.invoke(json!([{ "exit": 7 }]));
    let cause: Value = serde_json::from_str(report.header("lambda-runtime-function-xray-error-cause").unwrap()).unwrap();
    assert_eq!(cause["exceptions"][0]["type"], "Runtime.ExitError");
    assert_eq!(cause["exceptions"][0]["message"], report.error()["errorMessage"]);
}

#[test]
fn an_error_document_is_cut_to_256_kib() {
    let run = Run::told();
    let lines: Vec<String> = (0..20_000).map(|n| format!("at line {n} of something long enough")).collect();
    for error in [
        json!({ "errorType": "A.B", "errorMessage": "m".repeat(1_000_000) }),
        json!({ "errorType": "A.B", "errorMessage": "é".repeat(500_000) }),
        json!({ "errorType": "A.B", "errorMessage": "🦀\u{1}".repeat(200_000) }),
        json!({ "errorType": "A.B", "errorMessage": "\"\\".repeat(300_000) }),
        json!({ "errorType": "T".repeat(600_000), "errorMessage": "m" }),
        json!({ "errorType": "A.B", "errorMessage": "m", "stackTrace": lines }),
        json!({ "errorType": "A.B", "errorMessage": "m", "stackTrace": ["s".repeat(700_000)] }),
        json!({ "errorType": "T".repeat(300_000), "errorMessage": "m".repeat(300_000), "stackTrace": ["s".repeat(300_000)] }),
        json!({ "errorType": "A.B", "errorMessage": "m", "stackTrace": vec![""; 300_000] }),
    ] {
        // What is cut is checked by the Runtime API here: whole JSON, types, length.
        let report = run.invoke(json!([{ "error": error }]));
        let document = report.error();
        assert!(report.request.body.len() > 10_000, "cut, not emptied: {}", report.request.body.len());
        let message = document["errorMessage"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains('\u{fffd}'));
        if error["errorType"] == "A.B" {
            assert_eq!(document["errorType"], "A.B", "the short parts stay");
        }
        if error["errorMessage"] == "m" {
            assert_eq!(message, "m", "the short parts stay");
        }
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn other_members_of_an_error_are_the_first_to_go() {
    let run = Run::told();
    let error = json!({ "errorType": "A.B", "errorMessage": "m".repeat(1000), "stackTrace": ["a", "b"], "extra": "x".repeat(300_000), "few": 1 });
    let report = run.invoke(json!([{ "error": error }]));
    let document = report.error();
    assert_eq!(document["errorMessage"].as_str().unwrap().len(), 1000);
    assert_eq!(stack_of(&document), ["a", "b"]);
    assert_eq!(document.get("extra"), None);
}

#[test]
fn under_snap_start_restore_comes_between_ready_and_next() {
    let gate = Gate::default();
    let setup = Setup::told().env("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start");
    let run = setup
        .env("AT_START", json!([{ "err": "started\n" }]).to_string())
        .answer(Route::RestoreNext, Answer::status(200).held(&gate))
        .start();
    let restore = run.requests("GET", "/2018-06-01/runtime/restore/next", 1).remove(0);
    assert!(restore.log_length > 0, "the handler was ready");
    assert_eq!(run.api().requests().len(), 1, "no /next before the restore");
    gate.open();
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    let next = run.requests("GET", "/next", 2).into_iter().find(|r| r.path.contains("invocation")).unwrap();
    assert_ne!(next.connection, restore.connection, "fresh connections");
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn under_snap_start_a_handler_has_to_be_ready_in_time() {
    let setup = Setup::of("never_reads.sh").env("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start");
    let mut run = setup.env("BOOTSTRAP_INIT_TIMEOUT_MS", "100").start();
    let report = run.init_error();
    report.is_error("Runtime.InitTimeout", &["100"]);
    assert_eq!(run.api().requests().len(), 1);
}

#[test]
fn without_snap_start_there_is_no_restore() {
    for kind in ["on-demand", "provisioned-concurrency", "lambda-managed-instances"] {
        let run = Setup::told().env("AWS_LAMBDA_INITIALIZATION_TYPE", kind).start();
        run.invoke(json!([{ "response": 1 }]));
        assert!(run.api().requests().iter().all(|r| !r.path.contains("restore")));
    }
}

#[test]
fn an_init_error_is_tried_again_once_after_a_transport_fault() {
    let broken = || [Answer::reset(), Answer::hang_up(), Answer::accepted().cut(9)];
    for answer in broken() {
        let mut run = Setup::new().env("_HANDLER", "no-such").answer(Route::InitError, answer).start();
        run.exits_with(1);
        assert_eq!(run.api().reports().len(), 2);
    }
    for answer in broken() {
        let setup = Setup::new().env("_HANDLER", "no-such").answer(Route::InitError, answer.clone());
        let mut run = setup.answer(Route::InitError, answer).start();
        run.exits_with(1);
        assert_eq!(run.api().reports().len(), 2);
    }
}

#[test]
fn a_refused_init_error_ends_bootstrap_all_the_same() {
    for status in [400, 403, 413, 500] {
        let mut run = Setup::new().env("_HANDLER", "no-such").answer(Route::InitError, Answer::status(status)).start();
        run.exits_with(1);
        assert_eq!(run.api().reports().len(), 1, "with {status}");
    }
}

#[test]
fn an_init_error_reaches_the_log_even_where_the_api_is_gone() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut run = Setup::new().env("_HANDLER", "no-such").env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{port}")).start();
    run.exits_with(1);
    assert!(run.log().contains("Runtime.HandlerNotFound"), "{}", run.log());
}

#[test]
fn headers_that_nobody_knows_are_ignored() {
    let run = Run::of("echoes.py");
    let mut event = Event::new("1");
    for n in 0..50 {
        event = event.header(&format!("X-Unknown-{n}"), "v".repeat(100));
    }
    event = event.header("Lambda-Runtime-Future", b"\xff\xfe".as_slice()).header("lambda-runtime-trace-id", "Root=1");
    assert_eq!(run.invoke(event).response(), "1");
}

#[test]
fn a_header_that_comes_twice_costs_nothing_but_itself() {
    let run = Run::of("echoes.py");
    let event = Event::new("1").header("Lambda-Runtime-Trace-Id", "Root=1").header("Lambda-Runtime-Trace-Id", "Root=2");
    assert_eq!(run.invoke(event.header("Lambda-Runtime-Deadline-Ms", "5")).response(), "1");
}

#[test]
fn any_2xx_accepts_a_report() {
    // Emulators answer 200 and leave the body out.
    for answer in [Answer::status(200).body("{}"), Answer::status(202), Answer::status(202).chunked().body("{}")] {
        let run = Setup::told().answer(Route::Report, answer.clone()).answer(Route::Report, answer).start();
        run.invoke(json!([{ "response": 1 }]));
        run.invoke(json!([{ "error": "e" }]));
        run.idle();
        assert_eq!(run.api().reports().len(), 2);
        assert!(!run.log().contains("[WARN]"), "{}", run.log());
    }
}

#[test]
fn a_header_of_64_kib_is_taken() {
    let run = Run::of("saves_messages.py");
    let context = format!("{{\"custom\":\"{}\"}}", "c".repeat(65_000));
    run.invoke(Event::new("1").header("Lambda-Runtime-Client-Context", context.as_str()));
    assert!(String::from_utf8(run.wait_file("message.0")).unwrap().contains(&context));
}
