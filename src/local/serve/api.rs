//! Lambda's Invoke API: a request to an invocation, and its answer to a reply.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::body::{Held, NoBody, Room};
use super::call::{Call, Kind};
use super::events::Events;
use super::exception::Exception;
use super::fleet::Fleet;
use super::guard;
use super::name::{self, Named};
use crate::local::console::Console;
use crate::local::environment::{Invocation, Invoked};
use crate::local::events::MAX_EVENT_BYTES;
use crate::local::function::Function;
use crate::local::{id, json};

/// The largest event whose caller doesn't wait, in bytes.
const MAX_QUEUED_EVENT_BYTES: usize = 1024 * 1024;

/// How long a request's body may take to come.
const BODY_PATIENCE: Duration = Duration::from_secs(60);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");

/// What a request is answered with.
pub type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

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
    pub async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (request_id, new_trace_id) = match (id::uuid(), id::trace_id()) {
            (Ok(request_id), Ok(trace_id)) => (request_id, trace_id),
            (Err(error), _) | (_, Err(error)) => return refused(&Exception::Service(format!("no random bytes: {error}"))),
        };
        let mut reply = match self.route(request, &request_id, new_trace_id).await {
            Ok(reply) => reply,
            Err(exception) => refused(&exception),
        };
        if let Ok(request_id) = HeaderValue::try_from(request_id) {
            reply.headers_mut().insert(REQUEST_ID, request_id);
        }
        reply
    }

    async fn route(&self, request: Request<Incoming>, request_id: &str, new_trace_id: String) -> Result<Reply, Exception> {
        guard::check(request.headers(), request.uri().authority().map(|authority| authority.as_str()), self.address)?;
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments[..] {
            ["2015-03-31", "functions", name, "invocations"] if request.method() == Method::POST => {
                self.find(name, request.uri().query()).await?;
                self.invoke(request, request_id, new_trace_id).await
            }
            _ => Err(Exception::UnknownOperation),
        }
    }

    /// Makes sure that the caller means this function.
    async fn find(&self, name: &str, query: Option<&str>) -> Result<(), Exception> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let name = decode(name);
        let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("Qualifier=")).map(decode);
        match name::find(&name, &self.function.name) {
            Named::Nothing => Err(Exception::InvalidParameterValue(format!(
                "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: \
                 it must be a function's name or ARN, with or without a qualifier"
            ))),
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
    async fn invoke(&self, request: Request<Incoming>, request_id: &str, new_trace_id: String) -> Result<Reply, Exception> {
        let call = Call::new(request.headers())?;
        let limit = if call.kind == Kind::Event { MAX_QUEUED_EVENT_BYTES } else { MAX_EVENT_BYTES };
        let Held { bytes, permit } =
            self.room.read(request.into_body(), limit, BODY_PATIENCE).await.map_err(|why| no_body(why, limit))?;
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            trace_id: call.trace_id.unwrap_or(new_trace_id),
            client_context: call.client_context,
            tenant_id: call.tenant_id,
            event: event(bytes)?,
        };
        let trace_id = HeaderValue::try_from(&invocation.trace_id).ok();
        let mut reply = match call.kind {
            Kind::DryRun => status_only(StatusCode::NO_CONTENT),
            Kind::Event => {
                self.events.queue(invocation, permit)?;
                status_only(StatusCode::ACCEPTED)
            }
            Kind::RequestResponse => {
                let running = self.fleet.lease().await?.invoke(invocation, None);
                let invoked = match running.await {
                    Ok(Ok(invoked)) => invoked,
                    Ok(Err(error)) => return Err(Exception::Service(format!("{error:#}"))),
                    // It doesn't panic, and nobody aborts it.
                    Err(error) => return Err(Exception::Service(error.to_string())),
                };
                answered(&invoked, call.wants_log)
            }
        };
        if let Some(trace_id) = trace_id {
            reply.headers_mut().insert(TRACE_ID, trace_id);
        }
        Ok(reply)
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

fn no_body(why: NoBody, limit: usize) -> Exception {
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
    let mut reply = Response::new(Full::new(body).boxed_unsync());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn status_only(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *reply.status_mut() = status;
    reply
}
