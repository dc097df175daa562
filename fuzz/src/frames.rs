//! The frames of streamed answers, read by the decoder that AWS's SDKs use, as the network may cut them.

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use bootstrap::local::event_stream::{invoke_complete, payload_chunk};
use bytes::{Bytes, BytesMut};

use crate::rfc8259::{self, Node};
use crate::text::cut;

/// Sends the bytes in chunks, ends in an error that they tell, and reads all of it.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (code, details) = text.split_once('\n').unwrap_or((&text, ""));
    let error = data.first().is_some_and(|byte| byte % 2 == 0).then_some((code, details));
    let log = data.get(1).is_some_and(|byte| byte % 2 == 0).then_some(details);
    let mut sent = BytesMut::new();
    for chunk in cut(data) {
        sent.extend_from_slice(&payload_chunk(&chunk));
    }
    sent.extend_from_slice(&invoke_complete(error, log));

    let (mut decoder, mut waiting) = (MessageFrameDecoder::new(), BytesMut::new());
    let (mut payload, mut ends) = (Vec::new(), Vec::new());
    for piece in cut(&sent) {
        waiting.extend_from_slice(&piece);
        while let DecodedFrame::Complete(message) = decoder.decode_frame(&mut waiting).expect("a frame") {
            let header = |name: &str| {
                let header = message.headers().iter().find(|header| header.name().as_str() == name).expect(name);
                header.value().as_string().expect("a string").as_str().to_owned()
            };
            assert_eq!(header(":message-type"), "event");
            match header(":event-type").as_str() {
                "PayloadChunk" => {
                    assert!(ends.is_empty() && header(":content-type") == "application/octet-stream");
                    payload.extend_from_slice(message.payload());
                }
                "InvokeComplete" => ends.push(message.payload().clone()),
                other => panic!("{other}"),
            }
        }
    }
    assert!(waiting.is_empty(), "bytes are left");
    assert_eq!(payload, data);
    let [end] = &ends[..] else { panic!("{} ends", ends.len()) };
    compare(end, error, log);
}

fn compare(end: &Bytes, error: Option<(&str, &str)>, log: Option<&str>) {
    let end = rfc8259::parse(end).expect("the end is JSON");
    let found = |name: &str| end.get(name).map(|node| rfc8259::string(node.text().expect("a text")));
    assert_eq!(found("ErrorCode").as_deref(), error.map(|(code, _)| code));
    assert_eq!(found("ErrorDetails").as_deref(), error.map(|(_, details)| details));
    assert_eq!(found("LogResult").as_deref(), log);
    assert_eq!(end.members().map(<[(_, Node<'_>)]>::len), Some(2 * usize::from(error.is_some()) + usize::from(log.is_some())));
}
