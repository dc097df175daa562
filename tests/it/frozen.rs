//! Everything stands still for a while, as Lambda freezes a function: bootstrap and its handler, at each point of an invocation.
//!
//! `FREEZE_SECONDS` is for how long (12, which is longer than every limit of bootstrap's own that runs on meanwhile). `make soak` has
//! 180. It is the freeze that takes the time, and not a wait for something.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::model::setting;
use super::support::{Answer, Event, Gate, Route, Run, Setup};

fn time() -> Duration {
    Duration::from_secs(setting("FREEZE_SECONDS").unwrap_or(12))
}

/// Freezes bootstrap and its handlers, does something meanwhile, and thaws them.
fn freeze(run: &mut Run, meanwhile: impl FnOnce(&Run)) {
    let handlers: Vec<Pid> = run.processes().into_iter().filter_map(|(pid, _)| Pid::from_raw(pid)).collect();
    assert!(!handlers.is_empty(), "there is a handler to freeze");
    run.while_stopped(|run| {
        for handler in &handlers {
            kill_process(*handler, Signal::STOP).unwrap();
        }
        let began = Instant::now();
        meanwhile(run);
        std::thread::sleep(time().saturating_sub(began.elapsed()));
        // The handler goes on first, as it may.
        for handler in &handlers {
            kill_process(*handler, Signal::CONT).unwrap();
        }
    });
}

/// There were so many requests for this invocation, nothing was warned of, and the same handler answers the next event.
#[track_caller]
fn all_is_well(run: &Run, id: &str, requests: usize) {
    assert_eq!(run.invoke(json!([{ "response": "the next" }])).response(), "\"the next\"");
    let found = run.api().requests().into_iter().filter(|request| request.path.contains(id)).count();
    assert_eq!(found, requests, "reports on {id}");
    assert_eq!(run.log(), "");
    assert_eq!(run.starts().len(), 1);
}

fn an_event_that_comes_in_a_freeze_is_answered_after_it() {
    let mut run = Run::told();
    assert_eq!(run.invoke(json!([{ "response": 0 }])).response(), "0");
    run.idle();
    let mut id = String::new();
    freeze(&mut run, |run| id = run.push(json!([{ "response": 1 }])));
    assert_eq!(run.report_of(&id).response(), "1");
    all_is_well(&run, &id, 1);
}

fn a_reply_after_a_freeze_is_the_response() {
    let mut run = Run::told();
    let id = run.push(json!([{ "touch": "got-it" }, { "await": "go" }, { "response": 1 }]));
    run.wait_file("got-it");
    freeze(&mut run, |run| run.touch("go"));
    assert_eq!(run.report_of(&id).response(), "1");
    all_is_well(&run, &id, 1);
}

fn a_reply_that_was_written_before_a_freeze_over_the_deadline_is_the_response() {
    let mut run = Run::told();
    run.invoke(json!([{ "response": 0 }]));
    run.idle();
    let event = Event::new(json!([{ "touch": "got-it" }, { "await": "go" }, { "response": 1 }, { "touch": "said" }]).to_string());
    let id = run.push(event.deadline_in(5000));
    run.wait_file("got-it");
    // The handler goes on for a moment, so that the reply is in the pipe and nobody has read it.
    run.while_stopped(|run| {
        run.touch("go");
        run.wait_file("said");
        std::thread::sleep(time());
    });
    assert_eq!(run.report_of(&id).response(), "1");
    all_is_well(&run, &id, 1);
}

fn a_freeze_over_the_deadline_of_a_silent_handler_ends_in_a_timeout() {
    let mut run = Run::told();
    run.invoke(json!([{ "response": 0 }]));
    run.idle();
    let id = run.push(Event::new(json!([{ "touch": "got-it" }, { "hang": true }]).to_string()).deadline_in(5000));
    run.wait_file("got-it");
    freeze(&mut run, |_| {});
    run.report_of(&id).is_error("Function.Timeout", &[]);
    assert_eq!(run.invoke(json!([{ "response": 2 }])).response(), "2");
    assert_eq!(run.api().reports().into_iter().filter(|report| report.id == id).count(), 1);
}

fn a_report_whose_answer_came_in_a_freeze_is_not_sent_again() {
    let answer = Gate::default();
    let mut run = Setup::told().answer(Route::Report, Answer::accepted().held(&answer)).start();
    let id = run.push(json!([{ "response": 1 }]));
    assert_eq!(run.report_of(&id).response(), "1");
    freeze(&mut run, |_| answer.open());
    all_is_well(&run, &id, 1);
}

fn a_report_of_megabytes_that_is_frozen_halfway_arrives_whole_and_once() {
    let rest = Gate::default();
    let mut run = Setup::told().answer(Route::Report, Answer::accepted().stalls_at(100_000, &rest)).start();
    let id = run.push(json!([{ "out": "{\"id\":\"@ID@\",\"response\":\"" }, { "outMany": ["x", 5_000_000] }, { "out": "\"}\n" }]));
    run.wait("the beginning of the report", || run.api().is_being_reported(&id).then_some(()));
    freeze(&mut run, |_| rest.open());
    assert_eq!(run.report_of(&id).response().len(), 5_000_002);
    all_is_well(&run, &id, 1);
}

fn a_stream_that_is_frozen_halfway_goes_on() {
    let mut run = Run::told();
    let id = run.push(json!([
        { "stream": { "contentType": "text/plain" } }, { "chunk": "before" }, { "await": "go" }, { "chunk": ", after" }, { "end": true }
    ]));
    run.arrived(0, "before");
    freeze(&mut run, |run| run.touch("go"));
    assert_eq!(run.report_of(&id).streamed(), "before, after");
    all_is_well(&run, &id, 1);
}

fn a_stream_whose_answer_came_in_a_freeze_is_over_without_a_warning() {
    let answer = Gate::default();
    let mut run = Setup::told().answer(Route::Report, Answer::accepted().held(&answer)).start();
    let id = run.push(json!([{ "stream": { "contentType": "text/plain" } }, { "chunk": "all" }, { "end": true }]));
    assert_eq!(run.report_of(&id).streamed(), "all");
    freeze(&mut run, |_| answer.open());
    all_is_well(&run, &id, 1);
}

/// All at once, since most of the time they stand still.
#[test]
fn a_freeze_at_any_point_of_an_invocation_ends_in_one_right_report() {
    let points: [fn(); 8] = [
        an_event_that_comes_in_a_freeze_is_answered_after_it,
        a_reply_after_a_freeze_is_the_response,
        a_reply_that_was_written_before_a_freeze_over_the_deadline_is_the_response,
        a_freeze_over_the_deadline_of_a_silent_handler_ends_in_a_timeout,
        a_report_whose_answer_came_in_a_freeze_is_not_sent_again,
        a_report_of_megabytes_that_is_frozen_halfway_arrives_whole_and_once,
        a_stream_that_is_frozen_halfway_goes_on,
        a_stream_whose_answer_came_in_a_freeze_is_over_without_a_warning,
    ];
    std::thread::scope(|scope| {
        let runs = points.map(|point| scope.spawn(point));
        // Each has said what is wrong with it.
        let failed = runs.map(|run| run.join().is_err());
        assert_eq!(failed, [false; 8]);
    });
}
