//! The function URL: every path that is no call of Lambda's becomes an event, and the function's answer an HTTP answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::channel::Sender;
use http_body_util::{BodyExt as _, Channel};
use hyper::Response;
use hyper::body::Incoming;
use hyper::http::request::Parts as Head;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::api::{Api, BODY_PATIENCE, BrokenOff, Reply, STOPPED, no_body, whole};
use super::exception::Exception;
use super::fleet;
use crate::local::answer::{Answer, Part};
use crate::local::environment::Invocation;
use crate::local::events::MAX_EVENT_BYTES;
use crate::local::guard::host_of;
use crate::local::url::{self, Beginning, Caller};

/// An invocation on its way, and what its event holds until its end.
struct Running {
    answer: fleet::Running,
    parts: mpsc::Receiver<Part>,
    memory: Option<OwnedSemaphorePermit>,
}

/// How the answer begins.
enum Start {
    /// It is all there.
    Whole(url::Answer),
    /// Its head, and the beginning of its body. The rest is on its way.
    Streamed(url::Head, Bytes),
    /// The function has failed, which is in its log, or has said what is no answer.
    Bad(Option<String>),
}

/// Answers a request to the function URL.
///
/// # Errors
/// The function is not run.
pub async fn answer(
    api: &Arc<Api>,
    head: Head,
    body: &mut Incoming,
    client: SocketAddr,
    request_id: &str,
    trace_id: String,
) -> Result<Reply, Exception> {
    let held = api.room.read(body, MAX_EVENT_BYTES, BODY_PATIENCE).await.map_err(|why| no_body(why, MAX_EVENT_BYTES))?;
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).map_or("localhost", host_of);
    let caller = Caller {
        request_id,
        trace_id: &trace_id,
        source_ip: client.ip(),
        domain: host,
        port: api.address.port(),
        epoch_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0)),
    };
    let event = url::event(&head, &held.bytes, &caller);
    if event.len() > MAX_EVENT_BYTES {
        // Base64 takes more than what it stands for.
        return Err(Exception::RequestTooLarge { limit: MAX_EVENT_BYTES });
    }
    let request_id = request_id.to_owned();
    let invocation = Invocation { request_id: request_id.clone(), trace_id, client_context: None, tenant_id: None, event };
    // Room for one part: the next is taken from the runtime when this one is with the client.
    let (stream, parts) = mpsc::channel(1);
    let answer = api.fleet.lease().await?.invoke(invocation, Some(stream));
    let mut running = Running { answer, parts, memory: held.permit };
    match running.start().await? {
        Start::Whole(answer) => Ok(reply(answer)),
        Start::Streamed(head, bytes) => {
            let (sender, body) = Channel::new(1);
            tokio::spawn(running.pass_on(bytes, sender));
            let mut reply = Response::new(body.boxed_unsync());
            *reply.status_mut() = head.status;
            *reply.headers_mut() = head.headers;
            Ok(reply)
        }
        Start::Bad(why) => {
            if let Some(why) = why {
                api.console.note(format!("bootstrap: request {request_id}: {why}")).await;
            }
            Ok(reply(url::Answer::bad_gateway()))
        }
    }
}

fn reply(answer: url::Answer) -> Reply {
    let mut reply = Response::new(whole(answer.body));
    *reply.status_mut() = answer.head.status;
    *reply.headers_mut() = answer.head.headers;
    reply
}

impl Running {
    /// Waits until it is known how the answer begins.
    async fn start(&mut self) -> Result<Start, Exception> {
        let Some(first) = self.parts.recv().await else { return self.buffered().await };
        let content_type = match first {
            Part::Opened(content_type) => content_type,
            // A stream is opened before it has bytes.
            Part::Chunk(_) => String::new(),
        };
        let mut prelude = match url::beginning(&content_type) {
            Beginning::Body(head) => return Ok(Start::Streamed(head, Bytes::new())),
            Beginning::Prelude(prelude) => prelude,
        };
        while let Some(part) = self.parts.recv().await {
            let Part::Chunk(bytes) = part else { continue };
            match prelude.feed(&bytes) {
                Ok(None) => {}
                Ok(Some((head, rest))) => return Ok(Start::Streamed(head, rest)),
                Err(malformed) => return Ok(Start::Bad(Some(malformed.to_string()))),
            }
        }
        Ok(Start::Bad(Some(prelude.cut_short().to_string())))
    }

    /// The answer of a function that has not streamed.
    async fn buffered(&mut self) -> Result<Start, Exception> {
        let invoked = match (&mut self.answer).await {
            Ok(Ok(invoked)) => invoked,
            Ok(Err(error)) => return Err(Exception::Service(format!("{error:#}"))),
            Err(_) => return Err(Exception::Service(STOPPED.to_owned())),
        };
        Ok(match invoked.answer {
            Answer::Response(response) => match url::answer(&response) {
                Ok(answer) => Start::Whole(answer),
                Err(malformed) => Start::Bad(Some(malformed.to_string())),
            },
            Answer::Streamed | Answer::Error(_) | Answer::InitError(_) | Answer::PlatformError(_) => Start::Bad(None),
        })
    }

    /// Passes the stream on. A client that does not read makes the function wait, and one that goes away doesn't end it.
    async fn pass_on(mut self, first: Bytes, mut sender: Sender<Bytes, BrokenOff>) {
        if !first.is_empty() {
            // Where nobody is there any more, the rest is taken all the same.
            let _ = sender.send_data(first).await;
        }
        while let Some(part) = self.parts.recv().await {
            if let Part::Chunk(bytes) = part {
                let _ = sender.send_data(bytes).await;
            }
        }
        let is_whole = matches!(self.answer.await, Ok(Ok(invoked)) if invoked.answer.is_response());
        if !is_whole {
            // The connection is cut: what came is not all there is.
            sender.abort(BrokenOff);
        }
        drop(self.memory);
    }
}
