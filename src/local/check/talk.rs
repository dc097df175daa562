//! Talks to a handler on its own channels: what a runtime between would hide, or mend.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rustix::process::Signal;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::channels::{Channel, Channels};
use super::seen::{Afterwards, Crowd, End, Mode, Talk};
use super::tree;
use crate::local::function::Function;
use crate::local::id;
use crate::protocol::reply::{self, Line, Reply, Source, Standing};

/// How many events a handler that takes several gets at a time, at most.
const CROWD: u32 = 8;

/// After how many replies what is written then is looked at.
const LOOKS: usize = 3;

/// How long a handler that does nothing is watched for what it does later, by a timer.
const LATER: Duration = Duration::from_secs(1);

/// How long what a handler has left behind may take to be gone by itself, on a machine that is busy.
const LINGER: Duration = Duration::from_secs(2);

/// How much of a line is shown.
const SHOWN: usize = 160;

/// The trace of each event, in X-Ray's form and in W3C's.
const TRACE_ID: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const TRACEPARENT: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";

/// A handler and what it owes.
struct Dialogue<'a> {
    function: &'a Function,
    mode: Mode,
    /// All that the handler writes comes on one channel.
    merged: bool,
    channels: Channels,
    /// Its process has answered nothing yet, so the time that its start takes is still to come.
    is_fresh: bool,
    /// The messages without an answer, and whether their streams are open.
    owed: BTreeMap<String, bool>,
    past: HashSet<String>,
    /// The messages that ask for nothing.
    idle: HashSet<String>,
    answers: BTreeMap<String, Bytes>,
    /// Descriptor 3 has been used, so stdout is logs.
    uses_reply_fd: bool,
    /// A filter's response to the sample event, where it is always the same.
    response: Option<Bytes>,
    talk: Talk,
    to_nothing: Vec<String>,
    logs: Vec<String>,
}

/// Everything that one process can show: the answers to odd messages, stray lines, its end at the end of stdin.
///
/// # Errors
/// When this machine gives no process, pipe or random bytes.
pub async fn observe(function: &Function, mode: Mode, sample: &str, bystanders: &[i32]) -> anyhow::Result<Talk> {
    if mode == Mode::OneShot {
        let function = with_context(function)?;
        let mut dialogue = Dialogue::start(&function, mode, false)?;
        dialogue.channels.write(sample.as_bytes(), function.timeout).await;
        return dialogue.finish(bystanders).await;
    }
    let mut dialogue = Dialogue::start(function, mode, false)?;
    if mode == Mode::JsonLines {
        // The runtime watches for the moment when this is read.
        dialogue.channels.write(b" ", function.timeout).await;
    }
    dialogue.talk.answered = dialogue.ask(sample).await?;
    dialogue.channels.rest().await;
    dialogue.absorb();
    if dialogue.talk.answered && mode == Mode::Filter {
        dialogue.revive().await?;
        let first = dialogue.answers.values().next().cloned();
        dialogue.answers.clear();
        dialogue.ask(sample).await?;
        dialogue.channels.rest().await;
        dialogue.absorb();
        dialogue.talk.response = first.filter(|first| dialogue.answers.values().eq([first]));
    }
    if dialogue.talk.answered && mode == Mode::JsonLines {
        dialogue.revive().await?;
        let request = id::uuid().context("no random bytes")?;
        let message = dialogue.message(&request, sample, r#","unknownMember":{"id":"unknown","list":[1,null]}"#);
        let message = message.replacen("\"context\":{", "\"context\":{\"unknownMember\":[{\"id\":\"unknown\"}],", 1);
        dialogue.talk.unknown_answered = Some(dialogue.say(request, &message).await);
        dialogue.channels.rest().await;
        dialogue.absorb();
        dialogue.revive().await?;
        let request = id::uuid().context("no random bytes")?;
        let nothing = format!("\n \n{{\"unknownMember\":true}}\n{{\"id\":\"{request}\",\"context\":{{}}}}\n");
        dialogue.idle.insert(request);
        dialogue.channels.write(nothing.as_bytes(), function.timeout).await;
        if !dialogue.ask(sample).await? {
            dialogue.to_nothing.push("no answer to the event after them".to_owned());
        }
        dialogue.channels.rest().await;
        dialogue.absorb();
        let lines = std::mem::take(&mut dialogue.to_nothing);
        dialogue.talk.to_nothing = Some(lines);
    }
    dialogue.note_unfinished();
    dialogue.revive().await?;
    if dialogue.is_fresh && dialogue.talk.answered {
        // Its end is to come between two events.
        dialogue.ask(sample).await?;
        dialogue.channels.rest().await;
        dialogue.revive().await?;
    }
    dialogue.finish(bystanders).await
}

/// What comes after replies, on one pipe, so that the order is certain; then the end at SIGTERM. A filter's response is told from
/// its log lines by what it is: that has to be known.
///
/// # Errors
/// When this machine gives no process, pipe or random bytes.
pub async fn afterwards(function: &Function, mode: Mode, sample: &str, response: Option<Bytes>) -> anyhow::Result<Afterwards> {
    let mut dialogue = Dialogue::start(function, mode, true)?;
    dialogue.response = response;
    if mode == Mode::JsonLines {
        dialogue.channels.write(b" ", function.timeout).await;
    }
    let mut after = Afterwards { lines: Vec::new(), repeated: Vec::new(), end: None };
    for look in 1..=LOOKS {
        dialogue.revive().await?;
        if !dialogue.ask(sample).await? {
            return Ok(after);
        }
        dialogue.channels.rest().await;
        if look == LOOKS {
            tokio::time::sleep(LATER).await;
        }
        dialogue.absorb();
        after.repeated.append(&mut dialogue.talk.repeated);
        after.lines.append(&mut dialogue.logs);
        if let Some((_, text)) = dialogue.channels.unfinished() {
            after.lines.push(shown(text.as_bytes()));
        }
    }
    dialogue.revive().await?;
    after.end = Some(dialogue.terminate().await);
    Ok(after)
}

/// The end at SIGTERM of a filter.
///
/// # Errors
/// When this machine gives no process, pipe or random bytes.
pub async fn terminated(function: &Function, sample: &str) -> anyhow::Result<Afterwards> {
    let mut dialogue = Dialogue::start(function, Mode::Filter, false)?;
    let mut after = Afterwards { lines: Vec::new(), repeated: Vec::new(), end: None };
    if dialogue.ask(sample).await? {
        dialogue.channels.rest().await;
        dialogue.revive().await?;
        after.end = Some(dialogue.terminate().await);
    }
    Ok(after)
}

/// As many events at a time as a handler says that it takes. Two contents that have answers of their own, where there are
/// such, show whether each answer has the right id.
///
/// # Errors
/// When this machine gives no process, pipe or random bytes.
pub async fn crowd(function: &Function, sample: &str, concurrency: u32) -> anyhow::Result<Crowd> {
    let mut dialogue = Dialogue::start(function, Mode::JsonLines, false)?;
    let mut alone = Vec::new();
    // What a handler makes of these has been told by other rules.
    let other = if sample.trim() == "null" { "{}" } else { "null" };
    let mut contents = [sample, other];
    for event in contents {
        dialogue.revive().await?;
        let (mut first, mut second) = (None, None);
        for answer in [&mut first, &mut second] {
            let request = id::uuid().context("no random bytes")?;
            let message = dialogue.message(&request, event, "");
            if dialogue.say(request.clone(), &message).await {
                *answer = dialogue.answers.get(&request).cloned();
            }
        }
        if event == other && !(dialogue.owed.is_empty() && dialogue.channels.live()) {
            contents = [sample; 2];
        }
        alone.push(first.filter(|first| Some(first) == second.as_ref()));
    }
    // It has said how many events it takes before its first answer.
    dialogue.revive().await?;
    if dialogue.is_fresh {
        dialogue.ask(sample).await?;
    }
    let differ = contents[0] != contents[1] && matches!(&alone[..], [Some(one), Some(other)] if one != other);

    let events = usize::try_from(concurrency.min(CROWD)).unwrap_or(1);
    let mut messages = String::new();
    let mut asked = Vec::new();
    for number in 0..events {
        let request = id::uuid().context("no random bytes")?;
        let which = number % 2;
        messages += &dialogue.message(&request, contents[which], "");
        dialogue.owed.insert(request.clone(), false);
        asked.push((request, which));
    }
    dialogue.channels.write(messages.as_bytes(), function.timeout).await;
    dialogue.settle(Instant::now() + function.timeout).await;
    dialogue.channels.rest().await;
    dialogue.absorb();
    let mut crowd = Crowd { events, answered: 0, odd: Vec::new(), swapped: None };
    for (request, which) in asked {
        let Some(answer) = dialogue.answers.get(&request) else { continue };
        crowd.answered += 1;
        if differ && crowd.swapped.is_none() && alone[which].as_ref() != Some(answer) && alone[1 - which].as_ref() == Some(answer) {
            let due = alone[which].as_deref().unwrap_or_default();
            crowd.swapped = Some((shown(answer), shown(due)));
        }
    }
    crowd.odd.append(&mut dialogue.talk.foreign);
    crowd.odd.append(&mut dialogue.talk.repeated);
    Ok(crowd)
}

impl<'a> Dialogue<'a> {
    fn start(function: &'a Function, mode: Mode, merged: bool) -> anyhow::Result<Self> {
        Ok(Dialogue {
            function,
            mode,
            merged,
            channels: Channels::start(function, merged).context("can't start the handler")?,
            is_fresh: true,
            owed: BTreeMap::new(),
            past: HashSet::new(),
            idle: HashSet::new(),
            answers: BTreeMap::new(),
            uses_reply_fd: false,
            response: None,
            talk: Talk { concurrency: 1, ..Talk::default() },
            to_nothing: Vec::new(),
            logs: Vec::new(),
        })
    }

    /// The line for an event, with something before the closing brace.
    fn message(&self, request: &str, event: &str, more: &str) -> String {
        let event = event.replace(['\n', '\r'], " ");
        if self.mode == Mode::Filter {
            return event + "\n";
        }
        let context = self.context();
        format!("{{\"id\":\"{request}\",\"context\":{{{context}}},\"event\":{event}{more}}}\n")
    }

    /// The members that Lambda's every message has in its context, after an opening brace.
    fn context(&self) -> String {
        let mut context = format!("\"deadlineMs\":{}", epoch_ms(self.limit()));
        let variable = |name| self.function.variable(name);
        for (name, value) in [
            ("invokedFunctionArn", self.function.arn.as_str()),
            ("traceId", TRACE_ID),
            ("traceparent", TRACEPARENT),
            ("functionName", variable("AWS_LAMBDA_FUNCTION_NAME")),
            ("functionVersion", variable("AWS_LAMBDA_FUNCTION_VERSION")),
            ("memoryLimitInMB", variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")),
            ("logGroupName", variable("AWS_LAMBDA_LOG_GROUP_NAME")),
            ("logStreamName", variable("AWS_LAMBDA_LOG_STREAM_NAME")),
        ] {
            context += &format!(",\"{name}\":{}", serde_json::json!(value));
        }
        context
    }

    /// How long an answer may take.
    fn limit(&self) -> Duration {
        self.function.timeout + if self.is_fresh { self.function.init_limit } else { Duration::ZERO }
    }

    /// A fresh process in the place of one that has ended or hangs: what is tried next is not to suffer from what was tried
    /// before, and one that ends after its reply does no wrong.
    async fn revive(&mut self) -> anyhow::Result<()> {
        if self.owed.is_empty() && self.channels.live() {
            return Ok(());
        }
        self.note_unfinished();
        self.owed.clear();
        self.channels = Channels::start(self.function, self.merged).context("can't start the handler")?;
        self.is_fresh = true;
        if self.mode == Mode::JsonLines {
            self.channels.write(b" ", self.function.timeout).await;
        }
        self.channels.rest().await;
        Ok(())
    }

    /// Notes what stands in a channel without a newline.
    fn note_unfinished(&mut self) {
        let unfinished = self.channels.unfinished().map(|(_, text)| shown(text.as_bytes()));
        self.talk.unfinished = self.talk.unfinished.take().or(unfinished);
    }

    /// Sends an event and waits for its answer. Whether that came.
    async fn ask(&mut self, event: &str) -> anyhow::Result<bool> {
        let request = id::uuid().context("no random bytes")?;
        let message = self.message(&request, event, "");
        Ok(self.say(request, &message).await)
    }

    async fn say(&mut self, request: String, message: &str) -> bool {
        let limit = self.limit();
        let end = Instant::now() + limit;
        self.owed.insert(request, false);
        self.channels.write(message.as_bytes(), limit).await;
        self.settle(end).await
    }

    /// Waits until nothing is owed. Whether it came to that.
    async fn settle(&mut self, end: Instant) -> bool {
        loop {
            self.absorb();
            if self.owed.is_empty() {
                return true;
            }
            if self.channels.have_ended() || !self.channels.hears(end).await {
                self.absorb();
                return self.owed.is_empty();
            }
        }
    }

    /// Takes in what has come.
    fn absorb(&mut self) {
        while let Some((channel, line)) = self.channels.take_line() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.uses_reply_fd |= channel == Channel::ReplyFd;
            match (self.mode, channel) {
                (_, Channel::Stderr) | (Mode::OneShot, _) => {}
                (Mode::Filter, _) if self.merged && self.response.as_ref() != Some(&line) => self.logs.push(shown(&line)),
                (Mode::Filter, _) if self.merged => {
                    // A log line may be the same as the response: what comes after the last of them is what counts.
                    self.logs.clear();
                    if let Some((request, _)) = self.owed.pop_first() {
                        self.conclude(request, line);
                    }
                }
                (Mode::JsonLines, Channel::Stdout) if self.merged => self.reply(&after_a_log(line), Source::Stdout),
                (Mode::JsonLines, Channel::Stdout) => self.reply(&line, Source::Stdout),
                (Mode::JsonLines, Channel::ReplyFd) => self.reply(&line, Source::ReplyFd),
                (Mode::Filter, Channel::Stdout) if self.uses_reply_fd => {}
                (Mode::Filter, _) => match self.owed.pop_first() {
                    Some((request, _)) => self.conclude(request, line),
                    // Lines before the first message are log lines.
                    None if self.past.is_empty() => {}
                    None => self.talk.repeated.push(shown(&line)),
                },
            }
        }
    }

    fn reply(&mut self, line: &Bytes, source: Source) {
        let standing = |id: &str| match self.owed.get(id) {
            Some(&streaming) => Standing::InFlight { streaming },
            None if self.past.contains(id) || self.idle.contains(id) => Standing::Past,
            None => Standing::Unknown,
        };
        match reply::read(line, source, standing) {
            Line::Reply(id, Reply::Stream(_)) => drop(self.owed.insert(id, true)),
            Line::Reply(_, Reply::Chunk(_)) => {}
            Line::Reply(id, Reply::Response(value)) => {
                self.owed.remove(&id);
                self.conclude(id, value);
            }
            Line::Reply(id, Reply::Error(_) | Reply::End) | Line::Malformed(id, _) => {
                self.owed.remove(&id);
                // Its error is told apart from others by its kind only: times and ids may stand in it.
                self.conclude(id, Bytes::from_static(b"an error"));
            }
            Line::Stale { id, .. } if self.idle.contains(&id) => self.to_nothing.push(shown(line)),
            Line::Stale { id, .. } if self.past.contains(&id) => self.talk.repeated.push(shown(line)),
            Line::Stale { .. } => self.talk.foreign.push(shown(line)),
            Line::Ready { concurrency, .. } => self.talk.concurrency = concurrency,
            Line::NotReady(_) | Line::Surplus => {}
            Line::Garbage(what) => self.talk.stray.push(what),
            Line::Log => self.log(line),
        }
    }

    /// A line that the runtime takes for a log line, and whether it was meant to be one.
    fn log(&mut self, line: &[u8]) {
        self.logs.push(shown(line));
        let members: Option<BTreeMap<String, IgnoredAny>> = serde_json::from_slice(line).ok();
        let text = String::from_utf8_lossy(line);
        match members {
            Some(members) => {
                let has = |name| members.contains_key(name);
                let replies = ["response", "stream", "chunk", "chunkBase64", "end"].into_iter().any(has);
                // A log line of JSON may have an id, and an error or an end of its own; a reply has nothing besides.
                if has("id") && (replies || has("error")) && members.len() == 2 {
                    self.talk.foreign.push(shown(line));
                } else if (replies && members.len() == 1) || (has("ready") && begins_with(&text, "\"ready\"")) {
                    self.talk.stray.push(shown(line));
                }
            }
            None => {
                // Text about an event may have its id, and the word; an object's member is in quotes.
                let known = self.owed.keys().chain(&self.past).any(|id| text.contains(id.as_str()));
                let members = ["\"response\"", "'response'", "\"chunk", "'chunk"];
                if known && text.contains('{') && members.iter().any(|member| text.contains(member)) {
                    self.talk.stray.push(shown(line));
                }
            }
        }
    }

    fn conclude(&mut self, request: String, answer: Bytes) {
        self.logs.clear();
        self.is_fresh = false;
        self.answers.insert(request.clone(), answer);
        self.past.insert(request);
    }

    /// The end of stdin, and what is there after its end.
    async fn finish(mut self, bystanders: &[i32]) -> anyhow::Result<Talk> {
        let limit = self.function.timeout;
        self.channels.close();
        let ended = self.channels.ends(limit).await;
        self.talk.end = Some(End { waited: limit, ended });
        if ended {
            self.talk.left = left(bystanders).await;
        }
        Ok(std::mem::take(&mut self.talk))
    }

    /// What the runtime does at its end: the end of stdin, SIGTERM, and a while.
    async fn terminate(&mut self) -> End {
        self.channels.close();
        self.channels.signal(Signal::TERM);
        let waited = self.function.grace;
        End { waited, ended: self.channels.ends_at_work(waited).await }
    }
}

/// The function with the context in its environment, as a one-shot program gets it.
fn with_context(function: &Function) -> anyhow::Result<Function> {
    let mut function = function.clone();
    for (name, value) in [
        ("AWS_LAMBDA_REQUEST_ID", id::uuid().context("no random bytes")?),
        ("AWS_LAMBDA_DEADLINE_MS", epoch_ms(function.timeout).to_string()),
        ("AWS_LAMBDA_INVOKED_FUNCTION_ARN", function.arn.clone()),
        ("_X_AMZN_TRACE_ID", TRACE_ID.to_owned()),
        ("TRACEPARENT", TRACEPARENT.to_owned()),
    ] {
        function.environment.insert(name.into(), value.into());
    }
    Ok(function)
}

/// The processes that a handler has left, which are ended; `None` where there is no telling.
async fn left(bystanders: &[i32]) -> Option<String> {
    let alive = || {
        let mut processes = tree::ours_but(bystanders)?;
        processes.retain(|process| !process.is_zombie);
        Some(processes)
    };
    let end = Instant::now() + LINGER;
    while !alive()?.is_empty() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let processes = alive()?;
    tree::signal(&processes, Signal::KILL);
    Some(tree::names(&processes))
}

/// The reply in a line of all channels, which may begin with log output that has no newline: another rule's affair.
fn after_a_log(line: Bytes) -> Bytes {
    match memchr::memmem::find(&line, b"{\"id\":") {
        Some(start) if !line.starts_with(b"{") => line.slice(start..),
        _ => line,
    }
}

/// The epoch's milliseconds so much later.
fn epoch_ms(later: Duration) -> u128 {
    let now = std::time::SystemTime::now() + later;
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// Whether an object's first member is this one: a log line of JSON may have such a member among others.
fn begins_with(object: &str, member: &str) -> bool {
    object.trim_start().strip_prefix('{').is_some_and(|members| members.trim_start().starts_with(member))
}

/// The beginning of a line, for people.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
