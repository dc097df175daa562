//! One bootstrap that runs for as long as it is wanted, with the mixture of events of a bad day: memory, descriptors and processes
//! stay as they were after the first hundreds, and each event is answered once, as the model says.
//!
//! `SOAK_SECONDS` is how long each run lasts (2). The figures are on stderr.

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestRunner};

use super::super::support::{Run, eventually};
use super::script::{Shape, mixture};
use super::{first_seed, judge, rng, setting};

/// So many hundreds of events go by before anything is measured.
const WARM: usize = 3;

/// What bootstrap holds while nothing is in flight.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    descriptors: usize,
    processes: usize,
    memory_kb: u64,
}

impl Holdings {
    fn of(run: &Run, shape: Shape) -> Holdings {
        // What is left of the last event's process is being cleared, and the next one is being started.
        let most = if shape == Shape::Oneshot { 0 } else { shape.concurrency() };
        run.wait("no process that is over", || (run.children().len() <= most && !run.children().contains(&'Z')).then_some(()));
        Holdings { descriptors: run.descriptors(), processes: run.children().len(), memory_kb: run.memory_kb("VmRSS") }
    }
}

#[track_caller]
fn soak(shape: Shape) {
    let seconds = setting("SOAK_SECONDS").unwrap_or(2);
    let seed = first_seed();
    let mut runner = TestRunner::new_with_rng(Config::default(), rng(seed));
    let run = super::setup(shape, true).start();
    let (began, mut told) = (Instant::now(), Instant::now());
    let (mut events, mut first, mut most, mut last) = (0, None, 0, None);
    for hundred in 0.. {
        if hundred > WARM && began.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let script = mixture(shape).new_tree(&mut runner).unwrap().current();
        let started_before = run.starts().len();
        let (answers, queued) = script.queue();
        for (route, answer) in answers {
            run.api().push(route, answer);
        }
        let done = eventually(|| {
            assert_eq!(run.api().violations(), [""; 0], "the Runtime API would have refused this (MODEL_SEED={seed})");
            (run.api().all_reported() && run.api().waiting() > 0).then_some(())
        });
        assert!(done.is_some(), "waited in vain for the report on each event (MODEL_SEED={seed})");
        let wrong = judge::judge(&script, &queued, &run, started_before);
        assert!(wrong.is_empty(), "MODEL_SEED={seed}, hundred number {hundred}: {}", wrong.join("\n"));
        events += queued.len();
        let holdings = Holdings::of(&run, shape);
        most = most.max(holdings.memory_kb);
        if hundred == WARM {
            first = Some(holdings);
        }
        last = Some(holdings);
        run.api().drop_unused();
        run.forget();
        if told.elapsed() > Duration::from_secs(300) {
            told = Instant::now();
            eprintln!("{shape:?}: {events} events after {} s, {holdings:?}", began.elapsed().as_secs());
        }
    }
    let (first, last) = (first.unwrap(), last.unwrap());
    eprintln!(
        "{shape:?}: {events} events in {} s, {} processes started; after {} events {first:?}, at the end {last:?}, at most {most} kB",
        began.elapsed().as_secs(),
        run.starts().len(),
        (WARM + 1) * 100,
    );
    let slack = if shape == Shape::Oneshot { 0 } else { shape.concurrency() };
    assert!(first.processes <= slack && last.processes <= slack, "{} processes", last.processes);
    // A process more or less may be there, with its three channels and what tells its end; which is so for good.
    assert!(last.descriptors <= first.descriptors + 5 * slack, "{} descriptors, {} at first", last.descriptors, first.descriptors);
    // Peaks of what large events left, which the allocator keeps.
    assert!(last.memory_kb < first.memory_kb + 24_000, "{} kB, {} kB at first", last.memory_kb, first.memory_kb);
}

#[test]
fn one_process_with_lines() {
    soak(Shape::Lines);
}

#[test]
fn one_process_with_fd_3() {
    soak(Shape::Descriptor3);
}

#[test]
fn three_processes() {
    soak(Shape::Processes);
}

#[test]
fn three_events_at_once() {
    soak(Shape::AtOnce);
}

#[test]
fn a_filter() {
    soak(Shape::Filter);
}

#[test]
fn a_process_for_each_event() {
    soak(Shape::Oneshot);
}
