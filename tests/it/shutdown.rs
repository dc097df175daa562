use rustix::process::Signal;
use serde_json::json;

use super::support::{Answer, Event, Route, Run, Setup};

#[test]
fn each_signal_has_its_status() {
    for (signal, status) in [(Signal::TERM, 0), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut run = Run::told();
        run.invoke(json!([{ "response": 1 }]));
        run.idle();
        run.signal(signal);
        run.exits_with(status);
        assert_eq!(run.processes(), []);
    }
}

#[test]
fn a_handler_sees_the_end_of_stdin_and_sigterm_and_its_last_words_are_logged() {
    // The grace is longer than any wait here: bootstrap ends when the handler has.
    let mut run = Setup::of("says_how_it_ends.py").env("BOOTSTRAP_STOP_GRACE_MS", "60000").start();
    run.invoke("1");
    run.idle();
    run.signal(Signal::TERM);
    run.exits_with(0);
    let log = run.log();
    assert!(log.contains("got SIGTERM\n") && log.contains("got the end of stdin\n") && log.contains("goodbye\n"), "{log}");
}

#[test]
fn a_handler_that_ignores_everything_is_killed_after_the_grace() {
    for grace in ["0", "100", ""] {
        let mut run = Setup::of("ignores_everything.py").env("BOOTSTRAP_STOP_GRACE_MS", grace).start();
        run.invoke("1");
        run.signal(Signal::TERM);
        run.exits_with(0);
        assert_eq!(run.processes(), []);
    }
}

#[test]
fn the_grace_is_granted() {
    // It takes its time, which is well within the grace.
    let mut run = Setup::of("says_how_it_ends.py").env("BOOTSTRAP_STOP_GRACE_MS", "60000").env("LINGER", "1").start();
    run.invoke("1");
    run.idle();
    run.signal(Signal::TERM);
    run.wait_log("got SIGTERM\n");
    run.touch("go");
    run.exits_with(0);
    assert!(run.log().contains("goodbye\n"));
}

#[test]
fn an_invocation_in_flight_may_be_answered_within_the_grace() {
    let mut run = Setup::told().env("BOOTSTRAP_STOP_GRACE_MS", "60000").start();
    run.push(json!([{ "ignore": 15 }, { "touch": "in" }, { "await": "go" }, { "response": "in time" }]));
    run.wait_file("in");
    run.signal(Signal::TERM);
    run.touch("go");
    run.exits_with(0);
    assert_eq!(run.report(0).response(), "\"in time\"");
    assert_eq!(run.requests("GET", "/next", 1).len(), 1, "no other event is asked for");
}

#[test]
fn an_invocation_that_is_not_answered_is_left_to_lambda() {
    let mut run = Run::told();
    run.push(json!([{ "ignore": 15 }, { "touch": "in" }, { "hang": true }]));
    run.wait_file("in");
    run.signal(Signal::TERM);
    run.exits_with(0);
    assert_eq!(run.api().reports().len(), 0);
    assert_eq!(run.starts().len(), 1, "no fresh handler on the way out");
}

#[test]
fn a_second_signal_changes_nothing() {
    let mut run = Setup::of("ignores_everything.py").env("BOOTSTRAP_STOP_GRACE_MS", "300").start();
    run.invoke("1");
    for _ in 0..5 {
        run.signal(Signal::TERM);
    }
    run.exits_with(0);
}

#[test]
fn a_signal_during_init_ends_bootstrap_without_an_init_error() {
    let mut run = Run::of("never_reads.sh");
    run.wait_starts(1);
    run.signal(Signal::TERM);
    run.exits_with(0);
    assert_eq!(run.api().requests().len(), 0);
    assert_eq!(run.processes(), []);
}

#[test]
fn nothing_of_the_handlers_outlives_bootstrap() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut run = Run::told();
        let stubborn = "import signal, time\nfor s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(1000)";
        run.invoke(json!([
            { "spawn": ["python3", "-c", stubborn] },
            { "daemon": ["python3", "-c", stubborn] },
            // A daemon that has forked twice, so that its parent is gone.
            { "daemon": ["sh", "-c", "setsid sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' &"] },
            { "response": 1 },
        ]));
        run.wait("all of them", || (run.processes().len() >= 6).then_some(()));
        run.signal(signal);
        run.exit();
        assert_eq!(run.processes(), []);
    }
}

#[test]
fn a_daemon_of_a_handler_that_is_gone_does_not_outlive_bootstrap() {
    let mut run = Run::told();
    run.invoke(json!([{ "daemon": ["sleep", "1000"] }, { "response": 1 }, { "exit": 0 }]));
    run.invoke(json!([{ "daemon": ["sleep", "1000"] }, { "exit": 1 }]));
    run.invoke(json!([{ "response": 1 }]));
    run.idle();
    run.signal(Signal::TERM);
    run.exits_with(0);
    assert_eq!(run.processes(), []);
}

#[test]
fn a_crash_loops_end_leaves_nothing() {
    let mut run = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "1").start();
    run.invoke(json!([{ "daemon": ["sleep", "1000"] }, { "spawn": ["sleep", "1000"] }, { "exit": 1 }]));
    run.exits_with(1);
    assert_eq!(run.processes(), []);
}

#[test]
fn a_handlers_first_process_dies_with_bootstrap() {
    let mut run = Run::of("ignores_everything.py");
    run.invoke("1");
    run.signal(Signal::KILL);
    run.exit();
    run.wait("the handler's end", || run.processes().is_empty().then_some(()));
}

#[test]
fn a_handler_started_anew_dies_with_bootstrap_too() {
    let mut run = Run::of("ignores_everything.py");
    run.invoke("\"exit\"");
    run.wait_starts(2);
    run.invoke("1");
    run.signal(Signal::KILL);
    run.exit();
    run.wait("the handler's end", || run.processes().is_empty().then_some(()));
}

#[test]
fn the_rest_of_the_group_sees_the_end_of_stdin_when_bootstrap_is_killed() {
    // A launcher that does not exec, as jlink's: the reader is its child.
    let mut run = Run::of("launches_a_reader.sh");
    assert_eq!(run.invoke("\"x\"").response(), "\"x\"");
    run.signal(Signal::KILL);
    run.exit();
    run.wait("the reader's end", || run.processes().is_empty().then_some(()));
}

#[test]
fn nothing_leaks_however_often_a_handler_is_replaced() {
    let run = Run::told();
    run.invoke(json!([{ "exit": 1 }]));
    run.invoke(json!([{ "response": 1 }]));
    run.idle();
    let before = run.descriptors();
    for _ in 0..15 {
        run.invoke(json!([{ "daemon": ["true"] }, { "exit": 1 }]));
        run.invoke(json!([{ "spawn": ["true"] }, { "fd3": "{\"id\":\"@ID@\",\"response\":1}\n" }]));
    }
    run.idle();
    run.wait("no more descriptors than before", || (run.descriptors() <= before).then_some(()));
    run.wait("no zombies", || (!run.children().contains(&'Z')).then_some(()));
}

#[test]
fn graceful_shutdown_registers_an_internal_extension() {
    let run = Setup::told().env("BOOTSTRAP_GRACEFUL_SHUTDOWN", "true").start();
    run.invoke(json!([{ "response": 1 }]));
    let register = run.requests("POST", "/2020-01-01/extension/register", 1).remove(0);
    assert!(register.header("lambda-extension-name").is_some_and(|name| !name.is_empty()));
    let body: serde_json::Value = serde_json::from_slice(&register.body).unwrap();
    assert_eq!(body["events"], json!([]));
    let wait = run.requests("GET", "/2020-01-01/extension/event/next", 1).remove(0);
    assert_eq!(wait.header("lambda-extension-identifier"), Some("an-extension"));
    let requests = run.api().requests();
    let place = |path: &str| requests.iter().position(|r| r.path.ends_with(path)).unwrap();
    assert!(place("/register") < place("/invocation/next"), "before the first /next");
    assert_eq!(run.log(), "");
}

#[test]
fn without_graceful_shutdown_nothing_is_registered() {
    for value in ["false", ""] {
        let run = Setup::told().env("BOOTSTRAP_GRACEFUL_SHUTDOWN", value).start();
        run.invoke(json!([{ "response": 1 }]));
        assert!(run.api().requests().iter().all(|r| !r.path.contains("extension")));
    }
}

#[test]
fn a_refused_registration_is_a_warning() {
    for answer in [Answer::status(403).body("no"), Answer::status(500), Answer::reset(), Answer::status(200).body("{}")] {
        let run = Setup::told().env("BOOTSTRAP_GRACEFUL_SHUTDOWN", "true").answer(Route::Register, answer).start();
        assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
        assert!(run.log().lines().any(|l| l.starts_with("[WARN] bootstrap: ")), "{}", run.log());
    }
}

#[test]
fn an_extension_that_is_turned_away_later_hurts_nothing() {
    for answer in [Answer::status(403), Answer::status(500), Answer::reset(), Answer::status(200).body("{}")] {
        let run = Setup::told().env("BOOTSTRAP_GRACEFUL_SHUTDOWN", "true").answer(Route::ExtensionNext, answer).start();
        for n in 0..3 {
            assert_eq!(run.invoke(json!([{ "response": n }])).response(), n.to_string());
        }
    }
}

#[test]
fn a_signal_while_an_event_is_on_its_way_to_a_handler_that_does_not_read_ends_bootstrap() {
    let mut run = Run::of("hangs_after_the_first_byte.py");
    run.push(Event::new(format!("\"{}\"", "x".repeat(1_000_000))));
    run.wait("the event on its way", || (run.api().waiting() == 0 && !run.api().requests().is_empty()).then_some(()));
    run.signal(Signal::TERM);
    run.exits_with(0);
}

#[test]
fn a_signal_between_two_tries_of_next_ends_bootstrap() {
    let mut setup = Setup::told();
    for _ in 0..4 {
        setup = setup.answer(Route::Next, Answer::status(500));
    }
    let mut run = setup.start();
    run.requests("GET", "/next", 2);
    run.signal(Signal::TERM);
    run.exits_with(0);
}

#[test]
fn a_signal_while_a_report_waits_for_its_answer_ends_bootstrap() {
    let gate = super::support::Gate::default();
    let mut run = Setup::told().answer(Route::Report, Answer::accepted().held(&gate)).start();
    run.invoke(json!([{ "response": 1 }]));
    run.signal(Signal::TERM);
    run.exits_with(0);
    assert_eq!(run.api().reports().len(), 1);
    gate.open();
}

#[test]
fn a_signal_while_a_fresh_handler_starts_ends_bootstrap() {
    let mut run = Run::of("starts_slowly_the_second_time.sh");
    run.invoke("\"exit\"");
    run.wait_starts(2);
    run.push("1");
    run.signal(Signal::TERM);
    run.exits_with(0);
    assert_eq!(run.processes(), []);
}
