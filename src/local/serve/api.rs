//! Lambda's Invoke API: a request to an invocation, and its answer to a reply. What is none of its calls is the function URL's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts as Head;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::body::{self, Held, NoBody, Room};
use super::call::{self, Call, Kind};
use super::events::Events;
use super::exception::Exception;
use super::fleet::Fleet;
use super::frames;
use super::name::{self, Named};
use super::page;
use crate::local::console::Console;
use crate::local::environment::{Invocation, Invoked};
use crate::local::events::MAX_EVENT_BYTES;
use crate::local::function::Function;
use crate::local::{event_stream, guard, id, json};

/// The largest event whose caller doesn't wait, in bytes.
const MAX_QUEUED_EVENT_BYTES: usize = 1024 * 1024;

/// How long a request's body may take to come.
pub const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer where the fleet has been stopped.
pub const STOPPED: &str = "the server is stopped";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");

/// What a request is answered with.
pub type Reply = Response<ReplyBody>;

/// Its body, which may break off.
pub type ReplyBody = UnsyncBoxBody<Bytes, BrokenOff>;

/// A streamed answer has ended in an error: its connection is closed before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the streamed response broke off")]
pub struct BrokenOff;

/// What all requests have in common.
#[derive(Debug)]
pub struct Api {
    /// The function that is served.
    pub function: Arc<Function>,
    /// Its environments.
    pub fleet: Arc<Fleet>,
    /// The events whose callers don't wait.
    pub events: Events,
    /// The memory for bodies.
    pub room: Room,
    /// Where a caller's mistake is explained.
    pub console: Console,
    /// Where requests come to.
    pub address: SocketAddr,
}

impl Api {
    /// Answers a request, whatever it is.
    pub async fn answer(self: &Arc<Self>, request: Request<Incoming>, client: SocketAddr) -> Reply {
        let (request_id, new_trace_id) = match (id::uuid(), id::trace_id()) {
            (Ok(request_id), Ok(trace_id)) => (request_id, trace_id),
            (Err(error), _) | (_, Err(error)) => return refused(&Exception::Service(format!("no random bytes: {error}"))),
        };
        let (head, mut body) = request.into_parts();
        let due = Instant::now() + BODY_PATIENCE;
        let mut reply = match self.route(head, &mut body, client, &request_id, new_trace_id).await {
            Ok(reply) => reply,
            Err(exception) => {
                body::discard(&mut body, due).await;
                refused(&exception)
            }
        };
        if let Ok(request_id) = HeaderValue::try_from(request_id) {
            reply.headers_mut().insert(REQUEST_ID, request_id);
        }
        reply
    }

    async fn route(
        self: &Arc<Self>,
        head: Head,
        body: &mut Incoming,
        client: SocketAddr,
        request_id: &str,
        new_trace_id: String,
    ) -> Result<Reply, Exception> {
        guard::check(&head.headers, head.uri.authority().map(|authority| authority.as_str()), self.address)
            .map_err(|stranger| Exception::AccessDenied(stranger.to_string()))?;
        let path = head.uri.path().to_owned();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments[..] {
            ["2015-03-31", "functions", name, "invocations"] if head.method == Method::POST => {
                self.find(name, head.uri.query()).await?;
                self.invoke(&head.headers, body, request_id, new_trace_id).await
            }
            ["2021-11-15", "functions", name, "response-streaming-invocations"] if head.method == Method::POST => {
                self.find(name, head.uri.query()).await?;
                self.invoke_with_response_stream(&head.headers, body, request_id, new_trace_id).await
            }
            // No page of a function's has such a path, and a client that means Lambda is told so.
            ["2015-03-31" | "2021-11-15", ..] => Err(Exception::UnknownOperation),
            // Any answer but an error would say that a tunnel is open.
            _ if head.method == Method::CONNECT => Err(Exception::UnknownOperation),
            _ => {
                let trace_id = call::trace_id(&head.headers).unwrap_or(new_trace_id);
                let header = HeaderValue::try_from(&trace_id).ok();
                let reply = page::answer(self, head, body, client, request_id, trace_id).await?;
                Ok(traced(reply, header))
            }
        }
    }

    /// Makes sure that the caller means this function.
    async fn find(&self, name: &str, query: Option<&str>) -> Result<(), Exception> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let name = decode(name);
        let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("Qualifier=")).map(decode);
        match name::find(&name, &self.function.name) {
            Named::Nothing => Err(call::unsatisfied(&name, "functionName", name::CONSTRAINT)),
            Named::Another(other) => {
                let note = format!("bootstrap: a call for the function `{other}` was refused; --function-name {other} serves it");
                self.console.note(note).await;
                let arn = self.function.arn.rsplit_once(':').map_or("", |(before, _)| before);
                Err(Exception::ResourceNotFound(format!("{arn}:{other}")))
            }
            Named::This(Some(derived)) if asked.is_some_and(|asked| asked != derived) => Err(Exception::InvalidParameterValue(
                "The derived qualifier from the function name does not match the specified qualifier.".to_owned(),
            )),
            Named::This(_) => Ok(()),
        }
    }

    /// `Invoke`
    async fn invoke(
        &self,
        headers: &HeaderMap,
        body: &mut Incoming,
        request_id: &str,
        new_trace_id: String,
    ) -> Result<Reply, Exception> {
        let call = Call::new(headers)?;
        let (kind, wants_log) = (call.kind, call.wants_log);
        let (invocation, memory) = self.accept(call, body, request_id, new_trace_id).await?;
        let trace_id = HeaderValue::try_from(&invocation.trace_id).ok();
        let reply = match kind {
            Kind::DryRun => status_only(StatusCode::NO_CONTENT),
            Kind::Event => {
                self.events.queue(invocation, memory)?;
                status_only(StatusCode::ACCEPTED)
            }
            Kind::RequestResponse => {
                let running = self.fleet.lease().await?.invoke(invocation, None);
                let invoked = match running.await {
                    Ok(Ok(invoked)) => invoked,
                    Ok(Err(error)) => return Err(Exception::Service(format!("{error:#}"))),
                    Err(_) => return Err(Exception::Service(STOPPED.to_owned())),
                };
                answered(&invoked, wants_log)
            }
        };
        Ok(traced(reply, trace_id))
    }

    /// `InvokeWithResponseStream`
    async fn invoke_with_response_stream(
        &self,
        headers: &HeaderMap,
        body: &mut Incoming,
        request_id: &str,
        new_trace_id: String,
    ) -> Result<Reply, Exception> {
        let call = Call::new(headers)?;
        let (kind, wants_log) = (call.kind, call.wants_log);
        if kind == Kind::Event {
            return Err(call::unsatisfied("Event", "invocationType", "enum value set: [DryRun, RequestResponse]"));
        }
        let (invocation, memory) = self.accept(call, body, request_id, new_trace_id).await?;
        let trace_id = HeaderValue::try_from(&invocation.trace_id).ok();
        if kind == Kind::DryRun {
            return Ok(traced(status_only(StatusCode::NO_CONTENT), trace_id));
        }
        let (stream, parts) = mpsc::channel(1);
        let running = self.fleet.lease().await?.invoke(invocation, Some(stream));
        let mut reply = Response::new(frames::body(running, parts, wants_log, memory));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(event_stream::CONTENT_TYPE));
        reply.headers_mut().insert(EXECUTED_VERSION, HeaderValue::from_static("$LATEST"));
        Ok(traced(reply, trace_id))
    }

    /// Reads the event of a call. Gives the invocation, and the memory that its event holds.
    async fn accept(
        &self,
        call: Call,
        body: &mut Incoming,
        request_id: &str,
        new_trace_id: String,
    ) -> Result<(Invocation, Option<OwnedSemaphorePermit>), Exception> {
        let limit = if call.kind == Kind::Event { MAX_QUEUED_EVENT_BYTES } else { MAX_EVENT_BYTES };
        let Held { bytes, permit } = self.room.read(body, limit, BODY_PATIENCE).await.map_err(|why| no_body(why, limit))?;
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            trace_id: call.trace_id.unwrap_or(new_trace_id),
            client_context: call.client_context,
            tenant_id: call.tenant_id,
            event: event(bytes)?,
        };
        Ok((invocation, permit))
    }
}

/// The event of a body; Lambda's for a body of nothing is an empty object.
fn event(body: Bytes) -> Result<Bytes, Exception> {
    if body.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match json::check(&body) {
        Ok(()) => Ok(body),
        Err(place) => Err(Exception::InvalidRequestContent(format!(
            "Could not parse request body into json: Could not parse payload into json: {} at line {}, column {}",
            place.message, place.line, place.column
        ))),
    }
}

fn traced(mut reply: Reply, trace_id: Option<HeaderValue>) -> Reply {
    if let Some(trace_id) = trace_id {
        reply.headers_mut().insert(TRACE_ID, trace_id);
    }
    reply
}

/// What a client is told that has sent no body of at most `limit` bytes.
pub fn no_body(why: NoBody, limit: usize) -> Exception {
    match why {
        NoBody::TooLarge => Exception::RequestTooLarge { limit },
        NoBody::NoRoom => Exception::TooManyRequests,
        NoBody::TooSlow => Exception::RequestTimeout,
        NoBody::Broken => Exception::InvalidRequestContent("The request's body broke off.".to_owned()),
    }
}

fn answered(invoked: &Invoked, wants_log: bool) -> Reply {
    let mut reply = with_body(StatusCode::OK, invoked.answer.body());
    let headers = reply.headers_mut();
    headers.insert(EXECUTED_VERSION, HeaderValue::from_static("$LATEST"));
    if !invoked.answer.is_response() {
        headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    }
    if wants_log && let Ok(log) = HeaderValue::try_from(BASE64.encode(&invoked.log)) {
        headers.insert(LOG_RESULT, log);
    }
    reply
}

fn refused(exception: &Exception) -> Reply {
    let status = StatusCode::from_u16(exception.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = with_body(status, exception.document().into());
    reply.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(exception.error_type()));
    reply
}

fn with_body(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(whole(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn status_only(status: StatusCode) -> Reply {
    let mut reply = Response::new(whole(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// A body that does not break off.
pub fn whole(body: Bytes) -> ReplyBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}
