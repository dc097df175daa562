//! The frames in which `InvokeWithResponseStream` answers: `application/vnd.amazon.eventstream`, which SDKs read.
//!
//! A stream is any number of `PayloadChunk` events and one `InvokeComplete` at its end, as Lambda's service model has them
//! (<https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html>).

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::{Bytes, BytesMut};
use serde::Serialize;

/// The content type of such an answer.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// The most payload that goes into one frame, in bytes: 8 MiB. botocore refuses one of more than 24 MiB, other clients of 16.
const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Complete<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_result: Option<&'a str>,
}

/// The frames for the next bytes of the response: one, more of them where the bytes are very many, none where there are no bytes.
pub fn payload_chunk(bytes: &Bytes) -> Bytes {
    let mut frames = BytesMut::with_capacity(bytes.len() + 128);
    for part in bytes.chunks(MAX_PAYLOAD_BYTES) {
        write("PayloadChunk", "application/octet-stream", bytes.slice_ref(part), &mut frames);
    }
    frames.freeze()
}

/// The frame that ends the stream: with the code and the details of an error that the function has ended in, and with the end of
/// its log in base64, where the caller wants that.
pub fn invoke_complete(error: Option<(&str, &str)>, log_result: Option<&str>) -> Bytes {
    let complete =
        Complete { error_code: error.map(|(code, _)| code), error_details: error.map(|(_, details)| details), log_result };
    // Texts can't fail to serialise.
    let payload = serde_json::to_vec(&complete).unwrap_or_default();
    let mut frame = BytesMut::with_capacity(payload.len() + 128);
    write("InvokeComplete", "application/json", payload.into(), &mut frame);
    frame.freeze()
}

fn write(event_type: &'static str, content_type: &'static str, payload: Bytes, frames: &mut BytesMut) {
    let header = |name: &'static str, value: &'static str| Header::new(name, HeaderValue::String(value.into()));
    let message = Message::new(payload)
        .add_header(header(":message-type", "event"))
        .add_header(header(":event-type", event_type))
        .add_header(header(":content-type", content_type));
    // It fails only for names of more than 255 bytes and for payloads of more than 4 GiB.
    let _ = write_message_to(&message, frames);
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::read_message_from;
    use bytes::Buf;
    use serde_json::{Value, json};

    use super::*;

    /// The frames: type, content type, payload.
    fn read(mut frames: Bytes) -> Vec<(String, String, Bytes)> {
        let mut found = Vec::new();
        while frames.has_remaining() {
            let message = read_message_from(&mut frames).expect("a frame");
            let headers: Vec<(&str, &str)> = message
                .headers()
                .iter()
                .map(|header| (header.name().as_str(), header.value().as_string().expect("a string").as_str()))
                .collect();
            let [(":message-type", "event"), (":event-type", event), (":content-type", content_type)] = headers[..] else {
                panic!("{headers:?}");
            };
            found.push((event.to_owned(), content_type.to_owned(), message.payload().clone()));
        }
        found
    }

    fn chunk(payload: &[u8]) -> (String, String, Bytes) {
        ("PayloadChunk".to_owned(), "application/octet-stream".to_owned(), Bytes::copy_from_slice(payload))
    }

    #[test]
    fn a_chunk_is_a_frame() {
        for payload in [&b"hello"[..], b"\0\xff"] {
            assert_eq!(read(payload_chunk(&Bytes::from_static(payload))), [chunk(payload)]);
        }
        assert_eq!(payload_chunk(&Bytes::new()), Bytes::new());
    }

    #[test]
    fn very_many_bytes_are_several_frames() {
        let payload = Bytes::from(vec![7; MAX_PAYLOAD_BYTES + 1]);
        assert!(read(payload_chunk(&payload)) == [chunk(&payload[1..]), chunk(&payload[..1])]);
    }

    #[test]
    fn the_end_has_only_what_there_is() {
        for (error, log_result, expected) in [
            (None, None, json!({})),
            (None, Some("aGk="), json!({"LogResult": "aGk="})),
            (
                Some(("Runtime.ExitError", "{\"errorType\":\"é\"}\n")),
                Some(""),
                json!({"ErrorCode": "Runtime.ExitError", "ErrorDetails": "{\"errorType\":\"é\"}\n", "LogResult": ""}),
            ),
        ] {
            let frames = read(invoke_complete(error, log_result));
            let [(event, content_type, payload)] = &frames[..] else { panic!("{frames:?}") };
            assert_eq!((event.as_str(), content_type.as_str()), ("InvokeComplete", "application/json"));
            assert_eq!(serde_json::from_slice::<Value>(payload).expect("JSON"), expected);
        }
    }

    #[test]
    fn a_frame_is_what_botocore_reads() {
        // Read as {"PayloadChunk": {"Payload": b"hi"}} by botocore 1.43.127.
        let expected: &[u8] = b"\0\0\0\x6c\0\0\0\x5a\xb2\x5e\xfd\xcf\
            \x0d:message-type\x07\0\x05event\
            \x0b:event-type\x07\0\x0cPayloadChunk\
            \x0d:content-type\x07\0\x18application/octet-stream\
            hi\x31\x41\x38\xe4";
        assert_eq!(payload_chunk(&Bytes::from_static(b"hi")), expected);
    }
}
