//! A report on its way: read whole, or passed on as it comes where it is a stream and its caller wants one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, header::HeaderName};

use super::super::answer::{Answer, Part};
use super::super::refusal::Refusal;
use super::super::state::{MAX_RESPONSE_BYTES, Report};
use super::wire::{self, ERROR_BODY, ERROR_TYPE, INVOCATION_ID, RESPONSE_MODE, Reply};
use super::{Open, Shared};

/// The largest streamed response that a caller of streams gets, in bytes: 200 MiB, Lambda's quota for response streaming.
pub const MAX_STREAMED_BYTES: usize = 200 * 1024 * 1024;

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
pub(super) async fn response(request_id: &str, request: Request<Incoming>, shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    let report = match request.headers().get(RESPONSE_MODE).filter(|mode| !mode.is_empty()) {
        None => Some(Report::Response),
        Some(mode) if mode == "streaming" => Some(Report::Stream),
        Some(_) => None,
    };
    upload(report, request_id, request, shared).await
}

/// `POST /runtime/invocation/{request_id}/error`
pub(super) async fn error(request_id: &str, request: Request<Incoming>, shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    upload(Some(Report::Error), request_id, request, shared).await
}

/// Takes a report, or refuses one whose mode is none that Lambda knows.
///
/// It is read in a task of its own: where the runtime closes its connection right behind the report, as one that exits does,
/// the connection's task ends before the last of what it has read is taken up here. This task ends with the body.
async fn upload(
    report: Option<Report>,
    request_id: &str,
    request: Request<Incoming>,
    shared: &Arc<Shared>,
) -> Result<Reply, Refusal> {
    let (open, shared, request_id) = (Open::new(shared), Arc::clone(shared), request_id.to_owned());
    let task = tokio::spawn(async move {
        let reply = match report {
            Some(report) => take(report, &request_id, request, &shared).await,
            None => unknown_mode(&request_id, request, &shared).await,
        };
        drop(open);
        reply
    });
    // It doesn't panic, and nobody aborts it.
    task.await.unwrap_or(Err(Refusal::TruncatedHttpRequest))
}

async fn take(report: Report, request_id: &str, request: Request<Incoming>, shared: &Shared) -> Result<Reply, Refusal> {
    let mut upload = begin(report, request_id, request.headers(), shared)?;
    let stream = if report == Report::Stream { shared.lock().stream(request_id) } else { None };
    let passed_on = stream.is_some();
    let body = match stream {
        Some(stream) => {
            let content_type =
                request.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            let content_type = content_type.unwrap_or_default();
            // A caller that has gone hears nothing of it.
            let _ = stream.send(Part::Opened(content_type)).await;
            drop(stream);
            pass_on(request.into_body(), request_id, shared).await
        }
        None => read(request.into_body()).await,
    };
    let Ok(body) = body else { return Err(Refusal::TruncatedHttpRequest) };
    upload.finished = true;

    let limit = if passed_on { MAX_STREAMED_BYTES } else { MAX_RESPONSE_BYTES };
    let mut exchange = shared.lock();
    let received = exchange.machine.receive(request_id, body.size, limit);
    let answer = match (&received, report, body.trailing_error) {
        (Err(Refusal::RequestEntityTooLarge { .. }), ..) => too_large(body.size, limit, passed_on),
        // Nobody waits for it any more.
        (Err(_), ..) => return received.map(|()| wire::accepted()),
        (Ok(()), Report::Error, _) => Answer::Error(body.bytes),
        (Ok(()), Report::Response | Report::Stream, Some(document)) => Answer::Error(document),
        (Ok(()), Report::Response | Report::Stream, None) if passed_on => Answer::Streamed,
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
    /// At most [`MAX_RESPONSE_BYTES`] of it, less than `size` where it has more; nothing where it was passed on.
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

/// Passes each piece on before it reads the next, so a slow caller slows the runtime down and nothing piles up here. What is
/// beyond [`MAX_STREAMED_BYTES`], or comes after its caller was told of a timeout, is read and dropped.
async fn pass_on(mut body: Incoming, request_id: &str, shared: &Shared) -> Result<Body, hyper::Error> {
    let mut read = Body::default();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(mut data) => {
                let room = MAX_STREAMED_BYTES.saturating_sub(read.size);
                read.size += data.len();
                data.truncate(room);
                // Asked for each piece: the way to the caller closes where the caller is told something else.
                let stream = shared.lock().stream(request_id);
                if let Some(stream) = stream.filter(|_| !data.is_empty()) {
                    let _ = stream.send(Part::Chunk(data)).await;
                }
            }
            Err(frame) => read.trailing_error = frame.trailers_ref().and_then(trailing_error),
        }
    }
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

fn too_large(size: usize, limit: usize, passed_on: bool) -> Answer {
    let mut message = format!("Response payload size ({size} bytes) exceeded maximum allowed payload size ({limit} bytes).");
    if passed_on {
        message.push_str(" What is beyond was left out.");
    }
    Answer::platform_error("Function.ResponseSizeTooLarge", &message)
}
