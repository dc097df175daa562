//! The Runtime API's server side: HTTP around the [state machine](super::state).
//!
//! It listens on the loopback interface only, on a port that the kernel picks. One connection or many, `/next` is held until an
//! event is there.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::answer::Answer;
use super::id;
use super::state::{InvocationKey, MAX_RESPONSE_BYTES, Machine, Next, Refusal, Report};

const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
const DEADLINE: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
const TENANT_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-tenant-id");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");
const EXTENSION_NAME: HeaderName = HeaderName::from_static("lambda-extension-name");
const EXTENSION_ID: HeaderName = HeaderName::from_static("lambda-extension-identifier");

/// The longest request line and headers, in bytes. Lambda's limit is about 1 MB.
const MAX_HEAD: usize = 1024 * 1024;

/// What goes to the runtime with one `/next`.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The request id, unique.
    pub request_id: String,
    /// The instant by which the report must have come, in milliseconds since 1970.
    pub deadline_ms: u64,
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
    connections: watch::Receiver<usize>,
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
    environment: Mutex<Environment>,
    /// Something that a waiting call or the platform's side looks at has changed.
    changed: Notify,
}

#[derive(Debug)]
struct Environment {
    machine: Machine,
    current: Option<Current>,
    init_error: Option<Bytes>,
}

/// The invocation that the runtime has or is to get.
#[derive(Debug)]
struct Current {
    key: InvocationKey,
    head: HeaderMap,
    event: Bytes,
    delivered: bool,
    /// Whoever waits for the answer, until there is one.
    caller: Option<oneshot::Sender<Answer>>,
}

impl RuntimeApi {
    /// Starts to listen. The runtime that calls first is the environment's.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(identity: Identity) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let environment = Environment { machine: Machine::new(), current: None, init_error: None };
        let shared = Arc::new(Shared { identity, environment: Mutex::new(environment), changed: Notify::new() });
        let (open, connections) = watch::channel(0);
        let server = tokio::spawn(serve(listener, Arc::clone(&shared), open));
        Ok(RuntimeApi { address, shared, connections, server })
    }

    /// What `AWS_LAMBDA_RUNTIME_API` is to be set to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until an event can be delivered at once.
    pub async fn idle(&self) {
        self.until(|environment| environment.machine.is_idle().then_some(())).await;
    }

    /// Waits for an init error: its document. There may never be one.
    pub async fn init_error(&self) -> Bytes {
        self.until(|environment| environment.init_error.clone()).await
    }

    /// The init error that has come, if one has.
    pub fn take_init_error(&self) -> Option<Bytes> {
        self.shared.lock().init_error.take()
    }

    /// Gives the event to the runtime, as soon as it asks. The answer comes once; an environment that ends gives none.
    ///
    /// # Errors
    /// When the kernel gives no random bytes for an id.
    pub fn deliver(&self, delivery: Delivery) -> io::Result<oneshot::Receiver<Answer>> {
        let key = InvocationKey { request_id: delivery.request_id.clone(), invocation_id: id::uuid()? };
        let head = delivery.head(&key);
        let (caller, answer) = oneshot::channel();
        self.shared.lock().current = Some(Current { key, head, event: delivery.event, delivered: false, caller: Some(caller) });
        self.shared.changed.notify_waiters();
        Ok(answer)
    }

    /// The environment is over. Reports that come from now on are refused, and `/next` is left to wait.
    pub fn end(&self) {
        let mut environment = self.shared.lock();
        environment.machine.end();
        environment.current = None;
    }

    /// Waits until the runtime's connections are closed, which is when everything it has sent has been read.
    pub async fn drained(&self) {
        // A connection that the kernel has accepted but the server has not gets its turn first.
        tokio::task::yield_now().await;
        let mut connections = self.connections.clone();
        // The error is a server that has ended: nothing is read any more.
        let _ = connections.wait_for(|&open| open == 0).await;
    }

    async fn until<T>(&self, what: impl Fn(&Environment) -> Option<T>) -> T {
        loop {
            // Made before the look: a change after it is not missed.
            let changed = self.shared.changed.notified();
            if let Some(found) = what(&self.shared.lock()) {
                return found;
            }
            changed.await;
        }
    }
}

impl Delivery {
    fn head(&self, key: &InvocationKey) -> HeaderMap {
        let mut head = HeaderMap::new();
        let values = [
            (REQUEST_ID, Some(&key.request_id)),
            (INVOCATION_ID, Some(&key.invocation_id)),
            (DEADLINE, Some(&self.deadline_ms.to_string())),
            (ARN, Some(&self.arn)),
            (TRACE_ID, Some(&self.trace_id)),
            (CLIENT_CONTEXT, self.client_context.as_ref()),
            (TENANT_ID, self.tenant_id.as_ref()),
        ]
        .map(|(name, value)| (name, value.map(|value| HeaderValue::from_bytes(value.as_bytes()))));
        for (name, value) in values {
            // The command line has checked what came from it; a name that no header can hold is left out, as Lambda does.
            if let Some(Ok(value)) = value {
                head.insert(name, value);
            }
        }
        head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        head
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Environment> {
        // Nothing panics while it holds the lock, and a state is whole between two calls of it in any case.
        self.environment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: Answer) {
        if let Some(caller) = self.lock().current.as_mut().and_then(|current| current.caller.take()) {
            // A caller that has gone wants no answer.
            let _ = caller.send(answer);
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, open: watch::Sender<usize>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                // Out of descriptors, for one: the connection stays in the kernel's queue.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
        open.send_replace(connections.len());
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Only delays small answers; where the option can't be set they come late.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(route(request, &shared).await.unwrap_or_else(|refusal| refused(&refusal))) }
    });
    // An error here is the client's: it went away or did not speak HTTP.
    let _ = hyper::server::conn::http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(stream), service).await;
}

type Reply = Response<Full<Bytes>>;

async fn route(request: Request<Incoming>, shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let get = request.method() == Method::GET;
    let post = request.method() == Method::POST;
    match segments[..] {
        ["2018-06-01", "ping"] if get => Ok(plain(StatusCode::OK, "pong")),
        ["2018-06-01", "runtime", "invocation", "next"] if get => next(shared).await,
        ["2018-06-01", "runtime", "invocation", request_id, "response"] if post => {
            report(Report::Response, request_id, request, shared).await
        }
        ["2018-06-01", "runtime", "invocation", request_id, "error"] if post => {
            report(Report::Error, request_id, request, shared).await
        }
        ["2018-06-01", "runtime", "init", "error"] if post => init_error(request, shared).await,
        ["2018-06-01", "runtime", "restore", "next"] if get => Err(shared.lock().machine.restore_next()),
        ["2020-01-01", "extension", "register"] if post => register(request, shared).await,
        ["2020-01-01", "extension", "event", "next"] if get => {
            let id = request.headers().get(EXTENSION_ID).and_then(|id| id.to_str().ok());
            shared.lock().machine.extension_next(id)?;
            shared.changed.notify_waiters();
            // It has registered for no events, and the end of the environment closes the connection.
            std::future::pending().await
        }
        ["2018-06-01", "ping"]
        | ["2018-06-01", "runtime", "invocation", "next"]
        | ["2018-06-01", "runtime", "invocation", _, "response" | "error"]
        | ["2018-06-01", "runtime", "init", "error"]
        | ["2018-06-01", "runtime", "restore", "next"]
        | ["2020-01-01", "extension", "register"]
        | ["2020-01-01", "extension", "event", "next"] => Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "")),
        _ => Ok(plain(StatusCode::NOT_FOUND, "404 page not found\n")),
    }
}

async fn next(shared: &Shared) -> Result<Reply, Refusal> {
    if shared.lock().machine.next_event()? == Next::Again {
        return Ok(shared.lock().current.as_ref().map_or_else(|| plain(StatusCode::NO_CONTENT, ""), Current::reply));
    }
    // The call itself may have made the environment idle, which the platform's side waits for.
    shared.changed.notify_waiters();
    loop {
        let changed = shared.changed.notified();
        if let Some(reply) = shared.lock().hand_out() {
            return Ok(reply);
        }
        changed.await;
    }
}

impl Environment {
    /// The event, where one waits and the runtime may have it.
    fn hand_out(&mut self) -> Option<Reply> {
        let current = self.current.as_mut().filter(|current| !current.delivered)?;
        current.delivered = self.machine.deliver(current.key.clone());
        current.delivered.then(|| current.reply())
    }
}

impl Current {
    fn reply(&self) -> Reply {
        let mut reply = Response::new(Full::new(self.event.clone()));
        *reply.headers_mut() = self.head.clone();
        reply
    }
}

/// A report on its way. Where it is dropped, because the connection broke, the report is still owed.
struct Upload<'a> {
    shared: &'a Shared,
    finished: bool,
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.lock().machine.broke_off();
        }
    }
}

async fn report(kind: Report, request_id: &str, request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let invocation_id = head.headers.get(INVOCATION_ID).and_then(|id| id.to_str().ok());
    shared.lock().machine.begin(kind, request_id, invocation_id)?;
    let mut upload = Upload { shared, finished: false };

    let mode = head.headers.get(RESPONSE_MODE).filter(|mode| !mode.is_empty());
    let known_mode = kind == Report::Error || mode.is_none_or(|mode| mode == "streaming");
    // Read in any case, so that the client sees the answer.
    let Ok(body) = read(body).await else { return Err(Refusal::TruncatedHttpRequest) };
    upload.finished = true;
    if !known_mode {
        let refusal = shared.lock().machine.unknown_mode();
        shared.answer(Answer::platform_error("Runtime.InvalidResponseModeHeader", ""));
        return Err(refusal);
    }
    let received = shared.lock().machine.received(body.size);
    match received {
        Err(Refusal::RequestEntityTooLarge) => shared.answer(Answer::platform_error(
            "Function.ResponseSizeTooLarge",
            &format!(
                "Response payload size ({} bytes) exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).",
                body.size
            ),
        )),
        Err(_) => {}
        Ok(()) => shared.answer(match (kind, body.error) {
            (Report::Response, None) => Answer::Response(body.bytes),
            (Report::Response, Some(document)) => Answer::Error(document),
            (Report::Error, _) => Answer::Error(body.bytes),
        }),
    }
    received.map(|()| accepted())
}

async fn init_error(request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let Ok(body) = read(request.into_body()).await else { return Err(Refusal::TruncatedHttpRequest) };
    let mut environment = shared.lock();
    environment.machine.init_error()?;
    environment.init_error = Some(body.bytes);
    shared.changed.notify_waiters();
    Ok(accepted())
}

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
}

async fn register(request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let name = head.headers.get(EXTENSION_NAME).and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned();
    let Ok(body) = read(body).await else { return Err(Refusal::TruncatedHttpRequest) };
    let registration: Registration =
        serde_json::from_slice(&body.bytes).map_err(|error| Refusal::Extension("InvalidRequestFormat", error.to_string()))?;
    if let Some(event) = registration.events.first() {
        let message = format!("{event}: the local environment has no events for extensions");
        return Err(Refusal::Extension("Extension.InvalidEventType", message));
    }
    let Ok(id) = id::uuid() else { return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, "")) };
    shared.lock().machine.register_extension(&name, id.clone())?;
    let mut reply = json(StatusCode::OK, &shared.identity);
    if let Ok(id) = HeaderValue::from_str(&id) {
        reply.headers_mut().insert(EXTENSION_ID, id);
    }
    Ok(reply)
}

/// A request's body.
struct Body {
    /// At most [`MAX_RESPONSE_BYTES`] of it.
    bytes: Bytes,
    /// All that came.
    size: usize,
    /// The error document of the trailers that end a streamed response which failed in its middle.
    error: Option<Bytes>,
}

/// Reads to the end, however long, in bounded memory.
async fn read(mut body: Incoming) -> Result<Body, hyper::Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(MAX_RESPONSE_BYTES);
    let mut bytes = BytesMut::with_capacity(announced.min(MAX_RESPONSE_BYTES));
    let mut size = 0;
    let mut error = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                size += data.len();
                if size <= MAX_RESPONSE_BYTES {
                    bytes.extend_from_slice(&data);
                }
            }
            Err(frame) => error = frame.trailers_ref().and_then(trailing_error),
        }
    }
    Ok(Body { bytes: bytes.freeze(), size, error })
}

fn trailing_error(trailers: &HeaderMap) -> Option<Bytes> {
    let error_type = trailers.get(ERROR_TYPE)?;
    let document = trailers.get(ERROR_BODY).and_then(|body| BASE64.decode(body.as_bytes()).ok());
    Some(document.map_or_else(
        || Answer::document(&String::from_utf8_lossy(error_type.as_bytes()), "the response ended in an error"),
        Bytes::from,
    ))
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalBody {
    error_message: String,
    error_type: &'static str,
}

fn accepted() -> Reply {
    json(StatusCode::ACCEPTED, &Status { status: "OK" })
}

fn refused(refusal: &Refusal) -> Reply {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &RefusalBody { error_message: refusal.to_string(), error_type: refusal.error_type() })
}

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    // The types above are strings throughout and can't fail to serialise.
    let mut reply = Response::new(Full::new(serde_json::to_vec(value).unwrap_or_default().into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *reply.status_mut() = status;
    reply
}
