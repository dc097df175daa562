//! The harness: a scripted Runtime API, the real binary, and waits that end.
//!
//! [`Setup`] describes a run, [`Run`] is one. A run that is dropped is ended with SIGTERM and checked: the exit status,
//! that no process is left, and that every request was one the Runtime API's state machine allows. When a test panics,
//! the run prints everything it knows.

mod answer;
mod api;
mod capture;
mod client;
mod http;
mod local;
mod report;
mod run;
mod shell;

use std::time::{Duration, Instant};

pub(crate) use answer::{Answer, Event, Gate};
pub(crate) use api::{Route, RuntimeApi};
pub(crate) use client::{Call, Client, Reply};
pub(crate) use http::Request;
pub(crate) use local::{Ended, Local, Running, bootstrap, handler, hello, invoke};
pub(crate) use report::{Kind, Report, stack_of};
pub(crate) use run::{Run, Setup, fixture, leftovers, parse_environ, path};
pub(crate) use shell::{Shell, commands};

/// How long one wait may last.
pub(crate) fn patience() -> Duration {
    let ms = std::env::var("TEST_PATIENCE_MS").ok().and_then(|v| v.parse().ok()).unwrap_or(30_000);
    Duration::from_millis(ms)
}

/// The binary under test.
pub(crate) fn binary() -> std::ffi::OsString {
    std::env::var_os("BOOTSTRAP_TEST_BINARY").unwrap_or(env!("CARGO_BIN_EXE_bootstrap").into())
}

/// Asks again and again until there is an answer; `None` when patience ends.
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience();
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Milliseconds since the epoch, `from_now` later.
pub(crate) fn epoch_ms(from_now: Duration) -> u128 {
    (std::time::SystemTime::now() + from_now).duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

/// Bytes for people: text as it is, long ones cut in the middle.
pub(crate) fn show(bytes: &[u8]) -> String {
    const MOST: usize = 6000;
    if bytes.len() <= MOST {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let (head, tail) = (&bytes[..MOST / 2], &bytes[bytes.len() - MOST / 2..]);
    format!("{} …({} bytes)… {}", String::from_utf8_lossy(head), bytes.len() - MOST, String::from_utf8_lossy(tail))
}
