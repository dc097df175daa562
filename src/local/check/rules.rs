//! The rules, as data: what each demands, how to mend what breaks it, and how it judges what was seen.

use super::events::Kind;
use super::seen::{End, Freeze, Mode, Outcome, Seen};

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name, for scripts.
    pub id: &'static str,
    /// What it demands.
    pub sentence: &'static str,
    /// How to mend what breaks it.
    pub mend: &'static str,
    /// Judges what was seen.
    pub judge: fn(&Seen) -> Verdict,
}

/// What a rule says of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept, and what else there is to say.
    Kept(Option<String>),
    /// It is broken: what was sent or done, and what came.
    Broken {
        /// What was sent or done.
        sent: String,
        /// What came.
        came: String,
    },
    /// It does not apply, and why.
    DoesNotApply(&'static str),
}

use Verdict::{DoesNotApply, Kept};

const NO_ANSWER: &str = "not tried, since the sample event is not answered";
const OWN_PROCESS: &str = "in mode oneshot each event has a process of its own";
const ONLY_JSONL: &str = "only mode jsonl has it";
const NO_PROC: &str = "it can't be seen on this system, which has no /proc";
const READ_AS_A_LINE: &str = "Read stdin line by line, split at \\n alone, and decode each line as UTF-8.";
const REFUSE: &str = "Answer what you don't understand with an error reply (in filter and oneshot: end with an exit status), and catch \
                      what your code throws, around each event.";

/// All rules, in the order in which they are told.
pub const RULES: [Rule; 28] = [
    Rule {
        id: "start",
        sentence: "It starts within Lambda's init phase",
        mend: "Where it ends, see `bootstrap invoke` for its log; else read stdin, or say {\"ready\":true}, within 10 seconds, and put \
               off slow work until the first event.",
        judge: |seen| {
            let sent = "the start of the handler".to_owned();
            let Seen { start, .. } = seen;
            if let Some(error) = &start.error {
                return Verdict::Broken { sent, came: error.clone() };
            }
            if let Some(warning) = &start.warning {
                return Verdict::Broken { sent, came: warning.clone() };
            }
            if start.took > start.limit {
                return Verdict::Broken { sent, came: format!("it was not ready in {:.1} seconds", start.limit.as_secs_f64()) };
            }
            Kept(Some(format!("ready in {} ms", start.took.as_millis())))
        },
    },
    Rule {
        id: "answer",
        sentence: "It answers the sample event",
        mend: "Flush stdout after each reply, since a pipe is buffered; give an event that it understands with --event, and longer \
               with --timeout; `bootstrap invoke` shows its log.",
        judge: |seen| answered("the sample event", Some(&seen.sample)),
    },
    Rule {
        id: "event-unicode",
        sentence: "It answers an event with text of all planes",
        mend: READ_AS_A_LINE,
        judge: |seen| event(seen, Kind::Unicode),
    },
    Rule {
        id: "event-escapes",
        sentence: "It answers an event with every escape of JSON's",
        mend: "Read and write JSON with a library that knows all escapes, and that lives with lone surrogates.",
        judge: |seen| event(seen, Kind::Escapes),
    },
    Rule {
        id: "event-numbers",
        sentence: "It answers an event with numbers that no double holds",
        mend: REFUSE,
        judge: |seen| event(seen, Kind::Numbers),
    },
    Rule {
        id: "event-deep",
        sentence: "It answers an event that is deeply nested",
        mend: "A parser that recurses too deep must throw, not crash; take the id from the start of the line and reply with an error.",
        judge: |seen| event(seen, Kind::Deep),
    },
    Rule { id: "event-null", sentence: "It answers the event null", mend: REFUSE, judge: |seen| event(seen, Kind::Null) },
    Rule {
        id: "event-scalar",
        sentence: "It answers an event that is a bare number",
        mend: REFUSE,
        judge: |seen| event(seen, Kind::Scalar),
    },
    Rule { id: "event-empty", sentence: "It answers an empty object", mend: REFUSE, judge: |seen| event(seen, Kind::EmptyObject) },
    Rule {
        id: "event-large",
        sentence: "It answers an event of 6 MB",
        mend: "Put no limit on a line's length, or one over 8 MiB, and read it without going over it byte by byte; \
               --timeout gives it longer.",
        judge: |seen| event(seen, Kind::Large),
    },
    Rule {
        id: "event-pretty",
        sentence: "It answers a pretty-printed event",
        mend: "Its newlines come as spaces between the tokens: skip white space wherever JSON allows it.",
        judge: |seen| event(seen, Kind::Pretty),
    },
    Rule {
        id: "event-not-json",
        sentence: "It answers an event that is not JSON",
        mend: "Such an event comes as \"eventBase64\" in the place of \"event\": decode it, or reply with an error.",
        judge: |seen| match seen.mode {
            Mode::Filter => DoesNotApply("in mode filter such an event never reaches the handler"),
            _ => event(seen, Kind::NotJson),
        },
    },
    Rule {
        id: "same-event",
        sentence: "It answers two events with the same content",
        mend: "What ties a reply to its event is the id alone: never drop an event because its content has been seen.",
        judge: |seen| answered("the sample event a second time", seen.twin.as_ref()),
    },
    Rule {
        id: "many-events",
        sentence: "It answers a thousand events in a row",
        mend: "Look for what each event uses up: descriptors, processes, threads, connections.",
        judge: |seen| match &seen.row {
            None => DoesNotApply(NO_ANSWER),
            Some(row) => match &row.fault {
                Some(fault) => broken(format!("the sample event for the {}. time", row.answered + 1), fault),
                None if row.answered < row.wanted => Kept(Some(format!("{} of them, then time was up", row.answered))),
                None if row.wanted < 1000 => Kept(Some(format!("{} of them, each with a process of its own", row.answered))),
                None => Kept(None),
            },
        },
    },
    Rule {
        id: "memory",
        sentence: "Its memory does not grow with the number of events",
        mend: "Keep nothing of an event after its reply; bound your caches, and a collected heap (as -Xmx does) to the function's \
               memory.",
        judge: memory,
    },
    Rule {
        id: "zombies",
        sentence: "It waits for the processes that it starts",
        mend: "Wait for each process that you start, or let a library do it.",
        judge: |seen| match &seen.row {
            _ if seen.mode == Mode::OneShot => DoesNotApply(OWN_PROCESS),
            None => DoesNotApply(NO_ANSWER),
            Some(row) => match row.zombies {
                None => DoesNotApply(NO_PROC),
                Some(0) => Kept(None),
                Some(zombies) => Verdict::Broken {
                    sent: format!("the sample event {} times", row.answered),
                    came: format!("{zombies} of its processes had ended and were waited for by nobody"),
                },
            },
        },
    },
    Rule {
        id: "unknown-members",
        sentence: "It ignores members that it does not know",
        mend: "Take id, context and event by their names, and leave all other members alone, in the context too.",
        judge: |seen| match seen.talk.as_ref().map(|talk| talk.unknown_answered) {
            _ if seen.mode != Mode::JsonLines => DoesNotApply(ONLY_JSONL),
            None | Some(None) => DoesNotApply(NO_ANSWER),
            _ if matches!(seen.sample, Outcome::Fault(..)) => DoesNotApply(NO_ANSWER),
            Some(Some(true)) => Kept(None),
            Some(Some(false)) => Verdict::Broken {
                sent: "a message with an unknown member after its event, and one in its context".to_owned(),
                came: "no reply".to_owned(),
            },
        },
    },
    Rule {
        id: "no-event",
        sentence: "It ignores blank lines and messages without an event",
        mend: "Skip a line that is blank, and a message that has neither event nor eventBase64.",
        judge: |seen| match seen.talk.as_ref().and_then(|talk| talk.to_nothing.as_ref()) {
            _ if seen.mode != Mode::JsonLines => DoesNotApply(ONLY_JSONL),
            None => DoesNotApply(NO_ANSWER),
            _ if matches!(seen.sample, Outcome::Fault(..)) => DoesNotApply(NO_ANSWER),
            Some(lines) => none_of(lines, "two blank lines, {\"unknownMember\":true}, and a message without an event"),
        },
    },
    Rule {
        id: "reply-ids",
        sentence: "Its replies have the id of their message",
        mend: "Copy the id from the message into the reply as it is.",
        judge: |seen| match &seen.talk {
            _ if seen.mode != Mode::JsonLines => DoesNotApply(ONLY_JSONL),
            None => DoesNotApply(NO_ANSWER),
            Some(talk) => none_of_answered(talk.answered, &talk.foreign),
        },
    },
    Rule {
        id: "one-reply",
        sentence: "It sends one reply for each event, and none later",
        mend: "Send the reply once, when all is done; nothing may send it again.",
        judge: |seen| match &seen.talk {
            _ if seen.mode == Mode::OneShot => DoesNotApply(OWN_PROCESS),
            None => DoesNotApply(NO_ANSWER),
            Some(talk) => {
                let later = seen.afterwards.iter().flat_map(|afterwards| &afterwards.repeated);
                let all: Vec<String> = talk.repeated.iter().chain(later).chain(&seen.warnings).cloned().collect();
                none_of_answered(talk.answered, &all)
            }
        },
    },
    Rule {
        id: "stray-lines",
        sentence: "Nothing that it prints looks like a reply and is none",
        mend: "Print to stderr, or reply on descriptor 3 (BOOTSTRAP_REPLY_FD); write replies as JSON, with a library.",
        judge: |seen| match &seen.talk {
            _ if seen.mode != Mode::JsonLines => DoesNotApply(ONLY_JSONL),
            None => DoesNotApply(NO_ANSWER),
            Some(talk) => none_of_answered(talk.answered, &talk.stray),
        },
    },
    Rule {
        id: "log-before-reply",
        sentence: "It logs before its reply, and nothing between events",
        mend: "Reply last: Lambda freezes the process after it, and a line from then on counts as another invocation's.",
        judge: |seen| match &seen.afterwards {
            _ if seen.mode == Mode::OneShot => DoesNotApply(OWN_PROCESS),
            None => DoesNotApply(NO_ANSWER),
            // Without it there is no order to be seen.
            Some(_) if seen.mode == Mode::Filter && seen.talk.as_ref().is_none_or(|talk| talk.response.is_none()) => {
                DoesNotApply("in mode filter it is seen only where the same event has the same response")
            }
            Some(afterwards) => none_of_answered(afterwards.end.is_some(), &afterwards.lines),
        },
    },
    Rule {
        id: "log-lines",
        sentence: "It ends its log lines with a newline",
        mend: "End what you log with \\n, and flush it: the rest waits for the next line, maybe another invocation's.",
        judge: |seen| match &seen.talk {
            _ if seen.mode == Mode::OneShot => DoesNotApply("in mode oneshot its end ends the line"),
            None => DoesNotApply(NO_ANSWER),
            Some(talk) => match &talk.unfinished {
                Some(text) => Verdict::Broken { sent: "the sample event".to_owned(), came: text.clone() },
                None if !talk.answered && seen.mode != Mode::OneShot => DoesNotApply(NO_ANSWER),
                None => Kept(None),
            },
        },
    },
    Rule {
        id: "end-of-stdin",
        sentence: "It ends at the end of stdin, and nothing of it stays",
        mend: "Leave the loop when stdin ends, end your threads, and end the processes that you have started.",
        judge: |seen| match &seen.talk {
            None => DoesNotApply(NO_ANSWER),
            Some(talk) => match (&talk.end, &talk.left) {
                (Some(end), _) if !end.ended => still_there(end, "the end of stdin"),
                (_, Some(left)) if !left.is_empty() => {
                    Verdict::Broken { sent: "the end of stdin".to_owned(), came: format!("it ended, and left behind {left}") }
                }
                _ => Kept(None),
            },
        },
    },
    Rule {
        id: "sigterm",
        sentence: "It ends at SIGTERM within the grace period",
        mend: "End at SIGTERM, or at the end of stdin that comes with it; --stop-grace-ms gives it longer.",
        judge: |seen| match seen.afterwards.as_ref().and_then(|afterwards| afterwards.end.as_ref()) {
            _ if seen.mode == Mode::OneShot => DoesNotApply(OWN_PROCESS),
            None => DoesNotApply(NO_ANSWER),
            Some(end) if end.ended => Kept(None),
            Some(end) => still_there(end, "SIGTERM and the end of stdin"),
        },
    },
    Rule {
        id: "freeze",
        sentence: "It survives a freeze between two events",
        mend: "Let no watchdog or heartbeat end the process: the clock jumps while Lambda has it frozen.",
        judge: |seen| match &seen.freeze {
            _ if seen.mode == Mode::OneShot => DoesNotApply(OWN_PROCESS),
            None => DoesNotApply(NO_ANSWER),
            Some(Freeze::Unseen) => DoesNotApply(NO_PROC),
            Some(Freeze::Thawed { is_same: false, .. }) => Verdict::Broken {
                sent: "SIGSTOP, a pause, SIGCONT".to_owned(),
                came: "the process ended, and another took its place".to_owned(),
            },
            Some(Freeze::Thawed { outcome, .. }) => answered("SIGSTOP, a pause, SIGCONT, the sample event", Some(outcome)),
        },
    },
    Rule {
        id: "deadline",
        sentence: "After an event that ran into its deadline, a fresh process answers",
        mend: "SIGKILL leaves no time to clear up: a lock or a socket of the process before must not stop the next one.",
        judge: |seen| match &seen.deadline {
            None if matches!(seen.freeze, Some(Freeze::Unseen)) => DoesNotApply(NO_PROC),
            None => DoesNotApply(NO_ANSWER),
            Some(outcome) => answered("an event that ran into its deadline, then the sample event", Some(outcome)),
        },
    },
    Rule {
        id: "concurrency",
        sentence: "It answers several events at a time, each with its own id",
        mend: "Keep an event's id with its work: no variable that all events share may hold it.",
        judge: |seen| match &seen.crowd {
            _ if seen.mode != Mode::JsonLines => DoesNotApply(ONLY_JSONL),
            None => DoesNotApply("it does not say that it takes more than one event at a time"),
            Some(crowd) => {
                let sent = format!("{} events at a time", crowd.events);
                if let Some((came, due)) = &crowd.swapped {
                    Verdict::Broken { sent, came: format!("{came} with the id of an event whose response is {due}") }
                } else if let Some(line) = crowd.odd.first() {
                    Verdict::Broken { sent, came: line.clone() }
                } else if crowd.answered < crowd.events {
                    Verdict::Broken { sent, came: format!("{} replies", crowd.answered) }
                } else {
                    Kept(Some(format!("{} at a time", crowd.events)))
                }
            }
        },
    },
];

/// A quarter of the events in a row and half of them may fill caches and heaps; more than so much after that is a leak, in KiB.
const GROWTH: u64 = 32 * 1024;

fn memory(seen: &Seen) -> Verdict {
    let row = match &seen.row {
        _ if seen.mode == Mode::OneShot => return DoesNotApply(OWN_PROCESS),
        None => return DoesNotApply(NO_ANSWER),
        Some(row) => row,
    };
    let Some([quarter, half, all]) = row.memory else {
        return DoesNotApply(
            "it was not measured: there were fewer than 200 events, its process did not last, or there is no /proc",
        );
    };
    let mb = |kib: u64| kib.div_ceil(1024);
    // A heap that grows once and then stays is no leak.
    if all > half + GROWTH && half > quarter + GROWTH / 4 {
        return Verdict::Broken {
            sent: format!("the sample event {} times", row.answered),
            came: format!("{} MB after a quarter of them, {} MB after half, {} MB at the end", mb(quarter), mb(half), mb(all)),
        };
    }
    Kept(Some(format!("{} MB after half of them, {} MB at the end", mb(half), mb(all))))
}

fn event(seen: &Seen, kind: Kind) -> Verdict {
    answered(kind.what(), seen.awkward.iter().find(|(tried, _)| *tried == kind).map(|(_, outcome)| outcome))
}

/// Whether there was an answer; an error of the handler's own is one.
fn answered(sent: &str, outcome: Option<&Outcome>) -> Verdict {
    match outcome {
        None => DoesNotApply(NO_ANSWER),
        Some(Outcome::Response) => Kept(None),
        Some(Outcome::Refused(error_type)) => Kept(Some(format!("with an error, {error_type}"))),
        Some(fault) => broken(sent.to_owned(), fault),
    }
}

fn broken(sent: String, outcome: &Outcome) -> Verdict {
    let came = match outcome {
        Outcome::Fault(error_type, message) => format!("{error_type}: {message}"),
        Outcome::Refused(error_type) => error_type.clone(),
        Outcome::Response => "a response".to_owned(),
    };
    Verdict::Broken { sent, came }
}

/// The same where the sample event was sent: that nothing odd came says something only where an answer did.
fn none_of_answered(answered: bool, lines: &[String]) -> Verdict {
    if !answered && lines.is_empty() { DoesNotApply(NO_ANSWER) } else { none_of(lines, "the sample event") }
}

fn none_of(lines: &[String], sent: &str) -> Verdict {
    match lines {
        [] => Kept(None),
        [line] => Verdict::Broken { sent: sent.to_owned(), came: line.clone() },
        [line, more @ ..] => Verdict::Broken { sent: sent.to_owned(), came: format!("{line} (and {} more)", more.len()) },
    }
}

fn still_there(end: &End, sent: &str) -> Verdict {
    Verdict::Broken { sent: sent.to_owned(), came: format!("it was still there after {:.1} seconds", end.waited.as_secs_f64()) }
}
