//! Random scripts of what a handler and the Runtime API do, against a small model of what bootstrap promises.
//!
//! `MODEL_SCRIPTS` is how many scripts run (200), `MODEL_SEED` the first one's seed, else one that the clock gives. A failure prints
//! the seed with which the same script runs again, and the smallest script found that fails too.

mod judge;
/// One run for as long as it is wanted, in each shape.
mod long;
mod script;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::process::{Pid, Signal, kill_process};

use self::script::{Meddling, Script, Shape};
use super::support::{Run, Setup, eventually};

/// How many scripts run at the same time; most of the time they wait.
const WORKERS: usize = 4;

/// A setting of the tests' own that is a number.
pub(super) fn setting(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

fn setup(shape: Shape, json_log: bool) -> Setup {
    let setup = match shape {
        Shape::Lines | Shape::Descriptor3 | Shape::Processes => Setup::told(),
        Shape::AtOnce => Setup::of("does_as_told_at_once.py").env("AT_ONCE", "3"),
        Shape::Filter => Setup::of("does_as_its_input_tells.py").env("BOOTSTRAP_MODE", "filter"),
        Shape::Oneshot => Setup::of("does_as_its_input_tells.py").env("BOOTSTRAP_MODE", "oneshot"),
    };
    let setup = if shape.concurrency() > 1 { setup.concurrency(shape.concurrency()) } else { setup };
    let setup = if json_log { setup.env("AWS_LAMBDA_LOG_FORMAT", "JSON") } else { setup };
    // A crash loop's end is not what this is about.
    setup.env("BOOTSTRAP_MAX_RESTARTS", "1000")
}

/// Does what is due at its time to bootstrap and its handler, while the run goes on.
fn meddle(run: &mut Run, meddling: &[(u64, Meddling)]) {
    let began = Instant::now();
    let mut due = meddling.to_vec();
    due.sort_by_key(|(at, _)| *at);
    for (at, what) in due {
        std::thread::sleep(Duration::from_millis(at).saturating_sub(began.elapsed()));
        let handler = run.starts().last().copied().filter(|pid| run.processes().iter().any(|(found, _)| found == pid));
        let handler = handler.and_then(Pid::from_raw);
        match (what, handler) {
            (Meddling::StopsBootstrap(ms), _) => {
                run.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(ms));
                run.signal(Signal::CONT);
            }
            // It may have ended meanwhile.
            (Meddling::StopsHandler(ms), Some(handler)) => {
                let _ = kill_process(handler, Signal::STOP);
                std::thread::sleep(Duration::from_millis(ms));
                let _ = kill_process(handler, Signal::CONT);
            }
            (Meddling::KillsHandler, Some(handler)) => {
                let _ = kill_process(handler, Signal::KILL);
            }
            (_, None) => {}
        }
    }
}

fn play(script: &Script) {
    let (answers, queued) = script.queue();
    let mut setup = setup(script.shape, script.json_log);
    for (route, answer) in answers {
        setup = setup.answer(route, answer);
    }
    let mut run = setup.start();
    // A handler that is killed while it starts is an init error, and the run is over.
    run.requests("GET", "/next", 1);
    meddle(&mut run, &script.meddling);
    let done = eventually(|| {
        assert_eq!(run.api().violations(), [""; 0], "the Runtime API would have refused this");
        (run.api().all_reported() && run.api().waiting() > 0).then_some(())
    });
    assert!(done.is_some(), "waited in vain for the report on each event and a /next behind it");
    let wrong = judge::judge(script, &queued, &run, 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// The seed that was asked for, else one that the clock gives.
fn first_seed() -> u64 {
    setting("MODEL_SEED").unwrap_or_else(|| u64::try_from(super::support::epoch_ms(Duration::ZERO)).unwrap() << 20)
}

/// Draws the script of a seed and plays it; says what is wrong, in its smallest form.
fn try_seed(seed: u64) -> Result<(), String> {
    let config =
        Config { cases: 1, failure_persistence: None, max_shrink_iters: 40, max_shrink_time: 120_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng(seed));
    let played = runner.run(&script::scripts(), |script| {
        play(&script);
        Ok(())
    });
    played.map_err(|e| format!("MODEL_SEED={seed} MODEL_SCRIPTS=1 plays it again. {e}"))
}

#[test]
fn what_was_promised_holds_in_every_script() {
    let scripts = setting("MODEL_SCRIPTS").unwrap_or(200);
    let first = first_seed();
    eprintln!("{scripts} scripts; MODEL_SEED={first} plays the same ones again");
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= scripts || failed.lock().unwrap().len() >= 3 {
                        return;
                    }
                    if n > 0 && n.is_multiple_of(1000) {
                        eprintln!("{n} scripts played");
                    }
                    if let Err(e) = try_seed(first.wrapping_add(n)) {
                        failed.lock().unwrap().push(e);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
