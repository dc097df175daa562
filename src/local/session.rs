//! The events of one command: run, several at a time where the function allows it, and their answers printed in order.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::answer::{Answer, Part, Told};
use super::console::Console;
use super::environment::{Environment, Invocation, Invoked};
use super::events::{Event, Events, Line, Lines, MAX_EVENT_BYTES, NoEvent};
use super::id;
use super::json::Place;
use super::summary::Summary;
use crate::cli;

/// The exit status where a line of the events is none.
const USAGE: u8 = 2;

/// The events of one command, and what has become of them so far.
#[derive(Debug)]
pub struct Session<'a> {
    options: &'a cli::Invoke,
    console: &'a Console,
    environment: &'a Arc<Environment>,
    summary: Summary,
}

/// Where an event of many is from.
#[derive(Debug)]
struct Origin {
    number: u64,
    /// Its end in the source, in bytes.
    end: u64,
    /// For people, before what is said about it.
    place: String,
}

/// What became of an event.
#[derive(Debug)]
enum Ran {
    Invoked(Invoked),
    /// It was not run: its size, if it is known.
    TooLarge(Option<u64>),
}

/// An event that is being run in a task of its own, so that its time is kept also while an answer before it waits to be
/// printed.
#[derive(Debug)]
struct Flight {
    origin: Origin,
    task: JoinHandle<anyhow::Result<Ran>>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why no more lines are taken.
#[derive(Debug)]
enum LastLine {
    /// There are none.
    OfAll,
    /// A line that is no event: where it is, what is wrong, and the text around it.
    NotJson(String, Place, String),
    /// The source can't be read any further than that place.
    Unreadable(String, io::Error),
}

impl<'a> Session<'a> {
    /// A session that has run nothing.
    pub fn new(options: &'a cli::Invoke, console: &'a Console, environment: &'a Arc<Environment>) -> Self {
        Session { options, console, environment, summary: Summary::default() }
    }

    /// Counts and latencies so far.
    pub fn into_summary(self) -> Summary {
        self.summary
    }

    /// Runs the events. The exit status: 0 when all were answered, 1 when one ended in an error, 2 when a line is no event.
    ///
    /// # Errors
    /// A fault of this machine's.
    pub async fn run(&mut self, events: Events) -> anyhow::Result<u8> {
        match events {
            Events::One(event, odd) => {
                if let Some(odd) = odd {
                    self.console.note(format!("bootstrap: {odd}")).await;
                }
                self.one(event).await?;
            }
            Events::Many(lines) => {
                if !self.many(lines).await? {
                    return Ok(USAGE);
                }
            }
        }
        Ok(u8::from(self.summary.errors() > 0))
    }

    /// Runs the only event. A streamed response is printed as it comes.
    async fn one(&mut self, event: Event) -> anyhow::Result<()> {
        // Room for one part: the next is taken from the runtime when this one is printed.
        let (stream, mut parts) = mpsc::channel(1);
        let print = async {
            let mut opened = false;
            while let Some(part) = parts.recv().await {
                match part {
                    Part::Opened(_) => opened = true,
                    Part::Chunk(bytes) => self.console.chunk(bytes).await,
                }
            }
            if opened {
                self.console.end_of_stream().await;
            }
            opened
        };
        let (ran, opened) = tokio::join!(self.begin(event, Some(stream))?, print);
        self.conclude(ran?, None, opened).await;
        Ok(())
    }

    /// Runs the events of many lines, and prints a line for each in their order. Returns whether all lines were events.
    ///
    /// From the oldest event that is not printed to the newest that is run there are at most as many as the function may have
    /// in flight. The first is alone until it has been delivered, since after a handler that does not start no other is run.
    async fn many(&mut self, lines: Lines) -> anyhow::Result<bool> {
        let name = lines.name.clone();
        let mut lines = lines.read().context("can't start a thread")?;
        let concurrency = usize::from(self.options.concurrency);
        let (mut flights, mut most) = (VecDeque::new(), 1);
        let mut last = None;
        while last.is_none() || !flights.is_empty() {
            tokio::select! {
                biased;
                ran = first(&mut flights), if !flights.is_empty() => {
                    let Some(mut flight) = flights.pop_front() else { continue };
                    let ran = ran?;
                    let never_started = self.summary.events() == 0 && ran.never_started();
                    let origin = &mut flight.origin;
                    self.conclude(ran, Some(&origin.place), false).await;
                    self.console.progress(origin.end).await;
                    if never_started {
                        let number = origin.number;
                        self.console.note(format!("bootstrap: {name}: the lines after line {number} were not run")).await;
                        return Ok(true);
                    }
                    most = concurrency;
                }
                () = self.environment.opened(), if most < concurrency => most = concurrency,
                line = lines.recv(), if last.is_none() && flights.len() < most => match line {
                    None => last = Some(LastLine::OfAll),
                    Some(Line { number, end, event }) => {
                        let place = format!("{name}, line {number}: ");
                        match event {
                            Ok(event) => {
                                let origin = Origin { number, end, place };
                                flights.push_back(Flight { origin, task: tokio::spawn(self.begin(event, None)?) });
                            }
                            Err(NoEvent::NotJson(wrong, excerpt)) => last = Some(LastLine::NotJson(place, wrong, excerpt)),
                            Err(NoEvent::Unreadable(error)) => last = Some(LastLine::Unreadable(place, error)),
                        }
                    }
                },
            }
        }
        match last {
            None | Some(LastLine::OfAll) => Ok(true),
            Some(LastLine::NotJson(place, wrong, excerpt)) => {
                let message =
                    format!("bootstrap: {place}not JSON: {}\n\n{excerpt}\nThe lines after it were not run.", wrong.message);
                self.console.note(message).await;
                Ok(false)
            }
            Some(LastLine::Unreadable(place, error)) => anyhow::bail!("{place}{error}"),
        }
    }

    /// An event's run, to be waited for.
    fn begin(
        &self,
        event: Event,
        stream: Option<mpsc::Sender<Part>>,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<Ran>> + Send + use<>> {
        let invocation = match event {
            Event::Whole(event) => Ok(Invocation {
                request_id: id::uuid().context("no random bytes")?,
                trace_id: match &self.options.trace_id {
                    Some(trace_id) => trace_id.clone(),
                    None => id::trace_id().context("no random bytes")?,
                },
                client_context: self.options.client_context.clone(),
                tenant_id: self.options.tenant_id.clone(),
                event,
            }),
            Event::TooLarge(size) => Err(size),
        };
        let environment = Arc::clone(self.environment);
        Ok(async move {
            match invocation {
                Ok(invocation) => environment.invoke(invocation, stream).await.map(Ran::Invoked),
                Err(size) => Ok(Ran::TooLarge(size)),
            }
        })
    }

    /// Counts an event, prints its answer unless that has been `streamed`, and says what went wrong. `place` is where it is one
    /// of many.
    async fn conclude(&mut self, ran: Ran, place: Option<&str>, streamed: bool) {
        let (body, told) = match ran {
            Ran::Invoked(Invoked { answer, duration, .. }) => {
                self.summary.add(answer.is_response(), duration);
                (answer.body(), explanation(&answer, streamed))
            }
            Ran::TooLarge(size) => {
                self.summary.add_refused();
                let message = format!("Request must be smaller than {MAX_EVENT_BYTES} bytes for the InvokeFunction operation");
                let size = size.map_or(String::new(), |size| format!("; this one has {size}"));
                let told = format!("the event was not run: Lambda takes events of up to {MAX_EVENT_BYTES} bytes (6 MiB){size}");
                (Answer::document("RequestTooLargeException", &message), Some(told))
            }
        };
        if !streamed {
            self.console.response(if place.is_some() { on_one_line(body) } else { body }).await;
        }
        if let Some(told) = told {
            self.console.note(format!("bootstrap: {}{told}", place.unwrap_or_default())).await;
        }
    }
}

/// Waits for the first of the events in flight.
async fn first(flights: &mut VecDeque<Flight>) -> anyhow::Result<Ran> {
    match flights.front_mut() {
        Some(flight) => (&mut flight.task).await.context("the task of an event has ended")?,
        None => std::future::pending().await,
    }
}

impl Ran {
    fn never_started(&self) -> bool {
        matches!(self, Ran::Invoked(Invoked { answer: Answer::InitError(_), .. }))
    }
}

fn on_one_line(body: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &body).is_none() {
        return body;
    }
    // In JSON these stand between tokens only.
    body.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}

/// A line for people about an error. The runtime logs what it reports, so that is not said again, except where the answer
/// was `streamed`: then its error document is printed nowhere.
fn explanation(answer: &Answer, streamed: bool) -> Option<String> {
    let Told { error_type, error_message } = Answer::told(&answer.body());
    let error_type = if error_type.is_empty() { "no errorType".to_owned() } else { error_type };
    Some(match answer {
        Answer::Response(_) | Answer::Streamed => return None,
        Answer::InitError(_) => format!("the handler did not start ({error_type}), so the event was not run"),
        Answer::Error(_) if error_type == "Function.Timeout" => {
            format!("the invocation timed out ({error_type}); --timeout SECONDS gives it longer")
        }
        Answer::Error(_) if streamed && !error_message.is_empty() => {
            format!("the streamed response ended in an error: {error_message} ({error_type})")
        }
        Answer::Error(_) if streamed => format!("the streamed response ended in an error ({error_type})"),
        Answer::Error(_) => format!("the invocation ended in an error ({error_type})"),
        Answer::PlatformError(_) if error_type == "Sandbox.Timedout" => {
            format!("{error_message} ({error_type}); --timeout SECONDS gives it longer")
        }
        Answer::PlatformError(_) => format!("{error_message} ({error_type})"),
    })
}
