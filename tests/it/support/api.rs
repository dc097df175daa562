//! The scripted Runtime API, and the referee: what the real state machine would refuse fails the test.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::BufReader;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::answer::{Answer, Gate};
use super::capture::Capture;
use super::http::{self, Body, Read, Request};
use super::report::{Kind, Report};

/// How much of a body is read at once.
const PIECE: usize = 64 * 1024;

/// What can be asked of the Runtime API.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Route {
    /// `GET /runtime/invocation/next`
    Next,
    /// `POST /runtime/invocation/ID/response` and `…/error`
    Report,
    /// `POST /runtime/init/error`
    InitError,
    /// `GET /runtime/restore/next`
    RestoreNext,
    /// `POST /2020-01-01/extension/register`
    Register,
    /// `GET /2020-01-01/extension/event/next`
    ExtensionNext,
}

struct Attempt {
    kind: Kind,
    body: Vec<u8>,
}

struct InFlight {
    id: String,
    invocation_id: Option<String>,
    /// Its report has begun and not ended.
    open: bool,
    /// The attempts that failed, by a transport fault or a 5xx: one may be tried again.
    attempts: Vec<Attempt>,
}

impl InFlight {
    /// Bootstrap has said what it has to say, or may have.
    fn reported(&self) -> bool {
        !self.attempts.is_empty()
    }
}

/// A report whose body comes bit by bit, as far as it has come.
#[derive(Clone, Debug)]
pub(crate) struct Streamed {
    pub(crate) request: Request,
    /// Its body has ended, or is read no further.
    pub(crate) ended: bool,
}

struct State {
    prefix: String,
    strict: bool,
    concurrency: usize,
    answers: HashMap<Route, VecDeque<Answer>>,
    requests: Vec<Request>,
    streamed: Vec<Streamed>,
    reports: Vec<Report>,
    violations: Vec<String>,
    in_flight: Vec<InFlight>,
    done: Vec<(String, Option<String>)>,
    waiting: usize,
    invoke_phase: bool,
    init_errors: Vec<bool>,
    log: Option<Capture>,
    sockets: Vec<TcpStream>,
    /// Bootstrap was told to end: what it was saying may break off.
    ending: bool,
    stopped: bool,
}

/// A Runtime API on a port of its own.
#[derive(Clone)]
pub(crate) struct RuntimeApi {
    shared: Arc<(Mutex<State>, Condvar)>,
    address: SocketAddr,
}

impl RuntimeApi {
    pub(crate) fn start(prefix: &str, strict: bool, concurrency: usize) -> RuntimeApi {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            prefix: prefix.to_owned(),
            strict,
            concurrency,
            answers: HashMap::new(),
            requests: Vec::new(),
            streamed: Vec::new(),
            reports: Vec::new(),
            violations: Vec::new(),
            in_flight: Vec::new(),
            done: Vec::new(),
            waiting: 0,
            invoke_phase: false,
            init_errors: Vec::new(),
            log: None,
            sockets: Vec::new(),
            ending: false,
            stopped: false,
        };
        let api = RuntimeApi { shared: Arc::new((Mutex::new(state), Condvar::new())), address };
        let server = api.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                let mut state = server.lock();
                if state.stopped {
                    return;
                }
                let _ = stream.set_nodelay(true);
                state.sockets.push(stream.try_clone().unwrap());
                drop(state);
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream, number + 1));
            }
        });
        api
    }

    /// `host:port`
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn push(&self, route: Route, answer: Answer) {
        self.lock().answers.entry(route).or_default().push_back(answer);
        self.shared.1.notify_all();
    }

    /// The Runtime API is gone: every connection is reset and nobody listens.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        if state.stopped {
            return;
        }
        state.stopped = true;
        for stream in state.sockets.drain(..) {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.1.notify_all();
        // Wakes the listener, which sees that it has stopped and closes.
        let _ = TcpStream::connect(self.address);
    }

    pub(super) fn set_log(&self, log: Capture) {
        self.lock().log = Some(log);
    }

    /// From here on a request may break off.
    pub(super) fn set_ending(&self) {
        self.lock().ending = true;
    }

    /// The streamed report number `n`, from 0, as soon as its head has come.
    pub(crate) fn nth_streamed(&self, n: usize) -> Option<Streamed> {
        self.lock().streamed.get(n).cloned()
    }

    /// The streamed report on this invocation, as soon as its head has come.
    pub(crate) fn streamed_of(&self, id: &str) -> Option<Streamed> {
        let path = format!("/{id}/response");
        self.lock().streamed.iter().find(|s| s.request.path.ends_with(&path)).cloned()
    }

    /// A report on this invocation has begun and not ended.
    pub(crate) fn is_being_reported(&self, id: &str) -> bool {
        self.lock().in_flight.iter().any(|i| i.id == id && i.open)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    pub(crate) fn report_count(&self) -> usize {
        self.lock().reports.len()
    }

    /// The report number `n`, from 0, if it is there.
    pub(crate) fn nth_report(&self, n: usize) -> Option<Report> {
        self.lock().reports.get(n).cloned()
    }

    /// The report on this invocation, if it is there.
    pub(crate) fn report_of(&self, id: &str) -> Option<Report> {
        self.lock().reports.iter().find(|r| r.id == id).cloned()
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.lock().reports.clone()
    }

    /// How many calls to `/next` wait for an event at this instant.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Every event that was pushed has been handed out.
    pub(crate) fn all_handed_out(&self) -> bool {
        self.lock().answers.get(&Route::Next).is_none_or(VecDeque::is_empty)
    }

    /// Every event that was handed out has been reported.
    pub(crate) fn all_reported(&self) -> bool {
        let state = self.lock();
        state.in_flight.iter().all(InFlight::reported) && state.answers.get(&Route::Next).is_none_or(VecDeque::is_empty)
    }

    /// Takes back the answers to reports that nobody has asked for.
    pub(crate) fn drop_unused(&self) {
        self.lock().answers.remove(&Route::Report);
    }

    /// Lets go of all that is over; only where nothing is in flight.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        assert!(state.in_flight.iter().all(|i| !i.open), "a report is under way");
        state.requests.clear();
        state.streamed.clear();
        state.reports.clear();
        state.done.clear();
        state.in_flight.retain(|i| !i.reported());
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Everything that came, for a failed test.
    pub(crate) fn story(&self) -> String {
        let state = self.lock();
        let mut out = String::new();
        for request in &state.requests {
            let _ = write!(out, "{request}");
        }
        for streamed in state.streamed.iter().filter(|s| !s.ended) {
            let _ = write!(out, "(still open) {}", streamed.request);
        }
        for violation in &state.violations {
            let _ = writeln!(out, "VIOLATION: {violation}");
        }
        out
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    fn serve(&self, mut stream: TcpStream, number: usize) {
        let mut reader = BufReader::with_capacity(PIECE, stream.try_clone().unwrap());
        loop {
            let mut request = match http::read_head(&mut reader) {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(e) => {
                    if e.kind() == std::io::ErrorKind::InvalidData {
                        self.lock().violations.push(format!("not HTTP: {e}"));
                    }
                    return;
                }
            };
            request.connection = number;
            let (route, streamed, scripted) = self.lock().begin(&mut request);
            let early = match self.receive(&mut reader, &mut request, streamed, scripted.as_ref()) {
                Ok(early) => early,
                Err(e) => {
                    let mut state = self.lock();
                    if !state.stopped && !state.ending {
                        state.violate(format!("the request broke off ({e}): {request}"));
                    }
                    return;
                }
            };
            let Some(answer) = self.answer(route, scripted, request, &stream) else { return };
            let mut goes_on = answer.send(&mut stream).unwrap_or(false);
            if let Some(mut body) = early {
                // What still comes is read to its end, or the answer could be lost with the connection.
                if let Some(gate) = &answer.deaf {
                    gate.pass();
                } else if goes_on {
                    let mut rest = Vec::new();
                    goes_on = loop {
                        rest.clear();
                        match body.read(&mut reader, PIECE, &mut rest) {
                            Ok(Read::Some) => {}
                            Ok(Read::End(_)) => break true,
                            Err(_) => break false,
                        }
                    };
                } else if !answer.resets() {
                    let _ = stream.shutdown(Shutdown::Write);
                    let _ = std::io::copy(&mut reader, &mut std::io::sink());
                }
            }
            if !goes_on {
                // The listener's copy of the stream would keep it open.
                let mut state = self.lock();
                let peer = stream.peer_addr().ok();
                state.sockets.retain(|s| s.peer_addr().ok() != peer);
                return;
            }
        }
    }

    /// Reads the request's body, as far as the answer to it wants to; gives what is left where that was not the end.
    fn receive(
        &self,
        reader: &mut BufReader<TcpStream>,
        request: &mut Request,
        streamed: Option<usize>,
        scripted: Option<&Answer>,
    ) -> std::io::Result<Option<Body>> {
        let mut body = Body::of(request)?;
        let early = scripted.and_then(|answer| answer.early);
        let mut stall = scripted.and_then(|answer| answer.stall.as_ref());
        let forgets = scripted.is_some_and(|answer| answer.forgets);
        let mut piece = Vec::new();
        let end = loop {
            if early.is_some_and(|bytes| request.body_length >= bytes) {
                break Ok(Some(body));
            }
            if let Some((_, gate)) = stall.filter(|(bytes, _)| request.body_length >= *bytes) {
                gate.pass();
                stall = None;
            }
            let most = [early, stall.map(|(bytes, _)| *bytes)].into_iter().flatten().map(|bytes| bytes - request.body_length);
            let most = most.min().unwrap_or(PIECE);
            piece.clear();
            let read = match body.read(reader, most, &mut piece) {
                Ok(read) => read,
                Err(e) => break Err(e),
            };
            request.body_length += piece.len();
            if forgets {
                piece.clear();
            }
            request.body.extend_from_slice(&piece);
            if let Some(at) = streamed {
                let shown = &mut self.lock().streamed[at].request;
                shown.body.extend_from_slice(&piece);
                shown.body_length = request.body_length;
            }
            if let Read::End(trailers) = read {
                request.trailers = trailers;
                break Ok(None);
            }
        };
        if let Some(at) = streamed {
            let mut state = self.lock();
            state.streamed[at].request.trailers = request.trailers.clone();
            state.streamed[at].ended = true;
        }
        end
    }

    /// Records and judges the request, and finds what to say to it; `None` where nobody listens any more.
    fn answer(&self, route: Option<Route>, scripted: Option<Answer>, mut request: Request, stream: &TcpStream) -> Option<Answer> {
        let mut state = self.lock();
        request.log_length = state.log.as_ref().map_or(0, |log| log.with(<[u8]>::len));
        request.at_ms = super::epoch_ms(Duration::ZERO);
        state.requests.push(request.clone());
        let answer = match route {
            None => {
                state.violate(format!("no such call: {request}"));
                Answer::status(404)
            }
            Some(Route::Next) => return self.next(state, &request, stream),
            Some(Route::Report) => state.report(&request, scripted.unwrap_or_else(Answer::accepted)),
            Some(Route::InitError) => state.init_error(&request),
            Some(Route::RestoreNext) => {
                if state.invoke_phase {
                    state.violate("/restore/next after the first /next".to_owned());
                }
                state.scripted(Route::RestoreNext).unwrap_or_else(|| Answer::status(200))
            }
            Some(Route::Register) => state
                .scripted(Route::Register)
                .unwrap_or_else(|| Answer::status(200).header("Lambda-Extension-Identifier", "an-extension").body("{}")),
            // No event ever comes for an extension that registers for none.
            Some(Route::ExtensionNext) => {
                state.scripted(Route::ExtensionNext).unwrap_or_else(|| Answer::status(200).held(&Gate::default()))
            }
        };
        drop(state);
        self.shared.1.notify_all();
        Some(answer)
    }

    fn next(&self, mut state: MutexGuard<'_, State>, request: &Request, stream: &TcpStream) -> Option<Answer> {
        state.check_user_agent(request);
        let unanswered = state.in_flight.iter().filter(|i| !i.reported()).count();
        if unanswered + state.waiting >= state.concurrency && state.strict {
            state.violate("/next while an invocation is unanswered or another /next waits".to_owned());
            return Some(Answer::status(403).body(r#"{"errorType":"InvalidStateTransition","errorMessage":"x"}"#));
        }
        state.invoke_phase = true;
        // What has been tried and did not get through stays behind; one of several may still be tried again.
        if state.concurrency == 1 {
            let (over, in_flight) = std::mem::take(&mut state.in_flight).into_iter().partition(InFlight::reported);
            state.in_flight = in_flight;
            state.done.extend(over.into_iter().map(|i| (i.id, i.invocation_id)));
        }
        state.waiting += 1;
        let answer = loop {
            if state.stopped || is_gone(stream) {
                break None;
            }
            if let Some(answer) = state.scripted(Route::Next) {
                break Some(answer);
            }
            state = self.shared.1.wait_timeout(state, Duration::from_millis(20)).unwrap().0;
        };
        state.waiting -= 1;
        let answer = answer?;
        if answer.is_whole()
            && let Some((id, invocation_id)) = answer.invocation.clone()
        {
            state.in_flight.push(InFlight { id, invocation_id, open: false, attempts: Vec::new() });
        }
        Some(answer)
    }
}

/// The other side has closed the connection.
fn is_gone(stream: &TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    let peeked = stream.peek(&mut [0]);
    let _ = stream.set_nonblocking(false);
    match peeked {
        Ok(n) => n == 0,
        Err(e) => e.kind() != std::io::ErrorKind::WouldBlock,
    }
}

impl State {
    fn violate(&mut self, what: String) {
        if self.strict {
            self.violations.push(what);
        }
    }

    fn route(&self, request: &Request) -> Option<Route> {
        let path = request.path.strip_prefix(&self.prefix)?;
        let (version, path) = path.strip_prefix('/')?.split_once('/')?;
        let words: Vec<&str> = path.split('/').collect();
        match (version, request.method.as_str(), words.as_slice()) {
            ("2018-06-01", "GET", ["runtime", "invocation", "next"]) => Some(Route::Next),
            ("2018-06-01", "POST", ["runtime", "invocation", _, "response" | "error"]) => Some(Route::Report),
            ("2018-06-01", "POST", ["runtime", "init", "error"]) => Some(Route::InitError),
            ("2018-06-01", "GET", ["runtime", "restore", "next"]) => Some(Route::RestoreNext),
            ("2020-01-01", "POST", ["extension", "register"]) => Some(Route::Register),
            ("2020-01-01", "GET", ["extension", "event", "next"]) => Some(Route::ExtensionNext),
            _ => None,
        }
    }

    fn scripted(&mut self, route: Route) -> Option<Answer> {
        self.answers.get_mut(&route)?.pop_front()
    }

    /// Looks at a request's head: where it goes, the place of its body where that comes bit by bit, and what is to be said to it
    /// where that bears on how its body is read.
    fn begin(&mut self, request: &mut Request) -> (Option<Route>, Option<usize>, Option<Answer>) {
        request.log_length_at_head = self.log.as_ref().map_or(0, |log| log.with(<[u8]>::len));
        let route = self.route(request);
        if route != Some(Route::Report) {
            return (route, None, None);
        }
        let key = Report::of(request).key();
        if let Some(at) = self.position(&key) {
            if self.in_flight[at].open {
                self.violate(format!("a report while another one on the same invocation is under way: {request}"));
            }
            self.in_flight[at].open = true;
        } else {
            self.misplaced(request, &key);
        }
        let streamed = request.is_chunked().then(|| {
            self.streamed.push(Streamed { request: request.clone(), ended: false });
            self.streamed.len() - 1
        });
        let answer = self.scripted(Route::Report).unwrap_or_else(Answer::accepted);
        (route, streamed, Some(answer))
    }

    fn position(&self, key: &(String, Option<String>)) -> Option<usize> {
        self.in_flight.iter().position(|i| (&i.id, &i.invocation_id) == (&key.0, &key.1))
    }

    /// A report on what is not in flight.
    fn misplaced(&mut self, request: &Request, key: &(String, Option<String>)) {
        let complaint = if self.done.contains(key) {
            format!("a second report: {request}")
        } else {
            let known: Vec<_> = self.in_flight.iter().map(|i| (&i.id, &i.invocation_id)).collect();
            format!("a report for what is not in flight ({known:?} is): {request}")
        };
        self.violate(complaint);
    }

    fn report(&mut self, request: &Request, answer: Answer) -> Answer {
        self.check_user_agent(request);
        let report = Report::of(request);
        if let Err(e) = report.check() {
            self.violate(format!("{e}: {request}"));
        }
        let failed = !answer.is_whole() || answer.status == 0 || answer.status >= 500;
        let key = report.key();
        // What is not in flight was judged by its head.
        if let Some(at) = self.position(&key) {
            let first = &self.in_flight[at].attempts;
            let complaint = match first.as_slice() {
                [] => None,
                [first] if first.kind != report.kind => Some("a report of the other kind after the first"),
                [first] if first.body != request.body => Some("the same report with another body"),
                [_] => None,
                _ => Some("a report is tried a third time"),
            };
            if let Some(complaint) = complaint {
                self.violate(format!("{complaint}: {request}"));
            }
            self.in_flight[at].open = false;
            self.in_flight[at].attempts.push(Attempt { kind: report.kind, body: request.body.clone() });
            // A streamed report is never tried again.
            if !failed || report.is_streamed() {
                self.in_flight.remove(at);
                self.done.push(key);
            }
        }
        self.reports.push(report);
        answer
    }

    fn init_error(&mut self, request: &Request) -> Answer {
        self.check_user_agent(request);
        if self.invoke_phase {
            self.violate(format!("/init/error after the first /next: {request}"));
        }
        if self.init_errors.len() > 1 || self.init_errors.first() == Some(&false) {
            self.violate(format!("one /init/error too many: {request}"));
        }
        let report = Report::of(request);
        if let Err(e) = report.check() {
            self.violate(format!("{e}: {request}"));
        }
        let answer = self.scripted(Route::InitError).unwrap_or_else(Answer::accepted);
        self.init_errors.push(!answer.is_whole());
        self.reports.push(report);
        answer
    }

    fn check_user_agent(&mut self, request: &Request) {
        let expected = concat!("lambda-bootstrap/", env!("CARGO_PKG_VERSION"));
        if request.header("user-agent") != Some(expected) {
            self.violate(format!("the user agent is not {expected}: {request}"));
        }
        if request.header("expect").is_some() {
            self.violate(format!("the client expects 100-continue: {request}"));
        }
        if request.header("host").is_none() || request.version != "HTTP/1.1" {
            self.violate(format!("not HTTP/1.1 with a host: {request}"));
        }
    }
}
