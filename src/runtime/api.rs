//! The Runtime API client: the only user of reqwest, and the only room that knows HTTP.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::channel::Channel;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TRAILER, USER_AGENT};
use reqwest::{Body, Client, Method, Request, RequestBuilder, Response, StatusCode, Url};
use thiserror::Error;

use crate::document::shorten;
use crate::log::Logs;
use crate::runtime::invocation::Invocation;
use crate::runtime::report::{ERROR_BODY_TRAILER, ERROR_TYPE_TRAILER, ErrorBody, Report, Target};
use crate::runtime::stream::BrokenOff;
use crate::timer::Timer;

/// The pauses between the tries of a `/next` that fails: five tries in about two seconds.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(125), Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1000)];

/// How long a connection to loopback may take.
const CONNECT: Duration = Duration::from_secs(1);

/// How long any other call than those that Lambda holds may take.
pub const ANSWER: Duration = Duration::from_secs(10);

/// How long an answer may take that is there already.
pub const AFTER_THAW: Duration = Duration::from_millis(500);

/// How much of a refusal's body is logged, in bytes.
const QUOTED: usize = 1024;

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const CAUSE: &str = "lambda-runtime-function-xray-error-cause";
const EXTENSION_NAME: &str = "lambda-extension-name";
const EXTENSION_ID: &str = "lambda-extension-identifier";
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
const CLIENT: HeaderValue = HeaderValue::from_static(concat!("lambda-bootstrap/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The Runtime API can't be used any more, or not at all; the runtime can't go on.
#[derive(Debug, Error)]
pub enum Gone {
    /// The address makes no URL.
    #[error("AWS_LAMBDA_RUNTIME_API={0:?} is not an address of the form host:port ({1})")]
    Address(String, String),
    /// The HTTP client can't be built.
    #[error("the HTTP client can't be set up: {0}")]
    Client(String),
    /// It answered, and a second try would get the same.
    #[error("the Runtime API refused {what} with status {status}: {body}")]
    Refused {
        /// Which call.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer's body.
        body: String,
    },
    /// It failed in every try.
    #[error("the Runtime API failed {what} {tries} times, at last because {why}")]
    Failed {
        /// Which call.
        what: &'static str,
        /// How many times it was tried.
        tries: usize,
        /// What was wrong with the last try.
        why: String,
    },
}

/// What stands for the Runtime API in every URL, and is [resolved](Resolve) to its address. A URL is read several times for a call,
/// by reqwest, by hyper and for the pool of connections; an IP address and a port in each would take a tenth of all instructions.
const ORIGIN: &str = "http://api";

/// A connection to the Runtime API.
#[derive(Debug)]
pub struct Api {
    client: RefCell<Client>,
    peer: Arc<Peer>,
    /// What every request says, with what the client would add and so finds there; and what one with JSON says.
    headers: HeaderMap,
    json_headers: HeaderMap,
    /// The path of the address, where it has one.
    prefix: String,
    origin: Url,
    next: Url,
    logs: Logs,
    /// For the limits of calls: those that are not in use.
    timers: RefCell<Vec<Timer>>,
}

impl Api {
    /// A client of the Runtime API at `address`: `host:port`, or that with `http://` before it and a path behind.
    ///
    /// # Errors
    /// [`Gone::Address`] and [`Gone::Client`].
    pub fn new(address: &str, logs: Logs) -> Result<Self, Gone> {
        let bare = address.strip_prefix("http://").unwrap_or(address);
        if bare.contains("://") {
            return Err(Gone::Address(address.to_owned(), "the only scheme is http://".to_owned()));
        }
        if bare.starts_with('/') {
            return Err(Gone::Address(address.to_owned(), "it names no host".to_owned()));
        }
        let odd = |why: &dyn Display| Gone::Address(address.to_owned(), why.to_string());
        let base = Url::parse(&format!("http://{bare}")).map_err(|error| odd(&error))?;
        let name = base.host_str().unwrap_or_default();
        let host = base.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let host = HeaderValue::try_from(host).map_err(|error| odd(&error))?;
        // Room for what is added later, so that it need not grow.
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, CLIENT);
        headers.insert(ACCEPT, ANYTHING);
        let mut json_headers = headers.clone();
        json_headers.insert(CONTENT_TYPE, JSON);
        let origin = Url::parse(ORIGIN).map_err(|error| odd(&error))?;
        let peer = Arc::new(Peer(format!("{name}:{}", base.port().unwrap_or(80))));
        let mut api = Self {
            client: RefCell::new(client(&peer)?),
            peer,
            headers,
            json_headers,
            prefix: base.path().trim_end_matches('/').to_owned(),
            next: origin.clone(),
            origin,
            logs,
            timers: RefCell::default(),
        };
        api.next = api.url("/2018-06-01/runtime/invocation/next");
        Ok(api)
    }

    /// Lets go of every connection. After a snapshot is restored the old ones are dead without knowing it.
    ///
    /// # Errors
    /// [`Gone::Client`].
    pub fn reconnect(&self) -> Result<(), Gone> {
        self.client.replace(client(&self.peer)?);
        Ok(())
    }

    /// Waits for the next invocation, without a time limit: the environment may be frozen meanwhile.
    ///
    /// # Errors
    /// [`Gone::Refused`] and [`Gone::Failed`].
    pub async fn next(&self) -> Result<Invocation, Gone> {
        self.persist("/next", || async {
            let response = self.call(self.request(Method::GET, self.next.clone())).await?;
            // There are few headers: to look at each is cheaper than to hash the name, eight times.
            let header = |wanted: &str| {
                let mut headers = response.headers().iter();
                headers.find(|(name, _)| name.as_str() == wanted).map(|(_, value)| value.as_bytes())
            };
            let (mut invocation, warnings) = Invocation::from_headers(header).map_err(Trouble::Odd)?;
            for warning in warnings {
                self.logs.warn(Some(&invocation.request_id), &warning);
            }
            invocation.event = chunks(response).await?;
            Ok(invocation)
        })
        .await
    }

    /// Waits until the snapshot is restored, without a time limit.
    ///
    /// # Errors
    /// [`Gone::Refused`] and [`Gone::Failed`].
    pub async fn restore_next(&self) -> Result<(), Gone> {
        self.persist("/restore/next", || async {
            let response = self.call(self.request(Method::GET, self.url("/2018-06-01/runtime/restore/next"))).await?;
            chunks(response).await.map(drop)
        })
        .await
    }

    /// Posts a report. What goes wrong with that is logged; the invocation is over either way.
    pub async fn report(&self, report: Report) {
        let (Target { request_id, invocation_id }, method, mut headers, body) = match report {
            Report::Response(target, body) => (target, "response", HeaderMap::new(), body),
            Report::Error(target, error) => (target, "error", error_headers(&error), error.body),
        };
        if let Some(Ok(id)) = invocation_id.map(|id| HeaderValue::from_str(&id)) {
            headers.insert(INVOCATION_ID, id);
        }
        let url = self.url_of(&request_id, method);
        let what = || format!("/invocation/{request_id}/{method}");
        self.post(url, what, Some(&request_id), headers, body, Trouble::is_transport_or_5xx).await;
    }

    /// Posts a report that comes bit by bit: it is over when its body is and the answer has come. It is never sent twice, since
    /// what was sent is here no more. No limit of time: the body decides how long it takes.
    ///
    /// # Errors
    /// Why it was refused, or did not get through.
    pub async fn stream(&self, target: &Target, content_type: &str, body: Channel<Bytes, BrokenOff>) -> Result<(), String> {
        let request = self.request(Method::POST, self.url_of(&target.request_id, "response"));
        let mut request = RequestBuilder::from_parts(self.client.borrow().clone(), request).body(Body::wrap(body));
        request = request.header(RESPONSE_MODE, "streaming").header(CONTENT_TYPE, content_type);
        // The client sends those trailers that are announced.
        request = request.header(TRAILER, format!("{ERROR_TYPE_TRAILER}, {ERROR_BODY_TRAILER}"));
        if let Some(id) = &target.invocation_id {
            request = request.header(INVOCATION_ID, id);
        }
        let response = accepted(request.send().await).await.map_err(|trouble| trouble.to_string())?;
        let _ = chunks(response).await;
        Ok(())
    }

    /// Posts an init error, which is legal before the first `/next` only.
    pub async fn init_error(&self, error: ErrorBody) {
        let url = self.url("/2018-06-01/runtime/init/error");
        self.post(url, || "/init/error".to_owned(), None, error_headers(&error), error.body, Trouble::is_transport).await;
    }

    /// Registers an internal extension, which makes Lambda send SIGTERM before it ends the environment.
    ///
    /// # Errors
    /// Why there is none: managed instances refuse it.
    pub async fn register_extension(&self) -> Result<Extension, String> {
        let registered = self.within_limit(async {
            let mut request = self.request(Method::POST, self.url("/2020-01-01/extension/register"));
            request.headers_mut().insert(EXTENSION_NAME, HeaderValue::from_static("bootstrap"));
            request.headers_mut().insert(CONTENT_TYPE, JSON);
            *request.body_mut() = Some(r#"{"events":[]}"#.into());
            let response = self.call(request).await?;
            let identifier = response.headers().get(EXTENSION_ID).cloned();
            let identifier =
                identifier.ok_or_else(|| Trouble::Odd("the answer to /extension/register has no identifier".to_owned()))?;
            chunks(response).await?;
            Ok(Extension(identifier))
        });
        registered.await.map_err(|trouble| trouble.to_string())
    }

    /// Waits as a registered extension for an event, which never comes: it asked for none. Lambda wants it to wait, and ends the init
    /// phase only then.
    pub async fn wait_as(&self, Extension(identifier): &Extension) -> Infallible {
        let mut request = self.request(Method::GET, self.url("/2020-01-01/extension/event/next"));
        request.headers_mut().insert(EXTENSION_ID, identifier.clone());
        let why = match self.call(request).await {
            Ok(_) => "an event came that was not asked for".to_owned(),
            Err(trouble) => trouble.to_string(),
        };
        self.logs.warn(None, &format!("the internal extension has ended, so SIGTERM may not come: {why}"));
        std::future::pending().await
    }

    /// The URL of a call. The address was parsed once; what is added is ASCII without a special meaning in paths.
    fn url(&self, path: &str) -> Url {
        let mut url = self.origin.clone();
        if self.prefix.is_empty() {
            url.set_path(path);
        } else {
            url.set_path(&format!("{}{path}", self.prefix));
        }
        url
    }

    /// The URL of a report: `/next`'s with another end, so that only that is parsed.
    fn url_of(&self, request_id: &str, method: &str) -> Url {
        let end = [request_id, "/", method].concat();
        // A request id has no character that would make this anything but a path.
        self.next.join(&end).unwrap_or_else(|_| self.url(&format!("/2018-06-01/runtime/invocation/{end}")))
    }

    /// A request without a body and with the headers that every one has.
    fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The answer to a request, if it is a success.
    async fn call(&self, request: Request) -> Result<Response, Trouble> {
        let sent = self.client.borrow().execute(request);
        accepted(sent.await).await
    }

    /// A call that is answered at once as a rule. One that is not counts as a transport fault.
    async fn within_limit<T>(&self, call: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let mut call = std::pin::pin!(call);
        let mut timer = self.timers.borrow_mut().pop().unwrap_or_default();
        // The environment may be frozen between a report and its answer. When it is thawed the limit has passed and the answer is
        // there; the second wait lets it be read.
        let mut outcome = None;
        for limit in [ANSWER, AFTER_THAW] {
            outcome = tokio::select! {
                biased;
                answer = &mut call => Some(answer),
                () = timer.until(Instant::now() + limit) => None,
            };
            if outcome.is_some() {
                break;
            }
        }
        self.timers.borrow_mut().push(timer);
        outcome.unwrap_or_else(|| Err(Trouble::Transport(format!("no answer came within {} s", ANSWER.as_secs()))))
    }

    /// Tries until it succeeds, is refused, or has failed five times.
    async fn persist<T, F>(&self, what: &'static str, attempt: impl Fn() -> F) -> Result<T, Gone>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let mut pauses = PAUSES.iter();
        loop {
            let trouble = match attempt().await {
                Ok(done) => return Ok(done),
                Err(Trouble::Status(status, body)) if !status.is_server_error() => {
                    return Err(Gone::Refused { what, status: status.as_u16(), body });
                }
                Err(trouble) => trouble,
            };
            let Some(pause) = pauses.next() else {
                return Err(Gone::Failed { what, tries: PAUSES.len() + 1, why: trouble.to_string() });
            };
            self.logs.warn(None, &format!("{what} failed: {trouble}; trying again in {} ms", pause.as_millis()));
            tokio::time::sleep(*pause).await;
        }
    }

    /// Posts, and once more where the first try did not get through. What is refused is logged and left: the platform has its own
    /// view of the invocation by then, and would refuse whatever else is sent for it.
    async fn post(
        &self,
        url: Url,
        what: impl Fn() -> String,
        request_id: Option<&str>,
        headers: HeaderMap,
        body: Bytes,
        retry: fn(&Trouble) -> bool,
    ) {
        let attempt = || {
            self.within_limit(async {
                let mut request = Request::new(Method::POST, url.clone());
                *request.headers_mut() = self.json_headers.clone();
                request.headers_mut().extend(headers.clone());
                *request.body_mut() = Some(body.clone().into());
                let response = self.call(request).await?;
                // The connection serves the next call only if this answer has been read. The report is in either way.
                let _ = chunks(response).await;
                Ok(())
            })
        };
        let Err(trouble) = attempt().await else { return };
        if !retry(&trouble) {
            return self.logs.warn(request_id, &format!("POST {} failed: {trouble}", what()));
        }
        self.logs.warn(request_id, &format!("POST {} failed: {trouble}; trying again once", what()));
        if let Err(trouble) = attempt().await {
            self.logs.warn(request_id, &format!("POST {} failed again: {trouble}", what()));
        }
    }
}

/// A registered internal extension: its identifier.
#[derive(Debug)]
pub struct Extension(HeaderValue);

/// What can be wrong with one call.
#[derive(Debug, Error)]
enum Trouble {
    /// No answer, or half of one.
    #[error("{0}")]
    Transport(String),
    /// An answer that is no success, and the beginning of its body.
    #[error("status {}: {}", .0.as_u16(), .1)]
    Status(StatusCode, String),
    /// An answer that makes no sense.
    #[error("{0}")]
    Odd(String),
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        // The cause at the end of the chain is the one that says something: "connection refused".
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Transport(cause.to_string())
    }
}

impl Trouble {
    fn is_transport(&self) -> bool {
        matches!(self, Self::Transport(_))
    }

    fn is_transport_or_5xx(&self) -> bool {
        self.is_transport() || matches!(self, Self::Status(status, _) if status.is_server_error())
    }
}

/// The Runtime API's host:port, which is found whatever name is looked up.
#[derive(Debug)]
struct Peer(String);

impl Resolve for Peer {
    fn resolve(&self, _: Name) -> Resolving {
        let peer = self.0.clone();
        Box::pin(async move {
            let found: Addrs = Box::new(tokio::net::lookup_host(peer).await?.collect::<Vec<_>>().into_iter());
            Ok(found)
        })
    }
}

fn client(peer: &Arc<Peer>) -> Result<Client, Gone> {
    Client::builder()
        .dns_resolver(peer.clone())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .http1_only()
        .http1_ignore_invalid_headers_in_responses(true)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT)
        // The environment may be frozen for hours between two calls.
        .pool_idle_timeout(None)
        .build()
        .map_err(|error| Gone::Client(error.to_string()))
}

/// The answer, if it is a success.
async fn accepted(sent: Result<Response, reqwest::Error>) -> Result<Response, Trouble> {
    let mut response = sent?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // A longer body is left unread, and its connection with it.
    let mut body = Vec::new();
    while body.len() < QUOTED
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    let mut body = String::from_utf8_lossy(&body).into_owned();
    shorten(&mut body, QUOTED);
    Err(Trouble::Status(status, body))
}

/// The body, in the chunks in which it comes.
async fn chunks(mut response: Response) -> Result<Vec<Bytes>, Trouble> {
    let mut chunks = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn error_headers(error: &ErrorBody) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [(ERROR_TYPE, &error.error_type), (CAUSE, &error.cause)] {
        // Both are printable ASCII by construction.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers
}
