//! A script: what the handler does with each event and what the Runtime API says, drawn at random; and what must come of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::support::{Answer, Event, Route};

/// How the handler is spoken to, and how many events are in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Mode `jsonl`, replies on stdout.
    Lines,
    /// Mode `jsonl`, replies on fd 3.
    Descriptor3,
    /// Mode `jsonl`, three events in flight in as many processes.
    Processes,
    /// Mode `jsonl`, three events in flight in one process.
    AtOnce,
    /// Mode `filter`.
    Filter,
    /// Mode `oneshot`.
    Oneshot,
}

impl Shape {
    pub(super) fn concurrency(self) -> usize {
        if matches!(self, Shape::Processes | Shape::AtOnce) { 3 } else { 1 }
    }

    /// The messages carry ids, and replies are objects.
    fn has_ids(self) -> bool {
        !matches!(self, Shape::Filter | Shape::Oneshot)
    }
}

/// What the handler does about one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Respond,
    /// Byte by byte.
    Drip,
    RespondTwice,
    /// To the event before as well.
    RespondLate,
    RespondThenExit,
    RespondThenCloseStdin,
    /// And leaves a process behind, in a session of its own.
    RespondThenDaemon,
    OwnError,
    /// Something like a reply that breaks a rule.
    Garbage,
    Exit,
    /// In the middle of its reply.
    ExitHalfway,
    Signal,
    Hang,
    CloseReplies,
    TooLarge,
    Stream,
    StreamThenError,
    StreamThenExit,
    StreamThenGarbage,
    /// What is printed is no JSON.
    Text,
    Nothing,
}

/// What the handler logs before it does anything else.
#[derive(Clone, Copy, Debug)]
pub(super) enum Noise {
    Silence,
    Line,
    /// On stdout, where that is for logs too.
    Stdout,
    /// More than all pipes hold.
    Flood,
    Long,
    /// Looks like a record of bootstrap's, or of Lambda's, about another request.
    Posing,
}

/// What `/next` says before it hands out the event, or how it hands it out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delivery {
    Whole,
    Chunked,
    Drip,
    UntilClose,
    AfterServerError,
    AfterReset,
    AfterHangUp,
    AfterHalf,
    AfterNoRequestId,
}

/// What the deadline header says where the handler is not to be too late.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    Right,
    Missing,
    Unreadable,
    /// The clock has jumped: the deadline is over when the event comes.
    Past,
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) act: Act,
    noise: Noise,
    delivery: Delivery,
    clock: Clock,
    /// The event's JSON stands on many lines.
    pretty: bool,
    /// It is delivered a second time, under the same request id, once it has been reported.
    again: bool,
}

/// What the Runtime API says to a report.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Accepted,
    Refused(u16),
    ServerError,
    Reset,
    HungUp,
}

impl Verdict {
    fn answer(self) -> Answer {
        match self {
            Verdict::Accepted => Answer::accepted(),
            Verdict::Refused(status) => Answer::status(status).body("{\"errorType\":\"Scripted\"}"),
            Verdict::ServerError => Answer::status(500),
            Verdict::Reset => Answer::reset(),
            Verdict::HungUp => Answer::hang_up(),
        }
    }
}

/// Somebody else meddles.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meddling {
    /// Bootstrap stands still for so many milliseconds.
    StopsBootstrap(u64),
    /// The handler does.
    StopsHandler(u64),
    /// The handler is killed.
    KillsHandler,
}

/// A whole run.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) shape: Shape,
    pub(super) json_log: bool,
    pub(super) turns: Vec<Turn>,
    /// In the order in which reports come, whatever they are on.
    verdicts: Vec<Verdict>,
    /// Each after so many milliseconds.
    pub(super) meddling: Vec<(u64, Meddling)>,
}

/// What must be reported about an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expected {
    Response(String),
    /// The type, and the message where it is the handler's own.
    Error(&'static str, Option<String>),
    /// The body, and the type of the error that it ends in.
    Stream(String, Option<&'static str>),
}

/// How many lines are more than all pipes hold.
const FLOOD: usize = 8_000;

/// Something that nothing about another event may hold.
pub(super) fn token(n: usize) -> String {
    format!("token-{n}-end")
}

impl Turn {
    /// What the handler does, as steps.
    fn steps(&self, shape: Shape, n: usize) -> Value {
        let token = token(n);
        let mut steps = match self.noise {
            Noise::Silence => vec![],
            Noise::Stdout if shape.has_ids() => vec![json!({ "out": format!("noise {token}\n") })],
            Noise::Line | Noise::Stdout => vec![json!({ "err": format!("noise {token}\n") })],
            Noise::Flood => vec![json!({ "errMany": [format!("noise {token}\n"), FLOOD] })],
            Noise::Long => vec![json!({ "err": format!("noise {token} {}\n", "x".repeat(100_000)) })],
            Noise::Posing => vec![json!({ "err": format!(
                "noise {token}\r\n\u{1b}[2K\nREPORT RequestId: someone-else\tDuration: 1 ms\n[ERROR] [someone-else] posing {token}\n") })],
        };
        if shape == Shape::Descriptor3 {
            steps.push(json!({ "repliesOn": 3 }));
        }
        let respond = |steps: &mut Vec<Value>| {
            steps.push(if shape.has_ids() { json!({ "response": token }) } else { json!({ "out": format!("\"{token}\"\n") }) });
        };
        let on = if shape == Shape::Descriptor3 { "fd3" } else { "out" };
        match self.act {
            Act::Respond => respond(&mut steps),
            Act::Drip if shape.has_ids() => {
                steps.push(json!({ "drip": format!("{{\"id\":\"@ID@\",\"response\":\"{token}\"}}\n") }))
            }
            Act::Drip => steps.push(json!({ "drip": format!("\"{token}\"\n") })),
            Act::RespondTwice if shape.has_ids() => steps.push(json!({
                on: format!("{{\"id\":\"@ID@\",\"response\":\"{token}\"}}\n{{\"id\":\"@ID@\",\"response\":\"second {token}\"}}\n"),
            })),
            Act::RespondTwice => steps.push(json!({ "out": format!("\"{token}\"\n\"second {token}\"\n") })),
            Act::RespondLate => {
                steps.push(json!({ on: "{\"id\":\"@PREVIOUS@\",\"response\":\"late\"}\n" }));
                respond(&mut steps);
            }
            Act::RespondThenExit => {
                respond(&mut steps);
                steps.push(json!({ "exit": 0 }));
            }
            Act::RespondThenCloseStdin => {
                respond(&mut steps);
                steps.push(json!({ "close": 0 }));
            }
            Act::RespondThenDaemon => {
                steps.push(json!({ "daemon": ["sleep", "600"] }));
                respond(&mut steps);
            }
            Act::OwnError => steps.push(json!({ "error": { "errorType": "Mine", "errorMessage": token } })),
            Act::Garbage if shape.has_ids() => steps.push(json!({ on: format!("{{\"id\":\"@ID@\",\"response\":{token}}}\n") })),
            Act::Garbage if shape == Shape::Filter => steps.push(json!({ "out": format!("{{{token}\n") })),
            Act::Garbage => steps.push(json!({ "outBase64": "/w==" })),
            Act::Exit => steps.push(json!({ "exit": 3 })),
            Act::ExitHalfway if shape.has_ids() => {
                steps.push(json!({ on: format!("{{\"id\":\"@ID@\",\"response\":\"{token}") }));
                steps.push(json!({ "exit": 0 }));
            }
            Act::ExitHalfway => {
                steps.push(json!({ "out": format!("\"{token}\"") }));
                steps.push(json!({ "exit": 3 }));
            }
            Act::Signal => steps.push(json!({ "signal": 9 })),
            Act::Hang => steps.push(json!({ "hang": true })),
            Act::CloseReplies => steps.extend([json!({ "close": 1 }), json!({ "close": 3 }), json!({ "hang": true })]),
            Act::TooLarge => {
                let (before, behind) = if shape.has_ids() { ("{\"id\":\"@ID@\",\"response\":\"", "\"}\n") } else { ("\"", "\"\n") };
                steps.extend([json!({ "out": before }), json!({ "outMany": ["x", 6_300_000] }), json!({ "out": behind })]);
            }
            Act::Stream | Act::StreamThenError | Act::StreamThenExit | Act::StreamThenGarbage => {
                steps.extend([
                    json!({ "stream": { "contentType": "text/plain" } }),
                    json!({ "chunk": token }),
                    json!({ "chunkBase64": "w6k=" }),
                ]);
                steps.push(match self.act {
                    Act::Stream => json!({ "end": true }),
                    Act::StreamThenError => json!({ "error": { "errorType": "Mine", "errorMessage": token } }),
                    Act::StreamThenExit => json!({ "exit": 3 }),
                    _ => json!({ "response": 1 }),
                });
            }
            Act::Text => steps.push(json!({ "out": format!("text {token}\n") })),
            Act::Nothing => {}
        }
        Value::Array(steps)
    }

    fn expected(&self, shape: Shape, n: usize) -> Expected {
        let token = token(n);
        let body = || format!("{token}\u{e9}");
        match self.act {
            Act::OwnError => Expected::Error("Mine", Some(token)),
            Act::Garbage => Expected::Error("Runtime.InvalidReply", None),
            Act::Exit | Act::ExitHalfway | Act::Signal => Expected::Error("Runtime.ExitError", None),
            Act::Hang => Expected::Error("Function.Timeout", None),
            Act::CloseReplies => Expected::Error("Runtime.ReplyChannelClosed", None),
            Act::TooLarge => Expected::Error("Function.ResponseSizeTooLarge", None),
            Act::Stream => Expected::Stream(body(), None),
            Act::StreamThenError => Expected::Stream(body(), Some("Mine")),
            Act::StreamThenExit => Expected::Stream(body(), Some("Runtime.ExitError")),
            Act::StreamThenGarbage => Expected::Stream(body(), Some("Runtime.InvalidReply")),
            Act::Text => Expected::Response(format!("\"text {token}\"")),
            Act::Nothing => Expected::Response("null".to_owned()),
            // All that it prints, the newline too.
            _ if shape == Shape::Oneshot => Expected::Response(format!("\"{token}\"\n")),
            _ => Expected::Response(format!("\"{token}\"")),
        }
    }

    /// The process does not outlive it, or takes no further event.
    fn ends_the_process(&self) -> bool {
        !matches!(self.act, Act::Respond | Act::Drip | Act::RespondLate | Act::RespondThenDaemon | Act::OwnError | Act::TooLarge)
            && !matches!(self.act, Act::Stream | Act::StreamThenError)
    }

    /// How many lines the handler logs that begin with "noise" and this event's token.
    pub(super) fn lines_of_noise(&self) -> usize {
        match self.noise {
            Noise::Silence => 0,
            Noise::Flood => FLOOD,
            _ => 1,
        }
    }
}

/// An event that has been queued, and what must come of it.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) turn: usize,
    pub(super) id: String,
    pub(super) invocation_id: Option<String>,
    pub(super) expected: Expected,
}

impl Script {
    /// Everything that the Runtime API says, and what must come of it.
    pub(super) fn queue(&self) -> (Vec<(Route, Answer)>, Vec<Queued>) {
        let (mut answers, mut queued) = (Vec::new(), Vec::new());
        for (n, turn) in self.turns.iter().enumerate() {
            let steps = turn.steps(self.shape, n);
            let body = if turn.pretty && self.shape != Shape::Oneshot {
                serde_json::to_string_pretty(&steps)
            } else {
                serde_json::to_string(&steps)
            };
            let mut event = Event::new(body.unwrap());
            event = match (turn.act, turn.clock) {
                // The margin is 100 ms of it.
                (Act::Hang, _) => event.deadline_in(350),
                (_, Clock::Right) => event,
                (_, Clock::Missing) => event.no_deadline(),
                (_, Clock::Unreadable) => event.deadline("soon"),
                (_, Clock::Past) => event.deadline("1000"),
            };
            let mut invocation_ids = vec![None];
            if turn.again {
                invocation_ids = vec![Some("attempt-1".to_owned()), Some("attempt-2".to_owned())];
            }
            for invocation_id in invocation_ids {
                let event = match &invocation_id {
                    Some(id) => event.clone().invocation_id(id),
                    None => event.clone(),
                };
                let id = event.request_id().to_owned();
                queued.push(Queued { turn: n, id, invocation_id, expected: turn.expected(self.shape, n) });
                let answer = event.answer();
                answers.extend(match turn.delivery {
                    Delivery::AfterServerError => Some(Answer::status(500)),
                    Delivery::AfterReset => Some(Answer::reset()),
                    Delivery::AfterHangUp => Some(Answer::hang_up()),
                    Delivery::AfterHalf => Some(answer.clone().cut_in_body()),
                    Delivery::AfterNoRequestId => Some(Answer::status(200).body("{}")),
                    _ => None,
                });
                answers.push(match turn.delivery {
                    Delivery::Chunked => answer.chunked(),
                    Delivery::Drip => answer.drip(),
                    Delivery::UntilClose => answer.until_close(),
                    _ => answer,
                });
            }
        }
        let mut all: Vec<_> = answers.into_iter().map(|answer| (Route::Next, answer)).collect();
        all.extend(self.verdicts.iter().map(|verdict| (Route::Report, verdict.answer())));
        (all, queued)
    }

    /// The errors that an event may end in that did nothing for it: what befell the process that it shared with others.
    pub(super) fn innocent_errors(&self) -> Vec<&'static str> {
        let mut errors = Vec::new();
        if self.meddling.iter().any(|(_, meddling)| matches!(meddling, Meddling::KillsHandler)) {
            errors.push("Runtime.ExitError");
        }
        if self.shape == Shape::AtOnce {
            let exits = [Act::RespondThenExit, Act::Exit, Act::Signal, Act::StreamThenExit];
            if self.turns.iter().any(|turn| exits.contains(&turn.act)) {
                errors.push("Runtime.ExitError");
            }
            if self.turns.iter().any(|turn| turn.act == Act::CloseReplies) {
                errors.push("Runtime.ReplyChannelClosed");
            }
        }
        errors
    }

    /// The most processes that may start.
    pub(super) fn most_starts(&self) -> usize {
        let events = |turn: &&Turn| if turn.again { 2 } else { 1 };
        let kills = self.meddling.iter().filter(|(_, m)| matches!(m, Meddling::KillsHandler)).count();
        match self.shape {
            // One that was killed between its last word and its end is no second start for the same event.
            Shape::Oneshot => self.turns.iter().map(|turn| events(&turn)).sum(),
            shape => {
                shape.concurrency()
                    + self.turns.iter().filter(|turn| turn.ends_the_process()).map(|turn| events(&turn)).sum::<usize>()
                    + kills
            }
        }
    }
}

fn acts(shape: Shape) -> BoxedStrategy<Act> {
    let every = [
        (8, Act::Respond),
        (2, Act::Drip),
        (2, Act::RespondTwice),
        (2, Act::RespondThenExit),
        (1, Act::RespondThenDaemon),
        (3, Act::Exit),
        (2, Act::ExitHalfway),
        (2, Act::Signal),
        (3, Act::Garbage),
        (2, Act::Hang),
        (2, Act::CloseReplies),
        (1, Act::TooLarge),
        (2, Act::RespondThenCloseStdin),
    ];
    let with_ids = [
        (2, Act::RespondLate),
        (3, Act::OwnError),
        (3, Act::Stream),
        (2, Act::StreamThenError),
        (2, Act::StreamThenExit),
        (2, Act::StreamThenGarbage),
    ];
    let drawn: Vec<(u32, Act)> = match shape {
        Shape::Oneshot => {
            let not_for_it = [Act::RespondTwice, Act::CloseReplies, Act::RespondThenCloseStdin];
            every.into_iter().filter(|(_, act)| !not_for_it.contains(act)).chain([(2, Act::Text), (1, Act::Nothing)]).collect()
        }
        Shape::Filter => every.into(),
        // Its threads write at the same time, so that only what goes out in one write stays whole: half a reply of one may be
        // completed by the reply of another before the process ends.
        Shape::AtOnce => every
            .into_iter()
            .filter(|(_, act)| ![Act::Drip, Act::TooLarge, Act::ExitHalfway, Act::RespondThenCloseStdin].contains(act))
            .chain(with_ids)
            .collect(),
        // What is too large goes to stdout, where fd 3 has the replies.
        Shape::Descriptor3 => {
            every.into_iter().filter(|(_, act)| ![Act::Drip, Act::TooLarge].contains(act)).chain(with_ids).collect()
        }
        Shape::Lines | Shape::Processes => every.into_iter().chain(with_ids).collect(),
    };
    proptest::strategy::Union::new_weighted(drawn.into_iter().map(|(weight, act)| (weight, Just(act).boxed())).collect()).boxed()
}

fn turns(shape: Shape) -> impl Strategy<Value = Turn> {
    let noise = prop_oneof![
        4 => Just(Noise::Silence),
        4 => Just(Noise::Line),
        2 => Just(Noise::Stdout),
        1 => Just(Noise::Flood),
        1 => Just(Noise::Long),
        1 => Just(Noise::Posing),
    ];
    let delivery = prop_oneof![
        10 => Just(Delivery::Whole),
        1 => Just(Delivery::Chunked),
        1 => Just(Delivery::Drip),
        1 => Just(Delivery::UntilClose),
        1 => Just(Delivery::AfterServerError),
        1 => Just(Delivery::AfterReset),
        1 => Just(Delivery::AfterHangUp),
        1 => Just(Delivery::AfterHalf),
        1 => Just(Delivery::AfterNoRequestId),
    ];
    let clock =
        prop_oneof![6 => Just(Clock::Right), 1 => Just(Clock::Missing), 1 => Just(Clock::Unreadable), 1 => Just(Clock::Past)];
    (acts(shape), noise, delivery, clock, any::<bool>(), prop::bool::weighted(0.15)).prop_map(
        move |(act, noise, delivery, clock, pretty, again)| {
            // What comes too late for the first delivery would be an answer to the second; and of several at once, either could be
            // reported first.
            let again = again && ![Act::RespondTwice, Act::RespondLate].contains(&act) && shape.concurrency() == 1;
            // Threads that write much at the same time tear each other's lines, and fd 2 is nobody's.
            let noise = if shape == Shape::AtOnce && matches!(noise, Noise::Flood | Noise::Long) { Noise::Line } else { noise };
            // A short deadline would be over before the last drop, and is not enforced then.
            let delivery = if act == Act::Hang && matches!(delivery, Delivery::Drip) { Delivery::Whole } else { delivery };
            Turn { act, noise, delivery, clock, pretty, again }
        },
    )
}

/// The script of a long run in which most goes well.
pub(super) fn mixture(shape: Shape) -> impl Strategy<Value = Script> {
    let plain =
        |act| Turn { act, noise: Noise::Silence, delivery: Delivery::Whole, clock: Clock::Right, pretty: false, again: false };
    let logged = |act| Turn { noise: Noise::Line, ..plain(act) };
    let turn = prop_oneof![
        40 => Just(plain(Act::Respond)),
        20 => Just(logged(Act::Respond)),
        2 => turns(shape).prop_filter("nothing that is there until bootstrap ends", |turn| turn.act != Act::RespondThenDaemon),
    ];
    let turns = prop::collection::vec(turn, 100);
    let verdicts = prop::collection::vec(verdicts(), 20);
    (turns, verdicts).prop_map(move |(turns, verdicts)| Script { shape, json_log: true, turns, verdicts, meddling: Vec::new() })
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        12 => Just(Verdict::Accepted),
        2 => prop::sample::select(vec![400, 403, 410, 413]).prop_map(Verdict::Refused),
        2 => Just(Verdict::ServerError),
        1 => Just(Verdict::Reset),
        1 => Just(Verdict::HungUp),
    ]
}

fn meddling() -> impl Strategy<Value = (u64, Meddling)> {
    let what = prop_oneof![
        2 => (1..60_u64).prop_map(Meddling::StopsBootstrap),
        2 => (1..60_u64).prop_map(Meddling::StopsHandler),
        1 => Just(Meddling::KillsHandler),
    ];
    (0..120_u64, what)
}

/// Any script.
pub(super) fn scripts() -> impl Strategy<Value = Script> {
    let shapes = prop_oneof![
        4 => Just(Shape::Lines),
        2 => Just(Shape::Descriptor3),
        2 => Just(Shape::Processes),
        2 => Just(Shape::AtOnce),
        2 => Just(Shape::Filter),
        2 => Just(Shape::Oneshot),
    ];
    shapes.prop_flat_map(|shape| {
        let most = if shape.concurrency() > 1 { 8 } else { 6 };
        let turns = prop::collection::vec(turns(shape), 1..most);
        let verdicts = prop::collection::vec(verdicts(), 0..10);
        let meddling = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(meddling(), 1..4)];
        (any::<bool>(), turns, verdicts, meddling).prop_map(move |(json_log, turns, verdicts, meddling)| Script {
            shape,
            json_log,
            turns,
            verdicts,
            meddling,
        })
    })
}
