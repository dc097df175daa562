//! Headers and bodies as they are on the wire.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::super::refusal::Refusal;
use super::super::state::InvocationKey;
use super::Delivery;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
pub(super) const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
pub(super) const DEADLINE: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
pub(super) const ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
pub(super) const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
pub(super) const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
pub(super) const TENANT_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-tenant-id");
pub(super) const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
pub(super) const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
pub(super) const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");
pub(super) const EXTENSION_NAME: HeaderName = HeaderName::from_static("lambda-extension-name");
pub(super) const EXTENSION_ID: HeaderName = HeaderName::from_static("lambda-extension-identifier");

/// What a call is answered with.
pub(super) type Reply = Response<Full<Bytes>>;

/// The headers of an event, except its deadline.
pub(super) fn head(delivery: &Delivery, key: &InvocationKey) -> HeaderMap {
    let mut head = HeaderMap::new();
    let values = [
        (REQUEST_ID, Some(&key.request_id)),
        (INVOCATION_ID, Some(&key.invocation_id)),
        (ARN, Some(&delivery.arn)),
        (TRACE_ID, Some(&delivery.trace_id)),
        (CLIENT_CONTEXT, delivery.client_context.as_ref()),
        (TENANT_ID, delivery.tenant_id.as_ref()),
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

/// The deadline, in milliseconds since 1970.
pub(super) fn set_deadline(head: &mut HeaderMap, deadline_ms: u64) {
    head.insert(DEADLINE, HeaderValue::from(deadline_ms));
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

pub(super) fn accepted() -> Reply {
    json(StatusCode::ACCEPTED, &Status { status: "OK" })
}

pub(super) fn refused(refusal: &Refusal) -> Reply {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &RefusalBody { error_message: refusal.to_string(), error_type: refusal.error_type() })
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    // What is passed here is strings throughout and can't fail to serialise.
    let mut reply = Response::new(Full::new(serde_json::to_vec(value).unwrap_or_default().into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(text.into()));
    *reply.status_mut() = status;
    reply
}
