//! What the local server makes of a connection: HTTP as it comes from a socket becomes calls and events, and answers go back.
//!
//! The server is hyper, as it is in `bootstrap serve`; between the two ends of its connection is what `serve` does with a request,
//! save that no function runs: the request's body is what the handler says.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bootstrap::local::guard;
use bootstrap::local::serve::call::Call;
use bootstrap::local::url::{self, Answer, Caller};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};

use crate::rfc8259::{self, Node};
use crate::text::{cut, is_shallow};

/// Base64 as clients write it, with or without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// The socket, of which the server has one end.
struct End<'a>(&'a RefCell<Socket>);

/// What comes, in its chunks, and what was written.
struct Socket {
    chunks: std::vec::IntoIter<Bytes>,
    written: Vec<u8>,
}

impl Read for End<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if let Some(mut chunk) = self.0.borrow_mut().chunks.next() {
            // Hyper's buffer is larger than any chunk here.
            buffer.put_slice(&chunk.split_to(chunk.len().min(buffer.remaining())));
            assert!(chunk.is_empty(), "no room in the buffer");
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for End<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What was answered, and whether the method was HEAD.
type Answered = RefCell<Vec<(Answer, bool)>>;

/// Serves a connection to its end, and reads the answers.
pub fn check(data: &[u8]) {
    if !is_shallow(data) {
        return;
    }
    let socket = RefCell::new(Socket { chunks: cut(data).into_iter(), written: Vec::new() });
    let answered = Answered::default();
    let service = service_fn(|request| respond(request, &answered));
    let mut connection = pin!(hyper::server::conn::http1::Builder::new().serve_connection(End(&socket), service));
    let mut context = Context::from_waker(Waker::noop());
    // Nothing here ever waits for anything but its turn.
    let is_over = (0..data.len() + 1000).any(|_| connection.as_mut().poll(&mut context).is_ready());
    assert!(is_over, "the connection hangs");
    read_back(&socket.borrow().written, &answered.borrow());
}

async fn respond(request: Request<Incoming>, answered: &Answered) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    guarded(&parts);
    called(&parts.headers);
    event(&parts, &body);
    let answer = url::answer(&body).unwrap_or_else(|_| Answer::bad_gateway());
    let mut response = Response::new(Full::new(answer.body.clone()));
    *response.status_mut() = answer.head.status;
    *response.headers_mut() = answer.head.headers.clone();
    answered.borrow_mut().push((answer, parts.method == "HEAD"));
    Ok(response)
}

/// Who passes is of this machine, whatever else the request says.
fn guarded(parts: &Parts) {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000));
    let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    if guard::check(&parts.headers, authority.as_deref(), listen).is_err() {
        return;
    }
    let is_here = |named: &str| {
        let host = match named.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or_default(),
            None => named.split(':').next().unwrap_or_default(),
        };
        let host = host.to_ascii_lowercase();
        host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let texts = |name: &str| -> Vec<String> {
        parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    for named in texts("host").into_iter().chain(authority) {
        assert!(is_here(&named), "host {named:?} has passed");
    }
    for origin in texts("origin") {
        assert!(origin.split_once("://").is_some_and(|(_, host)| is_here(host)), "origin {origin:?} has passed");
    }
    assert!(!texts("sec-fetch-site").iter().any(|site| site == "cross-site"));
}

/// What travels on of a call fits where it goes, and says what it said.
fn called(headers: &HeaderMap) {
    let Ok(call) = Call::new(headers) else { return };
    for value in [&call.client_context, &call.tenant_id, &call.trace_id].into_iter().flatten() {
        assert!(hyper::header::HeaderValue::from_str(value).is_ok(), "{value:?}");
    }
    if let Some(context) = &call.client_context {
        let sent = headers["x-amz-client-context"].to_str().expect("it was read").trim();
        let sent = LENIENT.decode(sent).expect("it was read");
        let (sent, context) = (rfc8259::parse(&sent).expect("JSON"), rfc8259::parse(context.as_bytes()).expect("JSON"));
        assert!(context.members().is_some() && context.same(&sent), "the client context has changed");
    }
    assert!(call.tenant_id.is_none_or(|tenant| tenant.len() <= 256 && tenant.is_ascii()));
}

/// The event of a request to the function URL, read back.
fn event(parts: &Parts, body: &Bytes) {
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).map_or("localhost", guard::host_of);
    let caller = Caller {
        request_id: "the-id",
        trace_id: "Root=1",
        source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        domain: host,
        port: 9000,
        epoch_ms: 1_584_039_838_123,
    };
    let event = url::event(parts, body, &caller);
    let event = rfc8259::parse(&event).expect("the event is JSON");
    let text = |node: &Node<'_>, name: &str| node.get(name).and_then(Node::text).map(rfc8259::string);
    assert_eq!(text(&event, "version").as_deref(), Some("2.0"));
    let path = Some(parts.uri.path()).filter(|path| !path.is_empty()).unwrap_or("/");
    assert_eq!(text(&event, "rawPath").as_deref(), Some(path));
    let query = parts.uri.query().unwrap_or_default();
    assert_eq!(text(&event, "rawQueryString").as_deref(), Some(query));
    let http = event.get("requestContext").and_then(|context| context.get("http")).expect("there is http");
    assert_eq!(text(http, "method").as_deref(), Some(parts.method.as_str()));

    let is_base64 = event.get("isBase64Encoded").expect("it is told").raw == b"true";
    let sent = text(&event, "body").unwrap_or_default();
    let sent = if is_base64 { STANDARD.decode(sent).expect("base64") } else { sent.into_bytes() };
    assert_eq!(sent, body[..]);

    let headers = event.get("headers").expect("there are headers");
    assert_eq!(text(headers, "x-amzn-trace-id").as_deref(), Some("Root=1"));
    let mine = ["x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"];
    // Those of the connection (RFC 9110, section 7.6.1), and those that it names.
    let options: Vec<String> =
        parts.headers.get_all("connection").iter().map(|value| format!("{value:?}").to_lowercase()).collect();
    let is_option =
        |name: &str| options.iter().any(|options| options.trim_matches('"').split(',').any(|option| option.trim() == name));
    for (name, value) in &parts.headers {
        let of_the_connection = ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
            .contains(&name.as_str())
            || is_option(name.as_str()) && !mine.contains(&name.as_str());
        let found = text(headers, name.as_str());
        assert_eq!(found.is_none(), of_the_connection, "{name}");
        if let (Ok(value), Some(found), false) = (std::str::from_utf8(value.as_bytes()), found, mine.contains(&name.as_str())) {
            assert!(found.contains(value), "{name}: {found:?} has no {value:?}");
        }
    }

    // The query, decoded by hand.
    let mut expected = std::collections::BTreeMap::<String, String>::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        expected.entry(decode(name)).and_modify(|all| *all = format!("{all},{}", decode(value))).or_insert_with(|| decode(value));
    }
    let parameters = event.get("queryStringParameters").and_then(Node::members).unwrap_or_default();
    let found = parameters.iter().map(|(name, value)| (rfc8259::string(name), rfc8259::string(value.text().expect("a text"))));
    assert_eq!(found.collect::<std::collections::BTreeMap<_, _>>(), expected);
}

/// What was written is whole answers, those that were given first; the last one may be hyper's own, to what is not HTTP.
fn read_back(mut written: &[u8], answered: &[(Answer, bool)]) {
    let mut count = 0;
    while !written.is_empty() {
        let mut headers = vec![httparse::EMPTY_HEADER; 25_000];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = response.parse(written) else {
            panic!("no answer: {:?}", String::from_utf8_lossy(written))
        };
        written = &written[head..];
        let status = response.code.expect("there is a status");
        if status == 100 {
            continue;
        }
        let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.map(|header| String::from_utf8_lossy(header.value).parse::<usize>().expect("a number"));
        if let Some((answer, is_head)) = answered.get(count) {
            assert_eq!(status, answer.head.status.as_u16());
            let mut sent: Vec<(String, Vec<u8>)> = answer
                .head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().trim_ascii().to_vec()))
                .collect();
            let of_hyper = ["content-length", "connection"];
            let says_date = answer.head.headers.contains_key("date");
            let mut found: Vec<(String, Vec<u8>)> = response
                .headers
                .iter()
                .map(|header| (header.name.to_ascii_lowercase(), header.value.trim_ascii().to_vec()))
                .filter(|(name, _)| !of_hyper.contains(&name.as_str()) && (says_date || name != "date"))
                .collect();
            sent.sort();
            found.sort();
            assert_eq!(found, sent, "the headers have changed");
            let has_body = !is_head && !matches!(status, 204 | 304);
            let expected = if has_body { &answer.body[..] } else { b"" };
            if has_body {
                assert_eq!(length.unwrap_or(0), expected.len());
            }
            written = written.strip_prefix(expected).expect("the body is there");
        } else {
            assert!(status >= 400, "an answer to nothing");
            written = &written[length.unwrap_or(0)..];
        }
        count += 1;
    }
    assert!(count >= answered.len(), "{count} answers are written, {} were given", answered.len());
}
