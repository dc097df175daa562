//! A streamed report: the parts of a stream become the body of one POST.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::handler::stream::{End, Part, Parts};
use crate::handler::{Handlers, Streamed};
use crate::log::Logs;
use crate::runtime::api::{AFTER_THAW, ANSWER, Api};
use crate::runtime::flush;
use crate::runtime::report::{ERROR_BODY_TRAILER, ERROR_TYPE_TRAILER, ErrorBody, Target};

/// How long the rest of a body and its answer may take once there is nothing more to come. Lambda takes at least 2 MB in a second
/// of what exceeds the first 6 MB, and little more than 1 MiB waits.
const LAST_PARTS: Duration = ANSWER;

/// The body can't be ended in order: what was sent is not the whole.
#[derive(Debug, Clone, Copy, Error)]
#[error("the stream has broken off")]
pub struct BrokenOff;

/// Posts a stream until its end. What goes wrong is logged; then the rest is read and dropped. Returns what `/next` must wait for.
pub async fn post(
    api: &Api,
    target: Target,
    streamed: Streamed,
    directory: &str,
    handlers: &Handlers,
    logs: &Logs,
) -> Option<oneshot::Receiver<()>> {
    let Streamed { head, parts } = streamed;
    let request_id = &target.request_id;
    let (body, channel) = Channel::<Bytes, BrokenOff>::new(1);
    let late = async {
        parts.over().await;
        tokio::time::sleep(LAST_PARTS).await;
        // The environment may have been frozen meanwhile: then the limit has passed, and the answer is there and has to be read.
        tokio::time::sleep(AFTER_THAW).await;
        format!("its end did not get through within {} s", LAST_PARTS.as_secs())
    };
    {
        let mut feed = std::pin::pin!(feed(Unended(Some(body)), head.prelude, &parts, request_id, directory, handlers, logs));
        let mut sent = std::pin::pin!(api.stream(&target, &head.content_type, channel));
        let mut late = std::pin::pin!(late);
        let (mut is_fed, mut is_answered, mut trouble) = (false, false, None);
        while !(is_answered && is_fed) && trouble.is_none() {
            tokio::select! {
                biased;
                () = &mut feed, if !is_fed => is_fed = true,
                answer = &mut sent, if !is_answered => {
                    is_answered = true;
                    trouble = answer.err();
                }
                why = &mut late => trouble = Some(why),
            }
        }
        if let Some(why) = trouble {
            let what = format!("POST /invocation/{request_id}/response failed in a stream, whose rest is dropped: {why}");
            logs.warn(Some(request_id), &what);
        }
    }
    // Where that was given up the body has broken off, and what still comes has to be taken.
    drop_rest(&parts, request_id, handlers, logs).await;
    parts.settled()
}

/// The end of a body where it is put in. Unless it is ended, it breaks off: Lambda must not take what was sent for the whole.
struct Unended(Option<Sender<Bytes, BrokenOff>>);

impl Unended {
    /// Sends some of the body.
    async fn send(&mut self, data: Bytes) {
        if let Some(body) = &mut self.0 {
            // Refused once the body is not read any more, which the answer explains.
            let _ = body.send_data(data).await;
        }
    }

    /// Ends the body, with trailers where there is something to tell.
    async fn end(mut self, trailers: Option<HeaderMap>) {
        if let (Some(body), Some(trailers)) = (&mut self.0, trailers) {
            let _ = body.send_trailers(trailers).await;
        }
        self.0 = None;
    }
}

impl Drop for Unended {
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            body.abort(BrokenOff);
        }
    }
}

/// Puts the parts into the body until the stream ends.
async fn feed(
    mut body: Unended,
    prelude: Option<Bytes>,
    parts: &Parts,
    request_id: &str,
    directory: &str,
    handlers: &Handlers,
    logs: &Logs,
) {
    if let Some(prelude) = prelude {
        body.send(prelude).await;
    }
    while let Some(part) = parts.next().await {
        match part {
            Part::Chunk(chunk) => body.send(chunk).await,
            Part::End(end) => {
                ended(&end, request_id, handlers, logs).await;
                return body.end(end.error.map(|document| trailers(&ErrorBody::new(&document, directory)))).await;
            }
        }
    }
    // Broken off, and left to Lambda.
}

/// The log lines before a stream's end, and its error.
async fn ended(end: &End, request_id: &str, handlers: &Handlers, logs: &Logs) {
    if let Some(document) = &end.error {
        logs.error(Some(request_id), document);
    }
    flush(end.log_until, handlers, logs).await;
}

/// Reads to the end of a stream that nobody takes any more.
async fn drop_rest(parts: &Parts, request_id: &str, handlers: &Handlers, logs: &Logs) {
    while let Some(part) = parts.next().await {
        if let Part::End(end) = part {
            return ended(&end, request_id, handlers, logs).await;
        }
    }
}

fn trailers(error: &ErrorBody) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in [(ERROR_TYPE_TRAILER, error.error_type.clone()), (ERROR_BODY_TRAILER, STANDARD.encode(&error.body))] {
        // Both are printable ASCII by construction.
        if let Ok(value) = HeaderValue::try_from(value) {
            trailers.insert(HeaderName::from_static(name), value);
        }
    }
    trailers
}
