//! The answer of `InvokeWithResponseStream`: frames, as the function's response comes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::channel::Sender;
use http_body_util::{BodyExt as _, Channel};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::api::{BrokenOff, ReplyBody};
use super::fleet::Running;
use crate::local::answer::{Answer, Part};
use crate::local::event_stream::{invoke_complete, payload_chunk};

/// How the frames of a running invocation come. `memory` is what its event holds until its end.
///
/// A client that does not read makes the function wait, and one that goes away doesn't end it.
pub fn body(running: Running, parts: mpsc::Receiver<Part>, wants_log: bool, memory: Option<OwnedSemaphorePermit>) -> ReplyBody {
    let (sender, body) = Channel::new(1);
    tokio::spawn(async move {
        send(running, parts, wants_log, sender).await;
        drop(memory);
    });
    body.boxed_unsync()
}

async fn send(running: Running, mut parts: mpsc::Receiver<Part>, wants_log: bool, mut sender: Sender<Bytes, BrokenOff>) {
    while let Some(part) = parts.recv().await {
        if let Part::Chunk(bytes) = part {
            // Where nobody is there any more, the rest is taken all the same.
            let _ = sender.send_data(payload_chunk(&bytes)).await;
        }
    }
    // Where there is no answer, a fault of this machine's, there is no last frame, and the client sees that.
    let Ok(Ok(invoked)) = running.await else { return sender.abort(BrokenOff) };
    let log = wants_log.then(|| BASE64.encode(&invoked.log));
    let end = match &invoked.answer {
        Answer::Response(bytes) => {
            let _ = sender.send_data(payload_chunk(bytes)).await;
            invoke_complete(None, log.as_deref())
        }
        Answer::Streamed => invoke_complete(None, log.as_deref()),
        Answer::Error(document) | Answer::InitError(document) | Answer::PlatformError(document) => {
            let error_type = Answer::told(document).error_type;
            let error_type = if error_type.is_empty() { "Unhandled" } else { &error_type };
            invoke_complete(Some((error_type, &String::from_utf8_lossy(document))), log.as_deref())
        }
    };
    let _ = sender.send_data(end).await;
}
