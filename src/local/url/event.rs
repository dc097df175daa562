//! The event that a request to a function URL becomes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONNECTION, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use serde::Serialize;

/// The last instant that a time of the event's form can tell: the end of the year 9999, in milliseconds since 1970.
const LAST_MS: u64 = 253_402_300_799_999;

/// Headers that say how one connection carries a message (RFC 9110, section 7.6.1); Lambda's events have none of them.
const OF_THE_CONNECTION: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// What the server knows of a request beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The id of the request, which is the invocation's.
    pub request_id: &'a str,
    /// The X-Ray tracing header of the invocation.
    pub trace_id: &'a str,
    /// The address of the client.
    pub source_ip: IpAddr,
    /// The name of the function URL's host, without a port. Its first label stands for the id of the URL.
    pub domain: &'a str,
    /// The port where the request came in.
    pub port: u16,
    /// When the request came, in milliseconds since 1970.
    pub epoch_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'a str,
    route_key: &'a str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<Cow<'a, str>, String>,
    request_context: Context<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    account_id: &'a str,
    api_id: &'a str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: &'a str,
    route_key: &'a str,
    stage: &'a str,
    time: String,
    time_epoch: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: String,
    source_ip: IpAddr,
    user_agent: String,
}

/// The event of a request: JSON in payload format 2.0, with nothing in it that says who calls (auth type `NONE`).
///
/// Path and query string stand in it as they were sent; `queryStringParameters` is decoded. A body of a textual type that is UTF-8 is
/// text, any other is base64; one without a type is not textual.
pub fn event(request: &Parts, body: &Bytes, caller: &Caller<'_>) -> Bytes {
    // CONNECT has no path.
    let path = Some(request.uri.path()).filter(|path| !path.is_empty()).unwrap_or("/");
    let query = request.uri.query().unwrap_or_default();
    let (body, is_base64_encoded) = content(&request.headers, body);
    let prefix = prefix(caller.domain);
    let epoch_ms = caller.epoch_ms.min(LAST_MS);
    let event = Event {
        version: "2.0",
        route_key: "$default",
        raw_path: path,
        raw_query_string: query,
        cookies: cookies(&request.headers),
        headers: headers(&request.headers, caller),
        query_string_parameters: parameters(query),
        request_context: Context {
            account_id: "anonymous",
            api_id: prefix,
            domain_name: caller.domain,
            domain_prefix: prefix,
            http: Http {
                method: request.method.as_str(),
                path,
                protocol: format!("{:?}", request.version),
                source_ip: caller.source_ip,
                user_agent: request.headers.get(USER_AGENT).map(text).unwrap_or_default(),
            },
            request_id: caller.request_id,
            route_key: "$default",
            stage: "$default",
            time: time(epoch_ms),
            time_epoch: epoch_ms,
        },
        body,
        is_base64_encoded,
    };
    // Texts and numbers, and maps whose keys are texts, can't fail to serialise.
    serde_json::to_vec(&event).unwrap_or_default().into()
}

/// The headers, with several values of one name joined by commas, and those that Lambda's front end adds, whatever the client said.
///
/// The cookies are here too: function URLs have them in both places, unlike API Gateway (aws-lambda-rust-runtime, pull request 586).
fn headers<'a>(sent: &'a HeaderMap, caller: &Caller<'_>) -> BTreeMap<&'a str, String> {
    let joined = |name: &HeaderName| {
        // RFC 9113, section 8.2.3: the one header whose parts a comma would merge.
        let separator = if name == COOKIE { "; " } else { "," };
        sent.get_all(name).iter().map(text).collect::<Vec<_>>().join(separator)
    };
    // RFC 9110, section 7.6.1: `Connection` names further ones.
    let named = joined(&CONNECTION).to_ascii_lowercase();
    let is_named = |name: &str| named.split(',').any(|option| option.trim() == name);
    let mut headers: BTreeMap<&str, String> = sent
        .keys()
        .map(|name| (name.as_str(), name))
        .filter(|(text, _)| !OF_THE_CONNECTION.contains(text) && !is_named(text))
        .map(|(text, name)| (text, joined(name)))
        .collect();
    headers.insert("x-amzn-trace-id", caller.trace_id.to_owned());
    headers.insert("x-forwarded-for", caller.source_ip.to_string());
    headers.insert("x-forwarded-port", caller.port.to_string());
    headers.insert("x-forwarded-proto", "http".to_owned());
    headers
}

/// Each `name=value` of the cookie headers.
fn cookies(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(COOKIE).iter().map(text);
    all.flat_map(|header| header.split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>())
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

/// The parameters of the query, decoded; several values of one name are joined by commas. What is not UTF-8 becomes U+FFFD.
fn parameters(query: &str) -> BTreeMap<Cow<'_, str>, String> {
    let mut parameters = BTreeMap::<_, String>::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        parameters
            .entry(name)
            .and_modify(|values| {
                values.push(',');
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    parameters
}

/// The body as the event has it, if there is one, and whether that is base64.
fn content<'a>(headers: &HeaderMap, body: &'a [u8]) -> (Option<Cow<'a, str>>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match std::str::from_utf8(body) {
        Ok(text) if is_textual(content_type) => (Some(text.into()), false),
        _ => (Some(STANDARD.encode(body).into()), true),
    }
}

/// Whether a content type is text to Lambda. It does not document which are: a form is not, as anybody finds who posts one.
fn is_textual(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let named = ["application/json", "application/javascript", "application/xml"].contains(&essence.as_str());
    named || essence.starts_with("text/") || essence.ends_with("+json") || essence.ends_with("+xml")
}

/// A header's value as text. One that is not UTF-8 is Latin-1, as headers once were: so no byte is lost.
fn text(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|&byte| char::from(byte)).collect(), str::to_owned)
}

/// The first label of a name. An address is none, and has no labels.
fn prefix(domain: &str) -> &str {
    if domain.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return domain;
    }
    domain.split('.').next().unwrap_or(domain)
}

/// An instant in milliseconds since 1970, at most [`LAST_MS`], as in `12/Mar/2020:19:03:58 +0000`.
fn time(epoch_ms: u64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // 2020-03-12T19:03:58Z
    let rfc3339 = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(epoch_ms)).to_string();
    let part = |range| rfc3339.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).unwrap_or(&"");
    format!("{}/{month}/{}:{} +0000", part(8..10), part(0..4), part(11..19))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hyper::Request;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const CALLER: Caller<'_> = Caller {
        request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        trace_id: "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        domain: "function.lambda-url.us-east-1.on.aws",
        port: 9000,
        epoch_ms: 1_584_039_838_123,
    };

    fn of(uri: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Value {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        serde_json::from_slice(&event(&parts, &Bytes::copy_from_slice(body), &CALLER)).expect("an event is JSON")
    }

    #[test]
    fn an_event_has_payload_format_2() {
        let headers: [(&str, &[u8]); 9] = [
            ("Host", b"localhost:9000"),
            ("User-Agent", b"curl/8.5.0"),
            ("Content-Type", b"application/json; charset=utf-8"),
            ("X-Two", b"1"),
            ("x-two", b"2"),
            ("Cookie", b"a=1; b=2"),
            ("Cookie", b"c=3"),
            ("Connection", b"keep-alive"),
            ("X-Forwarded-For", b"10.0.0.1"),
        ];
        assert_eq!(
            of("/my/p%20th?a=1&a=%C3%A9+x&b=", &headers, "{\"n\":\"é\"}".as_bytes()),
            json!({
                "version": "2.0",
                "routeKey": "$default",
                "rawPath": "/my/p%20th",
                "rawQueryString": "a=1&a=%C3%A9+x&b=",
                "cookies": ["a=1", "b=2", "c=3"],
                "headers": {
                    "host": "localhost:9000",
                    "user-agent": "curl/8.5.0",
                    "content-type": "application/json; charset=utf-8",
                    "x-two": "1,2",
                    "cookie": "a=1; b=2; c=3",
                    "x-amzn-trace-id": CALLER.trace_id,
                    "x-forwarded-for": "127.0.0.1",
                    "x-forwarded-port": "9000",
                    "x-forwarded-proto": "http",
                },
                "queryStringParameters": {"a": "1,é x", "b": ""},
                "requestContext": {
                    "accountId": "anonymous",
                    "apiId": "function",
                    "domainName": "function.lambda-url.us-east-1.on.aws",
                    "domainPrefix": "function",
                    "http": {
                        "method": "GET",
                        "path": "/my/p%20th",
                        "protocol": "HTTP/1.1",
                        "sourceIp": "127.0.0.1",
                        "userAgent": "curl/8.5.0",
                    },
                    "requestId": CALLER.request_id,
                    "routeKey": "$default",
                    "stage": "$default",
                    "time": "12/Mar/2020:19:03:58 +0000",
                    "timeEpoch": 1_584_039_838_123_u64,
                },
                "body": "{\"n\":\"é\"}",
                "isBase64Encoded": false,
            })
        );
    }

    #[test]
    fn what_a_request_does_not_have_is_absent() {
        for uri in ["/", "/?", "http://localhost:9000", "localhost:9000"] {
            let event = of(uri, &[], b"");
            assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!("/"), &json!("")), "{uri}");
            for name in ["cookies", "queryStringParameters", "body"] {
                assert_eq!(event.get(name), None, "{name} of {uri}");
            }
            assert_eq!(event["isBase64Encoded"], false, "{uri}");
        }
    }

    #[test]
    fn a_body_is_text_only_where_its_type_and_its_bytes_are() {
        for (content_type, body, expected, is_base64) in [
            ("text/plain", "é".as_bytes(), "é", false),
            ("TEXT/HTML;charset=x", b"<p>", "<p>", false),
            ("application/problem+json", b"{}", "{}", false),
            ("application/xml", b"<a/>", "<a/>", false),
            ("text/plain", b"\xff\x00", "/wA=", true),
            ("application/octet-stream", b"abc", "YWJj", true),
            ("application/x-www-form-urlencoded", b"a=1", "YT0x", true),
            ("image/png", b"\x89PNG", "iVBORw==", true),
            ("", b"abc", "YWJj", true),
        ] {
            let headers = [("content-type", content_type.as_bytes())];
            let event = of("/", if content_type.is_empty() { &[] } else { &headers }, body);
            assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!(expected), &json!(is_base64)), "{content_type}");
        }
    }

    #[test]
    fn queries_are_decoded_as_forms_are() {
        for (query, expected) in [
            ("a", json!({"a": ""})),
            ("a=1&b=2&a=3", json!({"a": "1,3", "b": "2"})),
            ("a=1%2C2&a=3", json!({"a": "1,2,3"})),
            ("%F0%9F%8D%AA=%zz%", json!({"🍪": "%zz%"})),
            ("a=%ff", json!({"a": "\u{fffd}"})),
            ("=x&&=", json!({"": "x,"})),
        ] {
            assert_eq!(of(&format!("/?{query}"), &[], b"")["queryStringParameters"], expected, "{query}");
        }
    }

    #[test]
    fn a_header_that_is_not_utf8_is_latin1() {
        let event = of("/", &[("x-a", b"\xe9"), ("x-b", "é".as_bytes()), ("cookie", b"; ;a=\xe9;")], b"");
        assert_eq!((&event["headers"]["x-a"], &event["headers"]["x-b"]), (&json!("é"), &json!("é")));
        assert_eq!(event["cookies"], json!(["a=é"]));
    }

    #[test]
    fn the_prefix_is_the_first_label_of_a_name() {
        for (domain, expected) in
            [("a.b.c", "a"), ("localhost", "localhost"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("", "")]
        {
            assert_eq!(prefix(domain), expected, "{domain}");
        }
    }

    #[test]
    fn times_have_the_form_of_access_logs() {
        for (epoch_ms, expected) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (951_782_399_999, "28/Feb/2000:23:59:59 +0000"),
            (951_782_400_000, "29/Feb/2000:00:00:00 +0000"),
            (LAST_MS, "31/Dec/9999:23:59:59 +0000"),
        ] {
            assert_eq!(time(epoch_ms), expected);
        }
    }

    proptest! {
        #[test]
        fn any_request_has_an_event(
            target in prop_oneof!["/[ -~]{0,40}", "[ -~]{0,40}", "\\PC{0,20}"],
            headers in proptest::collection::vec(("[a-zA-Z-]{1,8}|cookie|content-type", proptest::collection::vec(any::<u8>(), 0..20)), 0..8),
            body in proptest::collection::vec(any::<u8>(), 0..40),
            domain in "\\PC{0,20}",
            epoch_ms in any::<u64>(),
        ) {
            let mut request = Request::builder();
            if let Ok(uri) = target.parse::<hyper::Uri>() {
                request = request.uri(uri);
            }
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    request = request.header(name, value);
                }
            }
            let (parts, ()) = request.body(()).expect("its parts are valid").into_parts();
            let caller = Caller { domain: &domain, epoch_ms, ..CALLER };
            let event: Value = serde_json::from_slice(&event(&parts, &body.clone().into(), &caller)).expect("an event is JSON");
            let text = event["body"].as_str().unwrap_or_default();
            let sent = if event["isBase64Encoded"] == true { STANDARD.decode(text).expect("base64") } else { text.into() };
            prop_assert_eq!(sent, body);
        }

        #[test]
        fn queries_and_cookies_come_back(pairs in proptest::collection::btree_map("[a-zé%&=+ ]{0,5}", "[a-zé%&=+ ]{0,5}", 1..5)) {
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            let cookies: Vec<String> = pairs.keys().enumerate().map(|(i, _)| format!("{i}={i}")).collect();
            let event = of(&format!("/?{query}"), &[("cookie", cookies.join("; ").as_bytes())], b"");
            prop_assert_eq!(&event["queryStringParameters"], &json!(pairs));
            prop_assert_eq!(&event["cookies"], &json!(cookies));
        }
    }
}
