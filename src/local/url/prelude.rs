//! How the HTTP answer of a streamed response begins: by its content type alone, or with a prelude.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::Malformed;
use super::head::Head;
use super::members::Members;

/// The content type of a response that begins with a prelude.
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";

/// What ends a prelude. JSON has no raw NUL, so its first one is this.
const END: [u8; 8] = [0; 8];

/// The type of a stream whose prelude names none.
const DEFAULT_TYPE: &str = "application/octet-stream";

/// The longest JSON that is taken for a prelude, in bytes: 1 MiB, far more than HTTP clients take in headers.
const MAX_PRELUDE_BYTES: usize = 1024 * 1024;

/// How a streamed response begins.
#[derive(Debug)]
pub enum Beginning {
    /// With its body.
    Body(Head),
    /// With the prelude, which says the head.
    Prelude(Prelude),
}

/// A prelude on its way: a JSON object with `statusCode` (200 where it has none), `headers` and `cookies`, then eight NUL bytes.
#[derive(Debug, Default)]
pub struct Prelude {
    read: BytesMut,
}

/// How a streamed response begins whose content type is this.
pub fn beginning(content_type: &str) -> Beginning {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(WITH_PRELUDE) {
        Beginning::Prelude(Prelude::default())
    } else {
        Beginning::Body(Head::ok(content_type))
    }
}

impl Prelude {
    /// Takes the next bytes of the response, cut anywhere. Once the prelude is whole, it is the head and the beginning of the body;
    /// then this has done its work, and what comes next is the body's.
    ///
    /// # Errors
    /// When it is no prelude, or one of more than 1 MiB. What has been read is in memory, and no more of it than that and a chunk.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Option<(Head, Bytes)>, Malformed> {
        // The end may have begun in what was there before.
        let seen = self.read.len().saturating_sub(END.len() - 1);
        self.read.extend_from_slice(chunk);
        let end = memmem::find(&self.read[seen..], &END).map(|at| seen + at);
        match end {
            Some(end) if end <= MAX_PRELUDE_BYTES => {
                let mut read = std::mem::take(&mut self.read);
                let json = read.split_to(end);
                let body = read.split_off(END.len());
                Ok(Some((head(&json)?, body.freeze())))
            }
            // Not before it is clear: where a chunk ends makes no difference.
            None if self.read.len() < MAX_PRELUDE_BYTES + END.len() => Ok(None),
            _ => Err(Malformed("its prelude has more than 1 MiB".to_owned())),
        }
    }

    /// What is wrong with a response that has ended before this was whole.
    pub fn cut_short(&self) -> Malformed {
        Malformed(format!("it ended after {} bytes, before the eight NUL bytes that end its prelude", self.read.len()))
    }
}

fn head(json: &[u8]) -> Result<Head, Malformed> {
    let not_json = |error: &dyn std::fmt::Display| Malformed(format!("its prelude is no JSON object: {error}"));
    let json = std::str::from_utf8(json).map_err(|error| not_json(&error))?;
    let members = Members::of(json).map_err(|error| not_json(&error))?;
    Head::of(&members, DEFAULT_TYPE)
}

#[cfg(test)]
mod tests {
    use hyper::header::CONTENT_TYPE;
    use proptest::prelude::*;

    use super::*;

    /// Feeds the bytes in pieces of these lengths, the rest at once: status, content type and all of the body.
    fn feed(bytes: &[u8], cuts: &[usize]) -> Result<(u16, String, Vec<u8>), String> {
        let mut prelude = Prelude::default();
        let mut rest = bytes;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            if let Some((head, body)) = prelude.feed(chunk).map_err(|Malformed(why)| why)? {
                let content_type = head.headers[CONTENT_TYPE].to_str().expect("it is ASCII").to_owned();
                return Ok((head.status.as_u16(), content_type, [&body[..], rest].concat()));
            }
        }
        Err(prelude.cut_short().0)
    }

    #[test]
    fn the_content_type_says_how_a_stream_begins() {
        for (content_type, has_prelude) in [
            ("application/vnd.awslambda.http-integration-response", true),
            ("Application/vnd.AWSLambda.http-integration-response; v=1", true),
            ("text/event-stream", false),
            ("application/octet-stream", false),
            ("", false),
            ("a\r\nb", false),
        ] {
            assert_eq!(matches!(beginning(content_type), Beginning::Prelude(_)), has_prelude, "{content_type}");
        }
        let Beginning::Body(head) = beginning("text/event-stream") else { panic!("there is no prelude") };
        assert_eq!((head.status.as_u16(), head.headers[CONTENT_TYPE].as_bytes()), (200, &b"text/event-stream"[..]));
        let Beginning::Body(head) = beginning("a\r\nb") else { panic!("there is no prelude") };
        assert!(head.headers.is_empty());
    }

    #[test]
    fn a_prelude_is_a_head() {
        for (bytes, status, content_type, body) in [
            (&b"{}\0\0\0\0\0\0\0\0"[..], 200, DEFAULT_TYPE, &b""[..]),
            (
                b"{\"statusCode\":404,\"headers\":{\"content-type\":\"text/html\"},\"cookies\":[]}\0\0\0\0\0\0\0\0<p>",
                404,
                "text/html",
                b"<p>",
            ),
            (b" {\"statusCode\":\"201\",\"more\":1}\n\0\0\0\0\0\0\0\0\0\0", 201, DEFAULT_TYPE, b"\0\0"),
        ] {
            assert_eq!(feed(bytes, &[]), Ok((status, content_type.to_owned(), body.to_vec())), "{bytes:?}");
        }
    }

    #[test]
    fn a_malformed_prelude_is_an_error() {
        for (bytes, expected) in [
            (&b"\0\0\0\0\0\0\0\0"[..], "its prelude is no JSON object: EOF while parsing a value at line 1 column 0"),
            (b"[]\0\0\0\0\0\0\0\0", "its prelude is no JSON object: invalid type: sequence, expected an object at line 1 column 0"),
            (b"{}{}\0\0\0\0\0\0\0\0", "its prelude is no JSON object: trailing characters at line 1 column 3"),
            (b"\xff\0\0\0\0\0\0\0\0", "its prelude is no JSON object: invalid utf-8 sequence of 1 bytes from index 0"),
            (b"{\"statusCode\":99}\0\0\0\0\0\0\0\0", "its \"statusCode\" is 99, not an integer from 200 to 599"),
            (b"{}\0\0\0\0\0\0\0", "it ended after 9 bytes, before the eight NUL bytes that end its prelude"),
            (b"", "it ended after 0 bytes, before the eight NUL bytes that end its prelude"),
        ] {
            assert_eq!(feed(bytes, &[]), Err(expected.to_owned()), "{bytes:?}");
        }
    }

    #[test]
    fn a_prelude_has_at_most_a_mebibyte_however_it_is_cut() {
        let of = |length: usize| [b"{}", &vec![b' '; length - 2][..], &END, b"x"].concat();
        let last = MAX_PRELUDE_BYTES;
        for cuts in [&[][..], &[last], &[last + 1], &[last - 1, 3, 3], &[last + 7], &[last + 8], &[last + 9]] {
            assert_eq!(feed(&of(last), cuts), Ok((200, DEFAULT_TYPE.to_owned(), b"x".to_vec())), "{cuts:?}");
            assert_eq!(feed(&of(last + 1), cuts), Err("its prelude has more than 1 MiB".to_owned()), "{cuts:?}");
        }
        let mut prelude = Prelude::default();
        let chunks = (1..).find(|_| prelude.feed(&[b' '; 65536]).is_err());
        assert_eq!(chunks, Some(MAX_PRELUDE_BYTES / 65536 + 1));
    }

    proptest! {
        #[test]
        fn a_prelude_cut_anywhere_is_the_same(
            json in "(\\{\"statusCode\":[0-9]{1,3}\\}|[{}\" ]{0,6})",
            nuls in 0..20_usize,
            body in proptest::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..20),
            cuts in proptest::collection::vec(0..12_usize, 0..12),
        ) {
            let bytes = [json.as_bytes(), &vec![0; nuls], &body].concat();
            prop_assert_eq!(feed(&bytes, &cuts), feed(&bytes, &[]));
        }
    }
}
