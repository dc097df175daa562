use super::support::{Answer, Event, Report, Route, Run, Setup};

/// What bootstrap has of the machine.
struct Holdings {
    descriptors: usize,
    children: Vec<char>,
    memory_kb: u64,
}

/// Once nothing is in flight any more.
#[track_caller]
fn holdings(run: &Run, waiting: usize) -> Holdings {
    run.waiting(waiting);
    run.wait("no zombie", || (!run.children().contains(&'Z')).then_some(()));
    Holdings { descriptors: run.descriptors(), children: run.children(), memory_kb: run.memory_kb("VmRSS") }
}

/// Ten thousand events, all answered as `check` wants it, and afterwards bootstrap has no more than after the first hundred.
/// `SOAK_EVENTS` is another number of events.
#[track_caller]
fn soak(setup: Setup, waiting: usize, processes: usize, event: impl Fn(usize) -> Event, check: impl Fn(&Report) -> bool) -> Run {
    let total: usize = std::env::var("SOAK_EVENTS").ok().and_then(|v| v.parse().ok()).unwrap_or(10_000);
    let run = setup.start();
    for n in 0..100 {
        run.push(event(n));
    }
    let mut warm = 100;
    run.report(warm - 1);
    // Each of several processes starts when an event first needs it.
    run.wait("all processes", || {
        if run.children().len() >= processes {
            return Some(());
        }
        for _ in 0..10 {
            run.push(event(warm));
            warm += 1;
        }
        run.report(warm - 1);
        None
    });
    let before = holdings(&run, waiting);
    for n in warm..total {
        run.push(event(n));
    }
    for n in (warm..total).step_by(200) {
        run.report(n);
    }
    run.report(total - 1);
    let after = holdings(&run, waiting);
    let reports = run.api().reports();
    assert_eq!(reports.len(), total);
    let wrong = reports.iter().find(|report| !check(report));
    assert!(wrong.is_none(), "{}", wrong.unwrap().request);
    assert_eq!(after.descriptors, before.descriptors, "descriptors");
    assert_eq!(after.children.len(), before.children.len(), "children");
    // The allocator's moods, and the thousand invocations that a handler is known by.
    assert!(after.memory_kb < before.memory_kb + 2_000, "from {} to {} kB", before.memory_kb, after.memory_kb);
    run
}

/// The response is the event, which names its own request.
fn echoes(report: &Report) -> bool {
    report.response() == format!("\"{}\"", report.id)
}

fn own_id(_: usize) -> Event {
    let event = Event::new("");
    let body = format!("\"{}\"", event.request_id());
    event.body(body)
}

#[test]
fn one_process_for_many_events_leaves_nothing_behind() {
    let run = soak(Setup::of("echoes.py"), 1, 1, own_id, echoes);
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_filter_leaves_nothing_behind() {
    let run = soak(Setup::script("filter", "exec cat"), 1, 1, own_id, echoes);
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_process_for_each_event_leaves_nothing_behind() {
    let setup = Setup::new().env("BOOTSTRAP_MODE", "oneshot").env("BOOTSTRAP_COMMAND", "cat");
    let run = soak(setup, 1, 0, own_id, echoes);
    assert!(run.children().is_empty());
}

#[test]
fn streams_leave_nothing_behind() {
    let streamed = |report: &Report| report.streamed() == format!("{}, the first\u{e9}, the last", report.id);
    let run = soak(Setup::of("streams_three_chunks.py"), 1, 1, own_id, streamed);
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn many_events_at_once_in_one_process_leave_nothing_behind() {
    let setup = Setup::of("answers_in_a_shuffled_order.py").concurrency(4).env("AT_ONCE", "4").env("BOOTSTRAP_READY", "message");
    let run = soak(setup, 4, 1, own_id, echoes);
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn many_events_at_once_in_many_processes_leave_nothing_behind() {
    let run = soak(Setup::script("filter", "exec cat").concurrency(4), 4, 4, own_id, echoes);
    assert_eq!(run.starts().len(), 4);
}

#[test]
fn two_hundred_megabytes_are_streamed_in_bounded_memory() {
    let run = Setup::of("streams_so_many_megabytes.py").answer(Route::Report, Answer::accepted().forgets_body()).start();
    let report = run.invoke("200");
    assert_eq!((report.streamed().as_str(), report.request.body_length), ("", 200_000_000));
    let peak = run.memory_kb("VmHWM");
    assert!(peak < 30_000, "a peak of {peak} kB");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}
