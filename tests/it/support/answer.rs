//! What the scripted Runtime API says, down to how it breaks off.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::{epoch_ms, patience};

/// Holds an answer back until the test opens it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(super) fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        // Ten times the patience: the test that forgets its gate has failed by then, and the thread ends.
        drop(self.0.1.wait_timeout_while(open, patience() * 10, |open| !*open).unwrap());
    }
}

/// How far an answer gets.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Whole,
    /// So many bytes of head and body, then the end of the connection.
    Cut {
        bytes: usize,
        reset: bool,
    },
}

/// One answer, for one request.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    fate: Fate,
    chunked: bool,
    unannounced: bool,
    drip: bool,
    close: bool,
    gate: Option<Gate>,
    /// `Lambda-Runtime-Deadline-Ms`, counted from when the answer goes out.
    deadline_in: Option<Duration>,
    /// Answered when so many bytes of the request's body have been read.
    pub(super) early: Option<usize>,
    /// Reads no more of the request's body, once so much of it has been read, until the gate is open.
    pub(super) stall: Option<(usize, Gate)>,
    /// Reads nothing more behind an early answer until the gate is open.
    pub(super) deaf: Option<Gate>,
    /// The request's body is counted, not kept.
    pub(super) forgets: bool,
    raw: Option<Vec<u8>>,
    /// What is in flight once this answer has gone out: request id and invocation id.
    pub(super) invocation: Option<(String, Option<String>)>,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            fate: Fate::Whole,
            chunked: false,
            unannounced: false,
            drip: false,
            close: false,
            gate: None,
            deadline_in: None,
            early: None,
            stall: None,
            deaf: None,
            forgets: false,
            raw: None,
            invocation: None,
        }
    }

    /// What Lambda says to an accepted report.
    pub(crate) fn accepted() -> Answer {
        Answer::status(202).header("Content-Type", "application/json").body("{\"status\":\"OK\"}\n")
    }

    /// The connection is reset instead of an answer.
    pub(crate) fn reset() -> Answer {
        Answer::status(0).cut(0)
    }

    /// The connection is closed in order, without an answer.
    pub(crate) fn hang_up() -> Answer {
        Answer { fate: Fate::Cut { bytes: 0, reset: false }, ..Answer::status(0) }
    }

    /// These very bytes, then the end of the connection.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
        Answer { raw: Some(bytes.into()), close: true, ..Answer::status(0) }
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Only so many bytes of head and body go out, then the connection is reset.
    pub(crate) fn cut(mut self, bytes: usize) -> Answer {
        self.fate = Fate::Cut { bytes, reset: true };
        self
    }

    /// All but the last byte goes out, then the connection is reset.
    pub(crate) fn cut_in_body(self) -> Answer {
        let whole = self.bytes().len();
        self.cut(whole - 1)
    }

    /// The body has no length in front.
    pub(crate) fn chunked(mut self) -> Answer {
        self.chunked = true;
        self
    }

    /// The body's end is the connection's.
    pub(crate) fn until_close(mut self) -> Answer {
        self.unannounced = true;
        self.close = true;
        self
    }

    /// This invocation is in flight once this answer has gone out.
    pub(crate) fn carries(mut self, id: &str) -> Answer {
        self.invocation = Some((id.to_owned(), None));
        self
    }

    /// Goes out in many small pieces.
    pub(crate) fn drip(mut self) -> Answer {
        self.drip = true;
        self
    }

    /// The connection ends after the answer, unannounced.
    pub(crate) fn then_close(mut self) -> Answer {
        self.close = true;
        self
    }

    /// Nothing goes out before the gate is open.
    pub(crate) fn held(mut self, gate: &Gate) -> Answer {
        self.gate = Some(gate.clone());
        self
    }

    /// Answered before the request's body is read; then the connection ends.
    pub(crate) fn early(self) -> Answer {
        self.after(0).then_close()
    }

    /// Answered as soon as so many bytes of the request's body have come. The rest of it is read, and the connection goes on.
    pub(crate) fn after(mut self, bytes: usize) -> Answer {
        self.early = Some(bytes);
        self
    }

    /// Behind the early answer, which announces the connection's end, nothing is read; it ends when the gate is open.
    pub(crate) fn then_deaf(mut self, gate: &Gate) -> Answer {
        self.deaf = Some(gate.clone());
        self.header("Connection", "close").then_close()
    }

    /// So many bytes of the request's body are read, the rest only when the gate is open.
    pub(crate) fn stalls_at(mut self, bytes: usize, gate: &Gate) -> Answer {
        self.stall = Some((bytes, gate.clone()));
        self
    }

    /// Of the request's body only the length is kept.
    pub(crate) fn forgets_body(mut self) -> Answer {
        self.forgets = true;
        self
    }

    /// The connection is reset in place of the answer.
    pub(super) fn resets(&self) -> bool {
        matches!(self.fate, Fate::Cut { reset: true, .. })
    }

    /// The client has got, or can take, the whole of it.
    pub(super) fn is_whole(&self) -> bool {
        self.fate == Fate::Whole
    }

    fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut out = format!("HTTP/1.1 {} Scripted\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(time) = self.deadline_in {
            out.extend_from_slice(format!("Lambda-Runtime-Deadline-Ms: {}\r\n", epoch_ms(time)).as_bytes());
        }
        if self.chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in self.body.chunks(1000) {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        } else if self.unannounced {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&self.body);
        } else {
            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
            out.extend_from_slice(&self.body);
        }
        out
    }

    /// Says it. `Ok(true)` when the connection goes on.
    pub(super) fn send(&self, stream: &mut TcpStream) -> io::Result<bool> {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        let mut bytes = self.bytes();
        if let Fate::Cut { bytes: most, .. } = self.fate {
            bytes.truncate(most);
        }
        if self.drip {
            let piece = (bytes.len() / 200).max(1);
            for piece in bytes.chunks(piece) {
                stream.write_all(piece)?;
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            stream.write_all(&bytes)?;
        }
        match self.fate {
            Fate::Cut { reset: true, .. } => {
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
                Ok(false)
            }
            Fate::Cut { reset: false, .. } => Ok(false),
            Fate::Whole => Ok(!self.close),
        }
    }
}

#[derive(Clone)]
enum Deadline {
    /// So far from when the event is handed out, however long the start took.
    In(Duration),
    Text(Vec<u8>),
    Missing,
}

/// An event, which is an answer to `/next` with an invocation in it.
#[derive(Clone)]
pub(crate) struct Event {
    id: String,
    invocation_id: Option<String>,
    deadline: Deadline,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Event {
    pub(crate) fn new(body: impl Into<Vec<u8>>) -> Event {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        Event {
            id: format!("8476a536-e9f4-11e8-9739-{:012}", COUNT.fetch_add(1, Ordering::Relaxed)),
            invocation_id: None,
            // Far beyond every wait: a deadline that strikes is asked for.
            deadline: Deadline::In(patience() * 20),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(crate) fn id(mut self, id: &str) -> Event {
        self.id = id.to_owned();
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Event {
        self.body = body.into();
        self
    }

    pub(crate) fn invocation_id(mut self, id: &str) -> Event {
        self.invocation_id = Some(id.to_owned());
        self
    }

    /// The deadline is so far from when the event is handed out.
    pub(crate) fn deadline_in(mut self, ms: u64) -> Event {
        self.deadline = Deadline::In(Duration::from_millis(ms));
        self
    }

    /// The deadline header's text.
    pub(crate) fn deadline(mut self, text: impl Into<Vec<u8>>) -> Event {
        self.deadline = Deadline::Text(text.into());
        self
    }

    pub(crate) fn no_deadline(mut self) -> Event {
        self.deadline = Deadline::Missing;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Event {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.id
    }

    /// The answer that carries this event, for answers that misbehave.
    pub(crate) fn answer(self) -> Answer {
        let mut answer = Answer::status(200)
            .header("Content-Type", "application/json")
            .header("Lambda-Runtime-Aws-Request-Id", self.id.as_str())
            .body(self.body);
        match self.deadline {
            Deadline::In(time) => answer.deadline_in = Some(time),
            Deadline::Text(text) => answer = answer.header("Lambda-Runtime-Deadline-Ms", text),
            Deadline::Missing => {}
        }
        if let Some(id) = &self.invocation_id {
            answer = answer.header("Lambda-Runtime-Invocation-Id", id.as_str());
        }
        answer.headers.extend(self.headers);
        answer.invocation = Some((self.id, self.invocation_id));
        answer
    }
}

impl From<&str> for Event {
    fn from(body: &str) -> Event {
        Event::new(body)
    }
}

impl From<String> for Event {
    fn from(body: String) -> Event {
        Event::new(body)
    }
}

impl From<serde_json::Value> for Event {
    fn from(body: serde_json::Value) -> Event {
        Event::new(body.to_string())
    }
}
