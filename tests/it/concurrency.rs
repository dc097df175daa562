use std::collections::BTreeSet;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::{Answer, Event, Kind, Route, Run, Setup};

/// One process that takes so many events at once and does with each what it says.
fn at_once(n: usize, declared: usize) -> Setup {
    Setup::of("does_as_told_at_once.py").concurrency(n).env("AT_ONCE", declared.to_string()).env("BOOTSTRAP_READY", "message")
}

/// One event at a time in each process, which does what the event says.
fn processes(n: usize) -> Setup {
    Setup::told().concurrency(n)
}

/// Says that it has begun, and answers with its name when it is let to.
fn waits(name: &str) -> Value {
    json!([{ "touch": format!("in-{name}") }, { "await": format!("go-{name}") }, { "response": name }])
}

/// Takes the answers that [`waits`] gives.
#[track_caller]
fn release(run: &Run, id: &str, name: &str) {
    run.touch(&format!("go-{name}"));
    assert_eq!(run.report_of(id).response(), format!("\"{name}\""));
}

/// `N` events at once, each in a process of its own or in the same one, all answered; then everything is idle again.
#[track_caller]
fn round(run: &Run, n: usize, names: &str) {
    let names: Vec<String> = (0..n).map(|k| format!("{names}{k}")).collect();
    let ids: Vec<String> = names.iter().map(|name| run.push(waits(name))).collect();
    for name in &names {
        run.wait_file(&format!("in-{name}"));
    }
    for (id, name) in ids.iter().zip(&names).rev() {
        release(run, id, name);
    }
}

/// Waits until the late reply on this invocation has been dropped.
#[track_caller]
fn wait_dropped(run: &Run, id: &str) {
    let dropped = |log: &str| log.lines().any(|l| l.starts_with("[WARN] bootstrap: ") && l.contains(id));
    run.wait("a warning about a late reply", || dropped(&run.log()).then_some(()));
}

/// The handler logs and replies while bootstrap reads, so that a reply is read again and again with those before it, and its log line
/// is one that the event loop has not heard of.
#[test]
fn what_was_logged_before_each_of_many_replies_is_out_before_its_report() {
    for reply_fd in [1, 3] {
        let program = format!(
            "import json,os,sys\nos.write(1,b'{{\"ready\":true,\"concurrency\":8}}\\n')\nfor l in sys.stdin:\n i=json.loads(l)['id']\n \
             os.write(2,('logged by '+i+'\\n').encode())\n \
             os.write({reply_fd},('{{\"id\":\"'+i+'\",\"response\":1}}\\n').encode())\n"
        );
        let setup = Setup::new().arg("python3").arg("-c").arg(&program).concurrency(8).env("BOOTSTRAP_READY", "message");
        let run = setup.start();
        let ids: Vec<String> = (0..2000).map(|_| run.push("1")).collect();
        for id in ids {
            let report = run.report_of(&id);
            assert_eq!(report.response(), "1");
            assert!(run.log_before(&report).contains(&format!("logged by {id}\n")), "{id} on descriptor {reply_fd}");
        }
    }
}

#[test]
fn so_many_calls_to_next_are_in_flight() {
    for n in [1, 2, 5] {
        let run = processes(n).start();
        run.waiting(n);
        for _ in 0..20 {
            assert_eq!(run.api().waiting(), n, "the referee refuses more");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(run.starts().len(), 1, "the others start when an event needs them");
    }
}

#[test]
fn bootstraps_own_setting_comes_before_lambdas() {
    for (own, lambdas, n) in [
        ("2", "8", 2),
        ("1", "8", 1),
        ("3", "", 3),
        ("3", "many", 3),
        ("", "2", 2),
        ("", "1", 1),
        ("", "0", 1),
        ("", "-3", 1),
        ("", "2.5", 1),
        ("", "many", 1),
        ("", " ", 1),
        ("", "", 1),
    ] {
        let setup = processes(n).env("AWS_LAMBDA_MAX_CONCURRENCY", lambdas).env("BOOTSTRAP_CONCURRENCY", own);
        let run = setup.start();
        run.waiting(n);
        round(&run, n, "e");
        run.waiting(n);
    }
}

#[test]
fn handlers_that_say_nothing_get_one_event_at_a_time_each() {
    let run = processes(4).start();
    round(&run, 4, "a");
    assert_eq!(run.wait_starts(4).len(), 4);
    // The same four serve what comes then.
    run.waiting(4);
    round(&run, 4, "b");
    run.waiting(4);
    assert_eq!(run.starts().len(), 4);
}

#[test]
fn a_process_starts_only_when_an_event_needs_it() {
    let run = processes(4).start();
    for n in 0..3 {
        assert_eq!(run.invoke(json!([{ "response": n }])).response(), n.to_string());
        run.waiting(4);
    }
    assert_eq!(run.starts().len(), 1, "one is enough for one event at a time");
    let first = run.push(waits("first"));
    run.wait_file("in-first");
    assert_eq!(run.starts().len(), 1);
    let second = run.push(waits("second"));
    run.wait_file("in-second");
    assert_eq!(run.starts().len(), 2);
    release(&run, &first, "first");
    release(&run, &second, "second");
}

#[test]
fn sixty_four_shuffled_answers_find_their_invocations() {
    let run =
        Setup::of("answers_in_a_shuffled_order.py").concurrency(64).env("AT_ONCE", "64").env("BOOTSTRAP_READY", "message").start();
    run.waiting(64);
    let ids: Vec<String> = (0..192).map(|n| run.push(n.to_string())).collect();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(run.report_of(id).response(), n.to_string());
    }
    run.waiting(64);
    assert_eq!(run.starts().len(), 1);
    let order: Vec<String> = run.api().reports().into_iter().map(|r| r.id).collect();
    assert_ne!(order, ids, "they came in another order");
}

#[test]
fn a_process_never_gets_more_than_it_declared() {
    let run = at_once(4, 2).start();
    let ids: Vec<String> = ["a", "b", "c", "d"].iter().map(|name| run.push(waits(name))).collect();
    for name in ["a", "b", "c", "d"] {
        run.wait_file(&format!("in-{name}"));
    }
    assert_eq!(run.starts().len(), 2);
    for (id, name) in ids.iter().zip(["a", "b", "c", "d"]) {
        release(&run, id, name);
    }
    run.waiting(4);
    drop(run);
    // One that stops at each event would show a third one: it counts what it has.
    let count = "import json, sys, threading, time, os
lock, now = threading.Lock(), 0
open(os.environ['TEST_DIR'] + '/starts', 'a').write('%d\\n' % os.getpid())
print(json.dumps({'ready': True, 'concurrency': 2}), flush=True)
def serve(line):
    global now
    with lock:
        now += 1
        most = now
    time.sleep(0.02)
    with lock:
        now -= 1
        print(json.dumps({'id': json.loads(line)['id'], 'response': most}), flush=True)
for line in sys.stdin:
    threading.Thread(target=serve, args=(line,)).start()";
    let run = Setup::new().concurrency(4).env("BOOTSTRAP_READY", "message").arg("python3").arg("-c").arg(count).start();
    let ids: Vec<String> = (0..100).map(|_| run.push("1")).collect();
    for id in ids {
        let most: usize = run.report_of(&id).response().parse().unwrap();
        assert!(most <= 2, "{most} at once");
    }
    assert!(run.starts().len() <= 2, "{:?}", run.starts());
}

#[test]
fn more_declared_than_there_is_to_do_is_no_harm() {
    let run = at_once(3, 1000).start();
    run.waiting(3);
    round(&run, 3, "e");
    run.waiting(3);
    assert_eq!(run.starts().len(), 1);
    drop(run);
    // Without a setting there is one event at a time, whatever was said.
    let run = at_once(1, 1000).start();
    round(&run, 1, "a");
    round(&run, 1, "b");
    run.waiting(1);
}

#[test]
fn a_stuck_invocation_costs_its_own_slot_and_no_other() {
    let run = processes(3).start();
    let stuck = run.push(Event::new(json!([{ "touch": "in-stuck" }, { "hang": true }]).to_string()).deadline_in(1500));
    run.wait_file("in-stuck");
    let slow = run.push(waits("slow"));
    run.wait_file("in-slow");
    // The third slot goes on before the deadline and after it.
    for n in 0..20 {
        let id = run.push(json!([{ "response": n }]));
        assert_eq!(run.report_of(&id).response(), n.to_string());
    }
    run.report_of(&stuck).is_error("Function.Timeout", &[]);
    run.waiting(2);
    for n in 0..20 {
        let id = run.push(json!([{ "response": n }]));
        assert_eq!(run.report_of(&id).response(), n.to_string());
    }
    release(&run, &slow, "slow");
    // All three slots are there again.
    run.waiting(3);
    round(&run, 3, "e");
}

#[test]
fn a_timeout_is_cancelled_where_the_handler_asked_for_it() {
    let run = at_once(2, 2).env("CANCEL", "1").start();
    let other = run.push(waits("other"));
    run.wait_file("in-other");
    let steps = json!([{ "await": "go-late" }, { "response": "late" }, { "touch": "replied" }]);
    let late = run.push(Event::new(steps.to_string()).deadline_in(1000));
    run.report_of(&late).is_error("Function.Timeout", &[]);
    let line = run.wait_file("control.0");
    assert_eq!(String::from_utf8(line).unwrap(), format!("{{\"cancel\":\"{late}\",\"reason\":\"deadline\"}}\n"));
    // Its place stays taken until the late reply: nothing else may come meanwhile.
    let next = run.push(json!([{ "touch": "in-next" }, { "response": "next" }]));
    for _ in 0..20 {
        assert!(run.api().report_of(&next).is_none() || run.starts().len() > 1, "its place was given away");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.touch("go-late");
    run.wait_file("replied");
    assert_eq!(run.report_of(&next).response(), "\"next\"");
    release(&run, &other, "other");
    run.waiting(2);
    let log = run.log();
    assert!(log.lines().any(|l| l.starts_with("[WARN] bootstrap: ") && l.contains(&late)), "the late reply is dropped: {log}");
    assert!(!log.lines().any(|l| l.starts_with('{') && l.contains("late")), "dropped, not passed on: {log}");
    round(&run, 2, "e");
}

#[test]
fn a_timeout_is_not_cancelled_where_the_handler_did_not_ask_for_it() {
    let run = at_once(2, 2).start();
    let other = run.push(waits("other"));
    run.wait_file("in-other");
    let late = run.push(Event::new(json!([{ "await": "go-late" }, { "response": "late" }]).to_string()).deadline_in(1000));
    run.report_of(&late).is_error("Function.Timeout", &[]);
    run.touch("go-late");
    wait_dropped(&run, &late);
    release(&run, &other, "other");
    round(&run, 2, "e");
    assert!(!run.dir().join("control.0").exists());
    assert_eq!(run.starts().len(), 1, "the others are not harmed");
}

#[test]
fn a_process_that_has_answered_nothing_since_is_replaced_at_the_timeout() {
    for cancel in [false, true] {
        let setup = at_once(2, 2);
        let run = if cancel { setup.env("CANCEL", "1") } else { setup }.start();
        let id = run.push(json!([{ "response": "before" }]));
        run.report_of(&id);
        let stuck = run.push(Event::new(json!([{ "hang": true }]).to_string()).deadline_in(800));
        run.report_of(&stuck).is_error("Function.Timeout", &[]);
        let old = run.starts()[0];
        run.wait_end_of(old);
        round(&run, 2, "e");
        assert!(run.starts().len() > 1);
    }
}

#[test]
fn a_process_that_has_answered_since_is_kept_at_the_timeout() {
    let run = at_once(2, 2).env("CANCEL", "1").start();
    let late = run.push(Event::new(json!([{ "touch": "in" }, { "await": "go" }, { "response": 1 }]).to_string()).deadline_in(1500));
    run.wait_file("in");
    let id = run.push(json!([{ "response": "since" }]));
    run.report_of(&id);
    run.report_of(&late).is_error("Function.Timeout", &[]);
    run.wait_file("control.0");
    // It has one place until the late reply comes: of two events one goes elsewhere.
    let held = run.push(waits("held"));
    run.wait_file("in-held");
    assert_eq!(run.starts().len(), 1, "it is kept");
    let elsewhere = run.push(json!([{ "response": "elsewhere" }]));
    assert_eq!(run.report_of(&elsewhere).response(), "\"elsewhere\"");
    assert_eq!(run.starts().len(), 2, "its place was given away");
    run.touch("go");
    wait_dropped(&run, &late);
    release(&run, &held, "held");
    round(&run, 2, "e");
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn a_stream_that_is_late_keeps_its_place_until_its_end() {
    let run = at_once(2, 2).env("CANCEL", "1").start();
    let other = run.push(waits("other"));
    run.wait_file("in-other");
    let steps = json!([
        { "stream": {} },
        { "chunk": "in time" },
        { "await": "go-chunk" },
        { "chunk": "late" },
        { "touch": "chunk" },
        { "await": "go-end" },
        { "end": true },
    ]);
    let late = run.push(Event::new(steps.to_string()).deadline_in(1000));
    let report = run.report_of(&late);
    report.breaks_off("Function.Timeout", &[]);
    assert_eq!(report.request.body, b"in time");
    run.wait_file("control.0");
    run.touch("go-chunk");
    run.wait_file("chunk");
    wait_dropped(&run, &late);
    // The handler still works on it, so another event goes to another process.
    let next = run.push(json!([{ "response": "next" }]));
    assert_eq!(run.report_of(&next).response(), "\"next\"");
    assert_eq!(run.starts().len(), 2);
    run.touch("go-end");
    release(&run, &other, "other");
    round(&run, 2, "e");
}

#[test]
fn all_that_are_stuck_in_one_process_end_with_it() {
    // Two at once, with nothing answered since: the later timeout finds nothing else in flight.
    let run = at_once(2, 2).start();
    let first = run.push(Event::new(json!([{ "touch": "in-1" }, { "hang": true }]).to_string()).deadline_in(1000));
    run.wait_file("in-1");
    let second = run.push(Event::new(json!([{ "touch": "in-2" }, { "hang": true }]).to_string()).deadline_in(1500));
    run.wait_file("in-2");
    run.report_of(&first).is_error("Function.Timeout", &[]);
    run.report_of(&second).is_error("Function.Timeout", &[]);
    run.wait_end_of(run.starts()[0]);
    round(&run, 2, "e");
}

#[test]
fn a_malformed_reply_ends_its_own_invocation_and_the_handler_when_the_others_have_ended() {
    let run = at_once(3, 3).start();
    let (a, b) = (run.push(waits("a")), run.push(waits("b")));
    run.wait_file("in-a");
    run.wait_file("in-b");
    let bad = run.push(json!([{ "out": "{\"id\":\"@ID@\",\"response\":NaN}\n" }]));
    run.report_of(&bad).is_error("Runtime.InvalidReply", &[]);
    // It gets no new event, so this one goes to a fresh process, now or when the others have ended.
    let parent = json!({ "spawn": ["sh", "-c", "echo $PPID > \"$TEST_DIR/part\"; mv \"$TEST_DIR/part\" \"$TEST_DIR/parent\""] });
    let next = run.push(json!([parent, { "await": "parent" }, { "response": "next" }]));
    release(&run, &a, "a");
    release(&run, &b, "b");
    assert_eq!(run.report_of(&next).response(), "\"next\"");
    let starts = run.wait_starts(2);
    assert_eq!(String::from_utf8(run.wait_file("parent")).unwrap().trim(), starts[1].to_string());
    run.wait_end_of(starts[0]);
    round(&run, 3, "e");
}

#[test]
fn an_exit_ends_every_invocation_in_its_process() {
    let run = at_once(4, 3).start();
    let mut ids = vec![run.push(waits("a")), run.push(waits("b"))];
    run.wait_file("in-a");
    run.wait_file("in-b");
    ids.push(run.push(json!([{ "touch": "in-c" }, { "await": "die" }, { "err": "last words\n" }, { "exit": 7 }])));
    run.wait_file("in-c");
    // This one is in a process of its own.
    let other = run.push(waits("other"));
    run.wait_file("in-other");
    assert_eq!(run.starts().len(), 2);
    run.touch("die");
    for id in &ids {
        run.report_of(id).is_error("Runtime.ExitError", &["exit status 7"]);
    }
    let log = run.log();
    for id in &ids {
        let start = format!("[ERROR] bootstrap: RequestId: {id} Runtime.ExitError: ");
        assert_eq!(log.lines().filter(|l| l.starts_with(&start)).count(), 1, "{log}");
    }
    release(&run, &other, "other");
    run.waiting(4);
    round(&run, 4, "e");
}

#[test]
fn an_exit_ends_open_streams_and_what_has_no_answer_yet() {
    let run = at_once(3, 3).start();
    let stream = run.push(json!([{ "stream": {} }, { "chunk": "half" }, { "touch": "in-stream" }, { "hang": true }]));
    let waits = run.push(json!([{ "touch": "in-waits" }, { "hang": true }]));
    run.wait_file("in-stream");
    run.wait_file("in-waits");
    run.arrived(0, "half");
    let exits = run.push(json!([{ "exit": 9 }]));
    run.report_of(&stream).breaks_off("Runtime.ExitError", &["exit status 9"]);
    for id in [&waits, &exits] {
        run.report_of(id).is_error("Runtime.ExitError", &["exit status 9"]);
    }
    round(&run, 3, "e");
}

#[test]
fn messages_that_a_process_has_not_read_go_to_a_fresh_one() {
    // Of two events the stopped process has both, or one, while another process answers the other.
    let filter = Setup::script("filter", "exec cat").concurrency(3);
    for (setup, free) in [(at_once(3, 3), 1), (processes(3), 2), (filter, 2)] {
        let run = setup.start();
        let first = run.push(json!([{ "response": "first" }]));
        run.report_of(&first);
        run.waiting(3);
        let old = run.starts()[0];
        let pid = Pid::from_raw(old).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let stat = format!("/proc/{old}/stat");
        run.wait("the handler to be stopped", || std::fs::read_to_string(&stat).is_ok_and(|s| s.contains(") T ")).then_some(()));
        let ids = [1, 2].map(|n| run.push(json!([{ "response": n }])));
        run.wait("the events to be handed out", || run.api().all_handed_out().then_some(()));
        run.waiting(free);
        kill_process(pid, Signal::KILL).unwrap();
        for id in &ids {
            assert_eq!(run.report_of(id).kind, Kind::Response);
        }
        run.waiting(3);
        assert!(!run.log().contains("[ERROR]"), "{}", run.log());
    }
}

#[test]
fn an_event_whose_process_does_not_start_in_time_costs_its_own_slot() {
    let run = Setup::of("starts_slowly_the_second_time.sh").concurrency(2).start();
    let exits = run.push("\"exit\"");
    run.report_of(&exits).is_error("Runtime.ExitError", &["exit status 2"]);
    let late = run.push(Event::new("1").deadline_in(700));
    run.report_of(&late).is_error("Function.Timeout", &[]);
    let id = run.push("2");
    run.touch("go");
    assert_eq!(run.report_of(&id).response(), "null");
    run.waiting(2);
}

#[test]
fn an_exit_in_one_process_is_no_concern_of_another() {
    let run = processes(2).start();
    let other = run.push(waits("other"));
    run.wait_file("in-other");
    for status in [3, 0] {
        let id = run.push(json!([{ "exit": status }]));
        run.report_of(&id).is_error("Runtime.ExitError", &[&format!("exit status {status}")]);
    }
    release(&run, &other, "other");
    round(&run, 2, "e");
}

#[test]
fn text_on_fd_3_ends_every_invocation_in_its_process() {
    let run = at_once(3, 3).start();
    let ids = ["a", "b"].map(|name| run.push(waits(name)));
    run.wait_file("in-a");
    run.wait_file("in-b");
    let bad = run.push(json!([{ "fd3": "text\n" }, { "hang": true }]));
    for id in ids.iter().chain([&bad]) {
        run.report_of(id).is_error("Runtime.InvalidReply", &[]);
    }
    run.waiting(3);
    round(&run, 3, "e");
}

#[test]
fn a_warning_about_fd_3_ends_nothing() {
    let run = at_once(2, 2).start();
    let a = run.push(waits("a"));
    run.wait_file("in-a");
    let b = run.push(json!([{ "fd3": "{\"id\":\"nobody\",\"response\":1}\n" }, { "response": "b" }]));
    assert_eq!(run.report_of(&b).response(), "\"b\"");
    run.wait_log("nobody");
    release(&run, &a, "a");
    run.waiting(2);
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn channels_that_close_end_every_invocation_in_their_process() {
    let run = at_once(2, 2).start();
    let a = run.push(waits("a"));
    run.wait_file("in-a");
    let b = run.push(json!([{ "close": 1 }, { "close": 3 }, { "hang": true }]));
    for id in [&a, &b] {
        run.report_of(id).is_error("Runtime.ReplyChannelClosed", &[]);
    }
    round(&run, 2, "e");
}

#[test]
fn two_attempts_with_the_same_request_id_go_to_different_processes() {
    for declared in [1, 2] {
        let setup = if declared == 1 { processes(2) } else { at_once(2, 2) };
        let run = setup.start();
        run.push(Event::new(waits("first").to_string()).id("the-same").invocation_id("attempt-1"));
        run.wait_file("in-first");
        run.push(Event::new(waits("second").to_string()).id("the-same").invocation_id("attempt-2"));
        run.wait_file("in-second");
        assert_eq!(run.starts().len(), 2);
        run.touch("go-second");
        let report = run.report(0);
        assert_eq!((report.response().as_str(), report.invocation_id.as_deref()), ("\"second\"", Some("attempt-2")));
        run.touch("go-first");
        let report = run.report(1);
        assert_eq!((report.response().as_str(), report.invocation_id.as_deref()), ("\"first\"", Some("attempt-1")));
        run.waiting(2);
    }
}

#[test]
fn each_answer_has_its_own_invocation_id() {
    let run = at_once(3, 3).start();
    for n in 0..3 {
        let event = Event::new(waits(&n.to_string()).to_string()).id(&format!("request-{n}"));
        run.push(if n == 1 { event } else { event.invocation_id(&format!("attempt-{n}")) });
        run.wait_file(&format!("in-{n}"));
    }
    for n in [2, 0, 1] {
        run.touch(&format!("go-{n}"));
        let report = run.report_of(&format!("request-{n}"));
        let expected = (n != 1).then(|| format!("attempt-{n}"));
        assert_eq!((report.response(), report.invocation_id), (format!("\"{n}\""), expected));
    }
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn the_id_of_another_handlers_invocation_is_a_log_line_on_stdout_and_dropped_on_fd_3() {
    let run = processes(2).start();
    let other = run.push(waits("other"));
    run.wait_file("in-other");
    let line = format!("{{\"id\":\"{other}\",\"response\":\"stolen\"}}");
    let id = run.push(json!([{ "out": format!("{line}\n") }, { "response": "mine" }]));
    let report = run.report_of(&id);
    assert_eq!(report.response(), "\"mine\"");
    assert!(run.log_before(&report).lines().any(|l| l == line), "{}", run.log());
    let id = run.push(json!([{ "fd3": format!("{line}\n") }, { "response": "mine" }]));
    assert_eq!(run.report_of(&id).response(), "\"mine\"");
    let warned = |log: &str| log.lines().any(|l| l.starts_with("[WARN] bootstrap: ") && l.contains(&other));
    run.wait("a warning", || warned(&run.log()).then_some(()));
    release(&run, &other, "other");
    run.waiting(2);
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn several_streams_from_one_process_do_not_mix() {
    let run = at_once(3, 3).start();
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(run.push(json!([
            { "stream": {} },
            { "chunk": format!("{n}:a") },
            { "await": format!("go-{n}") },
            { "chunk": format!(" {n}:b") },
            { "await": format!("end-{n}") },
            { "end": true },
        ])));
    }
    let arrived = |id: &str, body: String| {
        run.wait(&format!("{body:?} of {id}"), || (run.api().streamed_of(id)?.request.body == body.as_bytes()).then_some(()));
    };
    for (n, id) in ids.iter().enumerate() {
        arrived(id, format!("{n}:a"));
    }
    for (n, id) in ids.iter().enumerate().rev() {
        run.touch(&format!("go-{n}"));
        arrived(id, format!("{n}:a {n}:b"));
    }
    for (n, id) in ids.iter().enumerate() {
        run.touch(&format!("end-{n}"));
        assert_eq!(run.report_of(id).streamed(), format!("{n}:a {n}:b"));
    }
    run.waiting(3);
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_malformed_chunk_breaks_its_own_stream_and_an_exit_breaks_all() {
    let run = at_once(3, 3).start();
    let stream = |name: &str, step: Value| {
        let go = format!("go-{name}");
        json!([{ "stream": {} }, { "chunk": name }, { "touch": format!("in-{name}") }, { "await": go }, step, { "end": true }])
    };
    let good = run.push(stream("good", json!({ "chunk": "" })));
    let bad = run.push(stream("bad", json!({ "out": "{\"id\":\"@ID@\",\"chunk\":1}\n" })));
    run.wait_file("in-good");
    run.wait_file("in-bad");
    run.touch("go-bad");
    run.report_of(&bad).breaks_off("Runtime.InvalidReply", &[]);
    run.touch("go-good");
    assert_eq!(run.report_of(&good).streamed(), "good");
    let (one, two) = (run.push(stream("one", json!({ "exit": 4 }))), run.push(stream("two", json!({ "chunk": "" }))));
    run.wait_file("in-one");
    run.wait_file("in-two");
    // Of two events at once each may be in the same process or not; the fresh one has declared three.
    run.touch("go-one");
    run.report_of(&one).breaks_off("Runtime.ExitError", &["exit status 4"]);
    run.touch("go-two");
    run.report_of(&two);
    run.waiting(3);
    round(&run, 3, "e");
}

#[test]
fn one_congested_stream_does_not_stop_the_answers_of_other_processes() {
    let gate = super::support::Gate::default();
    let run = Setup::of("streams_so_many_megabytes.py")
        .concurrency(2)
        .answer(Route::Report, Answer::accepted().stalls_at(100_000, &gate))
        .start();
    let slow = run.push("30");
    run.wait_file("congested");
    for _ in 0..3 {
        let id = run.push("1");
        assert_eq!(run.report_of(&id).streamed().len(), 1_000_000);
    }
    gate.open();
    assert_eq!(run.report_of(&slow).streamed().len(), 30_000_000);
}

#[test]
fn filters_run_one_event_at_a_time_each() {
    let script = "while read -r line; do
        echo \"$line\" >> \"$TEST_DIR/got\"
        while [ ! -e \"$TEST_DIR/go\" ]; do sleep 0.01; done
        echo \"$line\"
    done";
    let run = Setup::script("filter", script).concurrency(3).start();
    run.waiting(3);
    let ids: Vec<String> = (0..3).map(|n| run.push(n.to_string())).collect();
    run.wait("all three", || (std::fs::read_to_string(run.dir().join("got")).ok()?.lines().count() == 3).then_some(()));
    assert_eq!(run.starts().len(), 3);
    run.touch("go");
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(run.report_of(id).response(), n.to_string());
    }
    let ids: Vec<String> = (0..200).map(|n| run.push(n.to_string())).collect();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(run.report_of(id).response(), n.to_string());
    }
    assert_eq!(run.starts().len(), 3);
}

#[test]
fn one_shot_programs_run_side_by_side() {
    let script = "read -r n; : > \"$TEST_DIR/in-$n\"; while [ ! -e \"$TEST_DIR/go-$n\" ]; do sleep 0.01; done; echo \"$n\"";
    let run = Setup::script("oneshot", script).concurrency(3).start();
    run.waiting(3);
    assert!(run.starts().is_empty());
    let ids: Vec<String> = (0..3).map(|n| run.push(format!("{n}\n"))).collect();
    for n in 0..3 {
        run.wait_file(&format!("in-{n}"));
    }
    for n in [1, 2, 0] {
        run.touch(&format!("go-{n}"));
        assert_eq!(run.report_of(&ids[n]).response().trim(), n.to_string());
    }
    let dies = run.push(Event::new("x\n").deadline_in(1000));
    let id = run.push("1\n");
    assert_eq!(run.report_of(&id).response().trim(), "1");
    run.report_of(&dies).is_error("Function.Timeout", &[]);
    run.waiting(3);
    run.wait("no child", || run.children().is_empty().then_some(()));
}

#[test]
fn a_signal_ends_bootstrap_with_several_in_flight() {
    for one_process in [true, false] {
        let mut run = if one_process { at_once(3, 3) } else { processes(3) }.start();
        for name in ["a", "b", "c"] {
            run.push(waits(name));
            run.wait_file(&format!("in-{name}"));
        }
        run.signal(Signal::TERM);
        run.exits_with(0);
        assert_eq!(run.processes(), []);
        assert_eq!(run.requests("GET", "/next", 3).len(), 3, "no other event is asked for");
    }
}

#[test]
fn several_may_be_answered_within_the_grace() {
    let setup = at_once(3, 3).env("AT_START", json!([{ "ignore": 15 }]).to_string());
    let mut run = setup.env("BOOTSTRAP_STOP_GRACE_MS", "60000").start();
    let ids = ["a", "b", "c"].map(|name| {
        let id = run.push(waits(name));
        run.wait_file(&format!("in-{name}"));
        id
    });
    run.signal(Signal::TERM);
    for name in ["b", "a", "c"] {
        run.touch(&format!("go-{name}"));
    }
    run.exits_with(0);
    for (id, name) in ids.iter().zip(["a", "b", "c"]) {
        assert_eq!(run.report_of(id).response(), format!("\"{name}\""));
    }
}

#[test]
fn a_process_that_is_killed_while_idle_is_no_concern_of_the_others() {
    let run = processes(2).start();
    round(&run, 2, "a");
    run.waiting(2);
    let pid = run.starts()[0];
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    run.wait_end_of(pid);
    round(&run, 2, "b");
    run.waiting(2);
    round(&run, 2, "c");
}

#[test]
fn reports_that_fail_are_tried_again_though_others_go_on() {
    let run = processes(2).answer(Route::Report, Answer::status(500)).answer(Route::Report, Answer::reset()).start();
    let ids: Vec<String> = (0..20).map(|n| run.push(json!([{ "response": n }]))).collect();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(run.report_of(id).response(), n.to_string());
    }
    run.waiting(2);
}

#[test]
fn a_call_to_next_that_fails_is_tried_again_though_others_go_on() {
    let mut setup = processes(3);
    for answer in [Answer::status(500), Answer::reset(), Answer::hang_up()] {
        setup = setup.answer(Route::Next, answer);
    }
    let run = setup.start();
    for n in 0..10 {
        let id = run.push(json!([{ "response": n }]));
        assert_eq!(run.report_of(&id).response(), n.to_string());
    }
    run.waiting(3);
}

#[test]
fn a_call_to_next_that_is_refused_ends_bootstrap() {
    let mut run = processes(2).start();
    run.push(waits("a"));
    run.wait_file("in-a");
    run.waiting(1);
    run.api().push(Route::Next, Answer::status(403).body("no more"));
    run.exits_with(1);
    assert_eq!(run.processes(), []);
    assert!(run.log().contains("no more"), "{}", run.log());
}

#[test]
fn a_runtime_api_that_is_gone_ends_bootstrap_with_several_in_flight() {
    let mut run = processes(3).start();
    run.push(waits("a"));
    run.wait_file("in-a");
    run.waiting(2);
    run.api().stop();
    run.exits_with(1);
    assert_eq!(run.processes(), []);
}

#[test]
fn a_crash_loop_ends_with_concurrency_too() {
    let mut run = processes(2).env("BOOTSTRAP_MAX_RESTARTS", "3").start();
    for _ in 0..3 {
        let id = run.push(json!([{ "exit": 5 }]));
        run.report_of(&id).is_error("Runtime.ExitError", &["exit status 5"]);
    }
    run.exits_with(1);
    assert_eq!(run.starts().len(), 3);
}

#[test]
fn a_ready_message_counts_from_when_it_comes() {
    // With `none` nothing waits for the message, and until it comes the first process counts for one event.
    let start = json!([{ "touch": "starting" }, { "await": "go" }]);
    let run = at_once(3, 3).env("BOOTSTRAP_READY", "none").env("AT_START", start.to_string()).start();
    run.wait_file("starting");
    run.waiting(3);
    let ids = ["a", "b"].map(|name| run.push(waits(name)));
    run.wait_starts(2);
    run.touch("go");
    for (id, name) in ids.iter().zip(["a", "b"]) {
        release(&run, id, name);
    }
    // From here on two are enough for all.
    round(&run, 3, "e");
    run.waiting(3);
    assert_eq!(run.starts().len(), 2);
    drop(run);
    let run = at_once(3, 3).env("BOOTSTRAP_READY", "none").start();
    let id = run.push(json!([{ "response": 1 }]));
    assert_eq!(run.report_of(&id).response(), "1");
    round(&run, 3, "e");
    assert_eq!(run.starts().len(), 1, "it had said so before its answer");
}

#[test]
fn a_new_process_counts_as_much_as_the_last_one_said() {
    // The second one is slow to start: the third and fourth event wait for it, and no third process starts.
    let slow = json!([{ "await": "go" }]);
    let run = at_once(4, 2).env("AT_START", slow.to_string()).env("BOOTSTRAP_READY", "message");
    let run = run.file("go", 0o644, "").start();
    let ids = ["a", "b"].map(|name| run.push(waits(name)));
    run.wait_file("in-a");
    run.wait_file("in-b");
    std::fs::remove_file(run.dir().join("go")).unwrap();
    let more = ["c", "d"].map(|name| run.push(waits(name)));
    run.wait_starts(2);
    run.waiting(0);
    for _ in 0..20 {
        assert_eq!(run.starts().len(), 2);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.touch("go");
    for (id, name) in ids.iter().chain(&more).zip(["a", "b", "c", "d"]) {
        release(&run, id, name);
    }
    run.waiting(4);
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn a_line_of_the_log_has_the_request_id_only_where_it_is_known() {
    // One process for each event: every line is its event's.
    let run = processes(2).env("AWS_LAMBDA_LOG_FORMAT", "JSON").start();
    let a = run.push(json!([{ "touch": "in-a" }, { "await": "go-a" }, { "err": "of a\n" }, { "response": "a" }]));
    run.wait_file("in-a");
    let b = run.push(json!([{ "err": "of b\n" }, { "response": "b" }]));
    run.report_of(&b);
    run.touch("go-a");
    run.report_of(&a);
    let log = run.log();
    for (message, id) in [("of a", &a), ("of b", &b)] {
        let found: Vec<Value> = log.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        let line = found.iter().find(|l| l["message"] == message).unwrap();
        assert_eq!(line["requestId"], id.as_str(), "{log}");
    }
}

#[test]
fn every_event_has_one_answer_whatever_the_others_do() {
    // A storm: answers, errors, faults and timeouts, in processes that serve four at once.
    let run = at_once(8, 4).env("CANCEL", "1").env("BOOTSTRAP_MAX_RESTARTS", "1000").start();
    let mut ids = BTreeSet::new();
    for n in 0..120 {
        let steps = match n % 12 {
            3 => json!([{ "error": "no" }]),
            5 => json!([{ "out": "{\"id\":\"@ID@\",\"response\":NaN}\n" }]),
            7 => json!([{ "exit": 3 }]),
            8 => json!([{ "stream": {} }, { "chunk": "c" }, { "end": true }]),
            11 => json!([{ "hang": true }]),
            _ => json!([{ "response": n }]),
        };
        let deadline = if n % 12 == 11 { 700 } else { 600_000 };
        ids.insert(run.push(Event::new(steps.to_string()).deadline_in(deadline)));
    }
    for id in &ids {
        run.report_of(id);
    }
    run.waiting(8);
    let reports = run.api().reports();
    let reported: BTreeSet<String> = reports.iter().map(|r| r.id.clone()).collect();
    assert_eq!((reports.len(), &reported), (120, &ids), "one for each");
    assert!(reports.iter().filter(|r| r.kind == Kind::Response).count() > 20);
}

/// One that does nothing any more would let each new event wait for its own deadline, since another is always in flight in it.
#[test]
fn a_handler_that_lets_an_invocation_time_out_and_answers_none_gets_no_new_event() {
    let run = at_once(2, 100).start();
    let answered = run.push(json!([{ "response": "first" }]));
    run.report_of(&answered);
    let other = run.push(json!([{ "touch": "in-other" }, { "await": "go" }, { "response": "other" }]));
    run.wait_file("in-other");
    let stuck = run.push(Event::new(json!([{ "hang": true }]).to_string()).deadline_in(1000));
    run.report_of(&stuck).is_error("Function.Timeout", &["it goes on with its other invocations"]);
    let elsewhere = run.push(json!([{ "response": "elsewhere" }]));
    assert_eq!(run.report_of(&elsewhere).response(), "\"elsewhere\"");
    assert_eq!(run.starts().len(), 2, "a fresh process has answered");
    // An answer is a sign of life.
    run.touch("go");
    assert_eq!(run.report_of(&other).response(), "\"other\"");
    round(&run, 2, "after");
    assert_eq!(run.starts().len(), 2);
}
