//! The Runtime API's side: hands out events, checks every response, takes the times.
use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::event::{DIGITS, Event};
use crate::http::Connection;
use crate::results::{Run, Span, percentile};
use crate::system::Snapshot;

/// What the runtimes are told to be the constants of their invocations.
const HEADERS: &str = "Content-Type: application/json\r\n\
    Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:speed\r\n\
    Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1\r\n\
    Date: Wed, 25 Nov 2026 00:00:00 GMT";
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nDate: Wed, 25 Nov 2026 00:00:00 GMT\r\n\
    Content-Length: 16\r\n\r\n{\"status\":\"OK\"}\n";

/// An order for the Java example, and its answer.
const ORDER: &str = r#"{"customer":"Zoë","taxRate":0.19,"lines":[{"sku":"tea","quantity":12,"unitPrice":3.50}]}"#;
const PRICED: &str = concat!(
    r#"{"customer":"Zoë","lines":[{"sku":"tea","quantity":12,"amount":42.00}],"#,
    r#""subtotal":42.00,"discount":2.10,"tax":7.58,"total":47.48}"#
);

/// When is a response the right one?
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Equality {
    /// Where it has the event's bytes.
    Bytes,
    /// Where it is the same JSON: for runtimes that parse and print.
    Json,
    /// Where it is what the Java example answers to its order.
    Priced,
}

/// What one run does.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) size: usize,
    pub(crate) events: usize,
    /// Events before those that are measured.
    pub(crate) warm_up: usize,
    pub(crate) concurrency: usize,
    /// Parts of a run with one event in flight that are told apart, by the numbers of their first and last event.
    pub(crate) spans: &'static [(usize, usize)],
}

struct Pids {
    runtime: u32,
    companion: Option<u32>,
}

struct Sent {
    number: usize,
    /// Before the first byte of the answer to `/next`, and after its last.
    before: Instant,
    after: Instant,
}

#[derive(Default)]
struct State {
    pids: Option<Pids>,
    first_response: Option<Duration>,
    sent: usize,
    in_flight: HashMap<String, Sent>,
    round_trips: Vec<Duration>,
    from_first_byte: Vec<Duration>,
    began: Option<(Snapshot, Instant)>,
    /// What was there before the events with these numbers, which are the ends of spans.
    snapshots: HashMap<usize, Snapshot>,
    result: Option<Result<Run, String>>,
}

pub(crate) struct Api {
    plan: Plan,
    equality: Equality,
    event: Event,
    started: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

/// Ends the serving of a connection; what there is to say is said in the run's result.
struct End;

impl Api {
    /// The clock for cold starts begins here.
    pub(crate) fn new(plan: Plan, equality: Equality) -> Self {
        let state = State {
            round_trips: Vec::with_capacity(plan.events),
            from_first_byte: Vec::with_capacity(plan.events),
            ..State::default()
        };
        let event = match equality {
            Equality::Priced => Event { text: ORDER.into(), number: None },
            Equality::Bytes | Equality::Json => Event::new(plan.size),
        };
        Self { plan, equality, event, started: Instant::now(), state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which processes are measured; no event is handed out before.
    pub(crate) fn measure(&self, runtime: u32, companion: Option<u32>) {
        self.state().pids = Some(Pids { runtime, companion });
        self.changed.notify_all();
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The result, where it is there within half a second.
    pub(crate) fn result(&self) -> Option<Result<Run, String>> {
        let state = self.state();
        let waited = self.changed.wait_timeout_while(state, Duration::from_millis(500), |state| state.result.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.result.clone()
    }

    /// The first reason is kept.
    pub(crate) fn fail(&self, why: String) {
        self.state().result.get_or_insert(Err(why));
        self.changed.notify_all();
    }

    /// Serves each connection on a thread of its own until there is a result and one more connection.
    pub(crate) fn serve(&self, listener: &TcpListener) {
        std::thread::scope(|scope| {
            for stream in listener.incoming() {
                if self.state().result.is_some() {
                    return;
                }
                if let Ok(stream) = stream {
                    scope.spawn(move || self.serve_connection(stream));
                }
            }
        });
    }

    fn serve_connection(&self, stream: TcpStream) {
        let mut connection = Connection::new(stream);
        let mut body = Vec::with_capacity(self.event.text.len() + 64 * 1024);
        while let Ok(line) = connection.request(&mut body) {
            let now = Instant::now();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let went = if line.starts_with("GET") && path.ends_with("/runtime/invocation/next") {
                self.next(&mut connection, now)
            } else if let Some((_, rest)) = path.split_once("/runtime/invocation/") {
                self.report(&mut connection, now, rest, &body)
            } else if path.ends_with("/extension/register") {
                // The Web Adapter is an extension.
                let body = br#"{"functionName":"speed","functionVersion":"$LATEST","handler":"handler"}"#;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                     Lambda-Extension-Identifier: 8f1e3b0c-0d5e-4a52-a1c9-3a2d0f6a7a11\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                connection.write(&[head.as_bytes(), body]).map_err(|_| End)
            } else if path.ends_with("/extension/event/next") {
                Ok(()) // never answered
            } else {
                self.fail(format!("{line}: {}", shown(&body)));
                Err(End)
            };
            if went.is_err() {
                return;
            }
        }
    }

    fn next(&self, connection: &mut Connection, now: Instant) -> Result<(), End> {
        let mut guard = self.state();
        while guard.pids.is_none() {
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        let state = &mut *guard;
        let pids = state.pids.as_ref().ok_or(End)?;
        if state.in_flight.len() >= self.plan.concurrency {
            let why = format!("/next while as many as {} are in flight", state.in_flight.len());
            drop(guard);
            self.fail(why);
            return Err(End);
        }
        if state.sent == self.plan.warm_up && state.began.is_none() {
            state.began = Some((Snapshot::take(pids.runtime, pids.companion), Instant::now()));
        }
        if state.sent == self.plan.warm_up + self.plan.events {
            if state.in_flight.is_empty() && state.result.is_none() {
                let run = self.run(state, now);
                state.result = Some(run);
            }
            drop(guard);
            self.changed.notify_all();
            return Ok(()); // never answered
        }
        state.sent += 1;
        let number = state.sent;
        if self.plan.spans.iter().any(|(first, last)| number == *first || number == last + 1) {
            state.snapshots.insert(number, Snapshot::take(pids.runtime, pids.companion));
        }
        let digits = format!("{number:0DIGITS$}");
        let id = format!("8476a536-e9f4-11e8-9739-2d{digits}");
        let deadline = SystemTime::now() + Duration::from_secs(60);
        let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let head = format!(
            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: {id}\r\nLambda-Runtime-Deadline-Ms: {deadline}\r\n{HEADERS}\r\n\
             Content-Length: {}\r\n\r\n",
            self.event.text.len()
        );
        let parts = match self.event.number {
            Some(at) => [head.as_bytes(), &self.event.text[..at], digits.as_bytes(), &self.event.text[at + DIGITS..]],
            None => [head.as_bytes(), &self.event.text, b"", b""],
        };
        if self.plan.concurrency == 1 {
            // The lock is held: on whatever connection the report comes, it is not handled before the time is taken.
            let before = Instant::now();
            let went = connection.write(&parts);
            let after = Instant::now();
            state.in_flight.insert(id, Sent { number, before, after });
            went.map_err(|_| End)
        } else {
            let before = Instant::now();
            state.in_flight.insert(id, Sent { number, before, after: before });
            drop(guard);
            connection.write(&parts).map_err(|_| End)
        }
    }

    fn report(&self, connection: &mut Connection, now: Instant, rest: &str, body: &[u8]) -> Result<(), End> {
        let mut guard = self.state();
        let state = &mut *guard;
        let sent = rest.strip_suffix("/response").and_then(|id| state.in_flight.remove(id));
        let failure = match &sent {
            None => Some(format!("POST {rest}, which is not the response to an event in flight: {}", shown(body))),
            Some(sent) => self.difference(sent.number, body),
        };
        let (Some(sent), None) = (sent, &failure) else {
            drop(guard);
            self.fail(failure.unwrap_or_default());
            return Err(End);
        };
        state.first_response.get_or_insert_with(|| now - self.started);
        if sent.number > self.plan.warm_up {
            state.round_trips.push(now.saturating_duration_since(sent.after));
            state.from_first_byte.push(now - sent.before);
        }
        drop(guard);
        connection.write(&[ACCEPTED]).map_err(|_| End)
    }

    /// What is wrong with a response, if anything.
    fn difference(&self, number: usize, body: &[u8]) -> Option<String> {
        if self.equality == Equality::Priced {
            return (body != PRICED.as_bytes()).then(|| format!("the response is {:?}, not {PRICED:?}", shown(body)));
        }
        let text = &self.event.text;
        let same = match self.event.number {
            _ if body.len() != text.len() => false,
            Some(at) => {
                body[..at] == text[..at]
                    && body[at + DIGITS..] == text[at + DIGITS..]
                    && body[at..at + DIGITS] == *format!("{number:0DIGITS$}").as_bytes()
            }
            None => body == text,
        };
        if same {
            return None;
        }
        let mut event = Event::new(self.plan.size);
        event.set_number(number);
        let parsed = |text| serde_json::from_slice::<serde_json::Value>(text).ok();
        if self.equality == Equality::Json && parsed(body).is_some_and(|value| Some(value) == parsed(&event.text)) {
            return None;
        }
        let at = body.iter().zip(&event.text).position(|(a, b)| a != b).unwrap_or(body.len().min(event.text.len()));
        let part = |bytes: &[u8]| shown(&bytes[at.saturating_sub(40)..(at + 40).min(bytes.len())]);
        Some(format!("the response differs from the event at byte {at}: {:?}, not {:?}", part(body), part(&event.text)))
    }

    fn run(&self, state: &mut State, now: Instant) -> Result<Run, String> {
        let (Some(pids), Some((begin, began))) = (&state.pids, state.began.take()) else {
            return Err("no event was measured".into());
        };
        let end = Snapshot::take(pids.runtime, pids.companion);
        let (runtime, handlers) = end.since(&begin);
        let (memory, handler_memory) = end.memory();
        state.snapshots.insert(state.sent + 1, end);
        let spans = self.plan.spans.iter().map(|(first, last)| self.span(state, *first, *last)).collect();
        state.round_trips.sort_unstable();
        state.from_first_byte.sort_unstable();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / self.plan.events as f64;
        Ok(Run {
            p50: percentile(&state.round_trips, 50.0),
            p90: percentile(&state.round_trips, 90.0),
            p99: percentile(&state.round_trips, 99.0),
            p999: percentile(&state.round_trips, 99.9),
            from_first_byte_p50: percentile(&state.from_first_byte, 50.0),
            cycle: each(now - began),
            processor: each(runtime),
            handler_processor: each(handlers),
            memory,
            handler_memory,
            first_response: state.first_response.unwrap_or_default().as_secs_f64() * 1e3,
            log_bytes: 0,
            spans,
        })
    }

    fn span(&self, state: &State, first: usize, last: usize) -> Span {
        let mut times = state.round_trips[first - self.plan.warm_up - 1..last - self.plan.warm_up].to_vec();
        times.sort_unstable();
        let processor = match (state.snapshots.get(&first), state.snapshots.get(&(last + 1))) {
            (Some(begin), Some(end)) => {
                let (runtime, handlers) = end.since(begin);
                (runtime + handlers).as_secs_f64() * 1e6 / times.len() as f64
            }
            _ => f64::NAN,
        };
        let sum: Duration = times.iter().sum();
        let mean = sum.as_secs_f64() * 1e6 / times.len() as f64;
        Span { p50: percentile(&times, 50.0), mean, processor }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(500)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_the_events_from_its_first_to_its_last_in_the_order_they_came() {
        let plan = Plan { size: 1, events: 9, warm_up: 1, concurrency: 1, spans: &[] };
        let api = Api::new(plan, Equality::Bytes);
        // Event 2 took 90 µs, event 3 80 µs, and so on.
        let round_trips = (1..=9).rev().map(|time| Duration::from_micros(10 * time)).collect();
        let state = State { round_trips, ..State::default() };
        let figures = |first, last| {
            let span = api.span(&state, first, last);
            [span.p50, span.mean].map(f64::round)
        };
        assert_eq!(figures(2, 2), [90.0, 90.0]);
        assert_eq!(figures(3, 6), [60.0, 65.0]);
        assert_eq!(figures(2, 10), [50.0, 50.0]);
        assert!(api.span(&state, 3, 6).processor.is_nan(), "nothing is known of it");
    }

    #[test]
    fn the_answer_to_the_example_s_order_is_checked() {
        let plan = Plan { size: 1024, events: 1, warm_up: 0, concurrency: 1, spans: &[] };
        let api = Api::new(plan, Equality::Priced);
        assert_eq!(api.difference(1, PRICED.as_bytes()), None);
        let why = api.difference(1, ORDER.as_bytes()).unwrap();
        assert!(why.starts_with("the response is "), "{why}");
    }

    #[test]
    fn a_response_that_is_not_the_event_of_its_number_is_refused() {
        let difference = |size, equality, number, change: fn(Vec<u8>) -> Vec<u8>| {
            let api = Api::new(Plan { size, events: 1, warm_up: 0, concurrency: 1, spans: &[] }, equality);
            let mut event = Event::new(size);
            event.set_number(7);
            api.difference(number, &change(event.text))
        };
        let spaced = |text: Vec<u8>| String::from_utf8(text).unwrap().replace("\":", "\": ").into_bytes();
        assert_eq!(difference(1024, Equality::Bytes, 7, |text| text), None);
        assert_eq!(difference(1, Equality::Bytes, 7, |text| text), None);
        assert_eq!(difference(600, Equality::Json, 7, spaced), None);
        for (number, change) in [
            (8, (|text| text) as fn(Vec<u8>) -> Vec<u8>),
            (7, |text| text[..text.len() - 1].to_vec()),
            (7, |text| [&text[..], b" "].concat()),
            (7, |mut text| {
                text[100] ^= 1;
                text
            }),
            (7, |_| vec![]),
        ] {
            let why = difference(1024, Equality::Bytes, number, change).unwrap();
            assert!(why.starts_with("the response differs from the event at byte "), "{why}");
        }
        assert!(difference(600, Equality::Bytes, 7, spaced).is_some());
        assert!(difference(600, Equality::Json, 8, spaced).is_some());
    }
}
