//! The Runtime API's server side: HTTP around the [state machine](super::state).
//!
//! It listens on the loopback interface only, on a port that the kernel picks. One connection or many, `/next` is held until an
//! event is there.

mod exchange;
mod upload;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::exchange::{Caller, Event, Exchange, NextCall, Offered};
use self::wire::{EXTENSION_ID, EXTENSION_NAME, Reply};
use super::answer::{Answer, Part};
use super::refusal::Refusal;
use super::state::InvocationKey;
use super::{guard, id};

pub use self::upload::MAX_STREAMED_BYTES;

/// The longest request line and headers, in bytes. Lambda's limit is about 1 MB.
const MAX_HEAD: usize = 1024 * 1024;

/// What goes to the runtime with one `/next`.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The request id, unique.
    pub request_id: String,
    /// How long the runtime has for its report, from when it gets the event.
    pub timeout: Duration,
    /// The function's ARN.
    pub arn: String,
    /// The X-Ray tracing header.
    pub trace_id: String,
    /// The client context, raw JSON.
    pub client_context: Option<String>,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// The event.
    pub event: Bytes,
}

/// What a function is called, for the extensions that register.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its name.
    pub function_name: String,
    /// Its version.
    pub function_version: String,
    /// Its handler.
    pub handler: String,
}

/// The Runtime API of one execution environment. It ends with this value.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        // The connections' tasks are the server's and end with it.
        self.server.abort();
    }
}

#[derive(Debug)]
struct Shared {
    identity: Identity,
    exchange: Mutex<Exchange>,
    init_error: watch::Sender<Option<Bytes>>,
    /// Told at each `/next`, an extension's included.
    called: watch::Sender<()>,
    /// How many connections are open, and how many reports are being read.
    open: watch::Sender<usize>,
}

/// Something that is open, for as long as this value is there.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.send_modify(|open| *open += 1);
        Open(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Exchange> {
        // Nothing panics while it holds the lock, and a state is whole between two calls of it in any case.
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RuntimeApi {
    /// Starts to listen. The runtime that calls first is the environment's; it may have `concurrency` events at once.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(identity: Identity, concurrency: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let exchange = Mutex::new(Exchange::new(concurrency));
        let shared = Arc::new(Shared {
            identity,
            exchange,
            init_error: watch::Sender::new(None),
            called: watch::Sender::new(()),
            open: watch::Sender::new(0),
        });
        let server = tokio::spawn(serve(listener, address, Arc::clone(&shared)));
        Ok(RuntimeApi { address, shared, server })
    }

    /// What `AWS_LAMBDA_RUNTIME_API` is to be set to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the runtime has not called yet.
    pub fn initializes(&self) -> bool {
        self.shared.lock().machine.initializes()
    }

    /// Waits until a call waits for an event.
    pub async fn idle(&self) {
        let mut called = self.shared.called.subscribe();
        while !self.shared.lock().machine.is_idle() {
            // The sender is ours, so there is no error.
            let _ = called.changed().await;
        }
    }

    /// Waits for an init error: its document. There may never be one.
    pub async fn init_error(&self) -> Bytes {
        let mut init_error = self.shared.init_error.subscribe();
        let document = init_error.wait_for(Option::is_some).await.ok().and_then(|document| document.clone());
        match document {
            Some(document) => document,
            // The sender is ours, so this is not reached.
            None => std::future::pending().await,
        }
    }

    /// The init error that has come, if one has.
    pub fn init_error_so_far(&self) -> Option<Bytes> {
        self.shared.init_error.borrow().clone()
    }

    /// Offers an event to the runtime's next `/next`. A caller that wants a streamed response as it comes gives the way to it.
    ///
    /// # Errors
    /// When the kernel gives no random bytes for an id.
    pub fn offer(&self, delivery: Delivery, stream: Option<mpsc::Sender<Part>>) -> io::Result<Offer> {
        let key = InvocationKey { request_id: delivery.request_id.clone(), invocation_id: id::uuid()? };
        let head = wire::head(&delivery, &key);
        let (placed, is_placed) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        self.shared.lock().offer(Offered {
            key,
            head,
            event: delivery.event,
            timeout: delivery.timeout,
            deadline_ms: None,
            placed,
            caller: Caller { answer, stream },
        });
        Ok(Offer { request_id: delivery.request_id, shared: Arc::clone(&self.shared), placed: is_placed, answered })
    }

    /// The invocation's time is over. Returns whether the environment goes on, as it does where it has several at once.
    pub fn time_out(&self, request_id: &str) -> bool {
        let mut exchange = self.shared.lock();
        exchange.time_out(request_id);
        !exchange.machine.has_ended()
    }

    /// The environment is over. Reports that come from now on are refused, and `/next` is left to wait.
    pub fn end(&self) {
        self.shared.lock().end();
    }

    /// Waits until the runtime's connections are closed, which is when everything it has sent has been read.
    pub async fn drained(&self) {
        // A connection that the kernel has accepted but the server has not gets its turn first.
        tokio::task::yield_now().await;
        // The sender is ours, so there is no error.
        let _ = self.shared.open.subscribe().wait_for(|&open| open == 0).await;
    }
}

/// An event on its way to the runtime, and its answer on the way back. Where it is dropped before a call has taken the event,
/// none will.
#[derive(Debug)]
pub struct Offer {
    request_id: String,
    shared: Arc<Shared>,
    placed: oneshot::Receiver<()>,
    answered: oneshot::Receiver<Answer>,
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.shared.lock().withdraw(&self.request_id);
    }
}

impl Offer {
    /// Waits, once, until a call has taken the event. False where the environment has ended first: nobody has seen the event.
    pub async fn placed(&mut self) -> bool {
        (&mut self.placed).await.is_ok()
    }

    /// The invocation's clock runs from now on, though no call has taken the event.
    pub fn start_clock(&self) {
        self.shared.lock().start_clock(&self.request_id);
    }

    /// Waits, once, for the answer. An environment that ends gives none.
    pub async fn answered(&mut self) -> Option<Answer> {
        (&mut self.answered).await.ok()
    }

    /// The answer, if it has come.
    pub fn answer_so_far(&mut self) -> Option<Answer> {
        self.answered.try_recv().ok()
    }
}

async fn serve(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (open, shared) = (Open::new(&shared), Arc::clone(&shared));
                    connections.spawn(async move {
                        connection(stream, address, shared).await;
                        drop(open);
                    });
                }
                // Out of descriptors, for one: the connection stays in the kernel's queue.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, shared: Arc<Shared>) {
    // Only delays small answers; where the option can't be set they come late.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            // A page that guesses the port would take the runtime's events.
            let authority = request.uri().authority().map(|authority| authority.as_str());
            if let Err(stranger) = guard::check(request.headers(), authority, address) {
                return Ok(wire::plain(StatusCode::FORBIDDEN, stranger.to_string()));
            }
            Ok::<_, Infallible>(route(request, &shared).await.unwrap_or_else(|refusal| wire::refused(&refusal)))
        }
    });
    // An error here is the client's: it went away or did not speak HTTP.
    let _ = hyper::server::conn::http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(stream), service).await;
}

async fn route(request: Request<Incoming>, shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let get = request.method() == Method::GET;
    let post = request.method() == Method::POST;
    match segments[..] {
        ["2018-06-01", "ping"] if get => Ok(wire::plain(StatusCode::OK, "pong")),
        ["2018-06-01", "runtime", "invocation", "next"] if get => next(shared).await,
        ["2018-06-01", "runtime", "invocation", request_id, "response"] if post => {
            upload::response(request_id, request, shared).await
        }
        ["2018-06-01", "runtime", "invocation", request_id, "error"] if post => upload::error(request_id, request, shared).await,
        ["2018-06-01", "runtime", "init", "error"] if post => init_error(request, shared).await,
        ["2018-06-01", "runtime", "restore", "next"] if get => Err(shared.lock().machine.restore_next()),
        ["2020-01-01", "extension", "register"] if post => register(request, shared).await,
        ["2020-01-01", "extension", "event", "next"] if get => extension_next(&request, shared).await,
        ["2018-06-01", "ping"]
        | ["2018-06-01", "runtime", "invocation", "next"]
        | ["2018-06-01", "runtime", "invocation", _, "response" | "error"]
        | ["2018-06-01", "runtime", "init", "error"]
        | ["2018-06-01", "runtime", "restore", "next"]
        | ["2020-01-01", "extension", "register"]
        | ["2020-01-01", "extension", "event", "next"] => Ok(wire::plain(StatusCode::METHOD_NOT_ALLOWED, "")),
        _ => Ok(wire::plain(StatusCode::NOT_FOUND, "404 page not found\n")),
    }
}

/// A `/next` that waits. Where it is dropped, because its connection was closed, it waits no more.
struct WaitingCall<'a> {
    shared: &'a Shared,
    ticket: u64,
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.shared.lock().give_up(self.ticket);
    }
}

async fn next(shared: &Shared) -> Result<Reply, Refusal> {
    let call = shared.lock().next()?;
    shared.called.send_replace(());
    let event = match call {
        NextCall::Again(event) => event,
        NextCall::Waits(ticket, event) => {
            let _call = WaitingCall { shared, ticket };
            match event.await {
                Ok(event) => event,
                // Another call has taken over: this one is left to wait.
                Err(_) => std::future::pending().await,
            }
        }
    };
    let Event { head, body } = event;
    let mut reply = Response::new(Full::new(body));
    *reply.headers_mut() = head;
    Ok(reply)
}

async fn init_error(request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let Ok(body) = upload::read(request.into_body()).await else { return Err(Refusal::TruncatedHttpRequest) };
    shared.lock().machine.init_error()?;
    shared.init_error.send_replace(Some(body.bytes));
    Ok(wire::accepted())
}

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
}

async fn register(request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let name = head.headers.get(EXTENSION_NAME).and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned();
    let Ok(body) = upload::read(body).await else { return Err(Refusal::TruncatedHttpRequest) };
    let registration: Registration =
        serde_json::from_slice(&body.bytes).map_err(|error| Refusal::Extension("InvalidRequestFormat", error.to_string()))?;
    if let Some(event) = registration.events.first() {
        let message = format!("{event}: the local environment has no events for extensions");
        return Err(Refusal::Extension("Extension.InvalidEventType", message));
    }
    let Ok(id) = id::uuid() else { return Ok(wire::plain(StatusCode::INTERNAL_SERVER_ERROR, "")) };
    shared.lock().machine.register_extension(&name, id.clone())?;
    let mut reply = wire::json(StatusCode::OK, &shared.identity);
    if let Ok(id) = HeaderValue::from_str(&id) {
        reply.headers_mut().insert(EXTENSION_ID, id);
    }
    Ok(reply)
}

async fn extension_next(request: &Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let id = request.headers().get(EXTENSION_ID).and_then(|id| id.to_str().ok());
    {
        let mut exchange = shared.lock();
        exchange.machine.extension_next(id)?;
        // The call may have been what an event waited for.
        exchange.pair();
    }
    shared.called.send_replace(());
    // It has registered for no events, and the end of the environment closes the connection.
    std::future::pending().await
}
