//! What people and pipes see: responses on stdout, everything else on stderr.
//!
//! A thread of its own writes, so that a reader who has stopped reading delays no deadline and no Ctrl-C. What is handed to it
//! comes out in that order, on both streams.

use std::io::{self, IsTerminal as _, Write};
use std::thread;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

/// How many outputs may wait for the thread.
const BACKLOG: usize = 64;

/// Up to this size a response and its newline are written at once.
const AT_ONCE: usize = 64 * 1024;

enum Output {
    /// The runtime's log output, whole lines at a time where they are of a sensible length.
    Log(Bytes),
    /// A line of our own, without its newline.
    Note(String),
    /// A response or an error document, and who waits until it is out.
    Response(Bytes, Option<oneshot::Sender<()>>),
    /// A part of a streamed response, and who waits until it is out.
    Chunk(Bytes, oneshot::Sender<()>),
    /// The stream has ended.
    EndOfStream,
    /// One more event is done; the source's position in bytes.
    Progress(u64),
    /// Everything before this is out, and the progress bar is gone.
    Done(oneshot::Sender<()>),
}

/// A handle on the console; all clones write to the same one.
#[derive(Clone, Debug)]
pub struct Console {
    outputs: mpsc::Sender<Output>,
    stdout: watch::Receiver<Option<Failure>>,
}

/// Why stdout takes no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("writing to stdout: {message}")]
pub struct Failure {
    /// Its reader has gone: `| head -1` has seen enough.
    pub closed: bool,
    message: String,
}

/// Whether to show progress, and of how much.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// None.
    Off,
    /// A bar, where the source's size in bytes is known, or a count. It is drawn on a terminal only.
    On(Option<u64>),
}

impl Console {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(progress: Progress) -> io::Result<Self> {
        let (outputs, mut received) = mpsc::channel(BACKLOG);
        let (failed, stdout) = watch::channel(None);
        // It is not joined: it may be blocked in a write for ever. `done` waits for it where that makes sense.
        thread::Builder::new().name("console".to_owned()).spawn(move || {
            let stdout_is_terminal = io::stdout().is_terminal();
            let mut writer = Writer { bar: bar(progress), stdout_is_terminal, mid_line: false, stream_end: None, failed };
            while let Some(output) = received.blocking_recv() {
                writer.write(output);
            }
        })?;
        Ok(Console { outputs, stdout })
    }

    /// A console that nobody sees: `logs` gets the runtime's log output, and the rest is dropped.
    pub fn silent(mut logs: impl FnMut(&[u8]) + Send + 'static) -> Self {
        let (outputs, mut received) = mpsc::channel(BACKLOG);
        let (failed, stdout) = watch::channel(None);
        // It ends with the last handle.
        tokio::spawn(async move {
            // As long as this is there, stdout can't be said to have failed.
            let _failed = failed;
            while let Some(output) = received.recv().await {
                match output {
                    Output::Log(bytes) => logs(&bytes),
                    // Whoever asked may have been cancelled.
                    Output::Response(_, Some(done)) | Output::Chunk(_, done) | Output::Done(done) => drop(done.send(())),
                    Output::Note(_) | Output::Response(_, None) | Output::EndOfStream | Output::Progress(_) => {}
                }
            }
        });
        Console { outputs, stdout }
    }

    /// Passes the runtime's log output on.
    pub async fn log(&self, bytes: Bytes) {
        self.put(Output::Log(bytes)).await;
    }

    /// Says something in a line on stderr.
    pub async fn note(&self, line: impl Into<String>) {
        self.put(Output::Note(line.into())).await;
    }

    /// Says something in a line on stderr, if that takes no waiting.
    ///
    /// # Errors
    /// The line, where too much waits for the thread.
    pub fn try_note(&self, line: String) -> Result<(), String> {
        match self.outputs.try_send(Output::Note(line)) {
            Err(TrySendError::Full(Output::Note(line))) => Err(line),
            // The thread ends after its last handle, so there is always one to receive.
            _ => Ok(()),
        }
    }

    /// Prints a response, and a newline after it where it ends in none.
    pub async fn response(&self, body: Bytes) {
        if body.len() < AT_ONCE {
            self.put(Output::Response(body, None)).await;
        } else {
            // A backlog of these would take a lot of memory.
            let (printed, out) = oneshot::channel();
            self.put(Output::Response(body, Some(printed))).await;
            // An error is a thread that has ended, with nothing left to write.
            let _ = out.await;
        }
    }

    /// Prints a part of a streamed response, and waits until it is out: nobody is to read ahead of who reads here.
    pub async fn chunk(&self, bytes: Bytes) {
        let (printed, out) = oneshot::channel();
        self.put(Output::Chunk(bytes, printed)).await;
        // An error is a thread that has ended, with nothing left to write.
        let _ = out.await;
    }

    /// Ends a streamed response, whole or not: prints a newline where it ends in none, as after a response.
    pub async fn end_of_stream(&self) {
        self.put(Output::EndOfStream).await;
    }

    /// One more event is done, at this position of its source in bytes.
    pub async fn progress(&self, position: u64) {
        self.put(Output::Progress(position)).await;
    }

    /// Waits until everything is out.
    pub async fn done(&self) {
        let (done, out) = oneshot::channel();
        self.put(Output::Done(done)).await;
        // An error is a thread that has ended, with nothing left to write.
        let _ = out.await;
    }

    /// Waits until stdout takes no more.
    pub async fn stdout_failed(&self) -> Failure {
        let mut stdout = self.stdout.clone();
        match stdout.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone().unwrap_or(Failure { closed: true, message: String::new() }),
            Err(_) => std::future::pending().await,
        }
    }

    /// Why stdout takes no more, if it doesn't.
    pub fn stdout_failure(&self) -> Option<Failure> {
        self.stdout.borrow().clone()
    }

    async fn put(&self, output: Output) {
        // The thread ends after its last handle, so there is always one to receive.
        let _ = self.outputs.send(output).await;
    }
}

fn bar(progress: Progress) -> ProgressBar {
    let Progress::On(size) = progress else { return ProgressBar::hidden() };
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
    let template = if size.is_some() {
        "{wide_bar:.cyan/dim} {percent:>3}%  {msg} events  {eta} left"
    } else {
        "{spinner} {msg} events in {elapsed}"
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style).with_message("0"),
        Err(_) => bar,
    }
}

struct Writer {
    bar: ProgressBar,
    stdout_is_terminal: bool,
    /// Stderr stands in the middle of a log line.
    mid_line: bool,
    /// The last byte of the streamed response so far.
    stream_end: Option<u8>,
    failed: watch::Sender<Option<Failure>>,
}

impl Writer {
    fn write(&mut self, output: Output) {
        match output {
            Output::Log(bytes) => {
                self.mid_line = bytes.last().is_some_and(|&last| last != b'\n');
                // A stderr that can't be written to is nothing we could tell anybody about.
                self.bar.suspend(|| {
                    let _ = io::stderr().write_all(&bytes);
                });
            }
            Output::Note(line) => {
                let line = format!("{}{line}\n", if self.mid_line { "\n" } else { "" });
                self.mid_line = false;
                self.bar.suspend(|| {
                    let _ = io::stderr().write_all(line.as_bytes());
                });
            }
            Output::Response(body, printed) => {
                self.print(|| print(&body));
                if let Some(printed) = printed {
                    // Whoever asked may have been cancelled.
                    let _ = printed.send(());
                }
            }
            Output::Chunk(bytes, printed) => {
                self.stream_end = bytes.last().copied().or(self.stream_end);
                self.print(|| print_part(&bytes));
                let _ = printed.send(());
            }
            Output::EndOfStream => {
                if self.stream_end.take() != Some(b'\n') {
                    self.print(|| print_part(b"\n"));
                }
            }
            Output::Progress(position) => {
                let events = self.bar.message().parse::<u64>().unwrap_or_default() + 1;
                self.bar.set_message(events.to_string());
                self.bar.set_position(position);
            }
            Output::Done(done) => {
                self.bar.finish_and_clear();
                // Whoever asked may have lost patience.
                let _ = done.send(());
            }
        }
    }

    /// Writes to stdout, unless that has failed.
    fn print(&self, write: impl FnOnce() -> io::Result<()>) {
        if self.failed.borrow().is_some() {
            return;
        }
        // The bar is in the way only where both are on the terminal.
        let written = if self.stdout_is_terminal { self.bar.suspend(write) } else { write() };
        if let Err(error) = written {
            let closed = error.kind() == io::ErrorKind::BrokenPipe;
            self.failed.send_replace(Some(Failure { closed, message: error.to_string() }));
        }
    }
}

fn print_part(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn print(body: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if body.ends_with(b"\n") {
        stdout.write_all(body)?;
    } else if body.len() < AT_ONCE {
        stdout.write_all(&[body, b"\n"].concat())?;
    } else {
        stdout.write_all(body)?;
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}
