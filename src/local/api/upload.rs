//! A report on its way: read whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderMap;
use hyper::{Request, header::HeaderName};

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::super::state::{MAX_RESPONSE_BYTES, Report};
use super::Shared;
use super::wire::{self, ERROR_BODY, ERROR_TYPE, INVOCATION_ID, RESPONSE_MODE, Reply};

/// Where it is dropped unfinished, because the connection broke, its body has broken off.
struct Upload<'a> {
    shared: &'a Shared,
    request_id: &'a str,
    finished: bool,
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut exchange = self.shared.lock();
        if exchange.machine.break_off(self.request_id) {
            let message = format!("RequestId: {} Error: the streamed response broke off before its end", self.request_id);
            exchange.answer(self.request_id, Answer::platform_error("Runtime.TruncatedResponse", &message));
        }
    }
}

/// `POST /runtime/invocation/{request_id}/response`
pub(super) async fn response(request_id: &str, request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let mode = request.headers().get(RESPONSE_MODE).filter(|mode| !mode.is_empty());
    match mode {
        None => report(Report::Response, request_id, request, shared).await,
        Some(mode) if mode == "streaming" => report(Report::Stream, request_id, request, shared).await,
        Some(_) => unknown_mode(request_id, request, shared).await,
    }
}

/// `POST /runtime/invocation/{request_id}/error`
pub(super) async fn error(request_id: &str, request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    report(Report::Error, request_id, request, shared).await
}

async fn report(report: Report, request_id: &str, request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let mut upload = begin(report, request_id, request.headers(), shared)?;
    let Ok(body) = read(request.into_body()).await else { return Err(Refusal::TruncatedHttpRequest) };
    upload.finished = true;

    let limit = MAX_RESPONSE_BYTES;
    let mut exchange = shared.lock();
    let received = exchange.machine.receive(request_id, body.size, limit);
    let answer = match (&received, report, body.trailing_error) {
        (Err(Refusal::RequestEntityTooLarge { .. }), ..) => too_large(body.size, limit),
        // Nobody waits for it any more.
        (Err(_), ..) => return received.map(|()| wire::accepted()),
        (Ok(()), Report::Error, _) => Answer::Error(body.bytes),
        (Ok(()), Report::Response | Report::Stream, Some(document)) => Answer::Error(document),
        (Ok(()), Report::Response | Report::Stream, None) => Answer::Response(body.bytes),
    };
    exchange.answer(request_id, answer);
    received.map(|()| wire::accepted())
}

async fn unknown_mode(request_id: &str, request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let mut upload = begin(Report::Response, request_id, request.headers(), shared)?;
    // Read in any case, so that the client sees the answer.
    if read(request.into_body()).await.is_err() {
        return Err(Refusal::TruncatedHttpRequest);
    }
    upload.finished = true;
    let mut exchange = shared.lock();
    let refusal = exchange.machine.unknown_mode(request_id);
    exchange.answer(request_id, Answer::platform_error("Runtime.InvalidResponseModeHeader", ""));
    Err(refusal)
}

fn begin<'a>(report: Report, request_id: &'a str, head: &HeaderMap, shared: &'a Shared) -> Result<Upload<'a>, Refusal> {
    let invocation_id = head.get(INVOCATION_ID).and_then(|id| id.to_str().ok());
    shared.lock().machine.begin(report, request_id, invocation_id)?;
    Ok(Upload { shared, request_id, finished: false })
}

/// A body that has come to its end.
#[derive(Default)]
pub(super) struct Body {
    /// At most [`MAX_RESPONSE_BYTES`] of it, less than `size` where it has more.
    pub(super) bytes: Bytes,
    /// The bytes that came.
    size: usize,
    /// The error document of the trailers that end a streamed response which failed in its middle.
    trailing_error: Option<Bytes>,
}

/// Reads to the end, however long, in bounded memory.
pub(super) async fn read(mut body: Incoming) -> Result<Body, hyper::Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(MAX_RESPONSE_BYTES);
    let mut bytes = BytesMut::with_capacity(announced.min(MAX_RESPONSE_BYTES));
    let mut read = Body::default();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                read.size += data.len();
                if read.size <= MAX_RESPONSE_BYTES {
                    bytes.extend_from_slice(&data);
                }
            }
            Err(frame) => read.trailing_error = frame.trailers_ref().and_then(trailing_error),
        }
    }
    read.bytes = bytes.freeze();
    Ok(read)
}

fn trailing_error(trailers: &HeaderMap) -> Option<Bytes> {
    let text = |name: &HeaderName| trailers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let error_type = text(&ERROR_TYPE).filter(|error_type| !error_type.is_empty())?;
    let document = trailers.get(ERROR_BODY).and_then(|body| BASE64.decode(body.as_bytes()).ok()).unwrap_or_default();
    if Answer::told(&document).error_type.is_empty() {
        // Without a document in Lambda's form the trailer has the type, and the text is a message.
        return Some(Answer::document(&error_type, &String::from_utf8_lossy(&document)));
    }
    Some(document.into())
}

fn too_large(size: usize, limit: usize) -> Answer {
    let message = format!("Response payload size ({size} bytes) exceeded maximum allowed payload size ({limit} bytes).");
    Answer::platform_error("Function.ResponseSizeTooLarge", &message)
}
