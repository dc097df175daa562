//! The status and the headers of an HTTP answer as a handler says them, made fit for HTTP.

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use serde_json::value::RawValue;

use super::Malformed;
use super::members::{Members, for_each, text};

/// Headers that are not the handler's to say: they tell how the connection carries the answer, which is the server's work.
const OF_THE_SERVER: [&str; 7] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "trailer", "transfer-encoding", "upgrade"];

/// How an HTTP answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status, from 200 to 599.
    pub status: StatusCode,
    /// The headers, with each cookie as a `set-cookie`, and nothing of how the connection carries the answer.
    pub headers: HeaderMap,
}

impl Head {
    /// Status 200 with this content type, or none where that can't be a header's value.
    pub(super) fn ok(content_type: &str) -> Self {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::try_from(content_type) {
            headers.insert(CONTENT_TYPE, value);
        }
        Head { status: StatusCode::OK, headers }
    }

    /// What the members say. Headers that HTTP can't carry are left out; `content_type` is that of an answer that names none.
    ///
    /// # Errors
    /// When a member is not of its type.
    pub(super) fn of(members: &Members<'_>, content_type: &str) -> Result<Self, Malformed> {
        let mut head = Head::ok(content_type);
        if let Some(status) = members.status_code {
            head.status = status_code(status)?;
        }
        if let Some(headers) = members.headers {
            head.add_headers(headers)?;
        }
        if let Some(cookies) = members.cookies {
            head.add_cookies(cookies)?;
        }
        Ok(head)
    }

    fn add_headers(&mut self, headers: &RawValue) -> Result<(), Malformed> {
        let mut outcome = Ok(());
        let add = |name: &str, value: &RawValue| {
            if outcome.is_ok() && value.get() != "null" {
                outcome = header_text(value)
                    .ok_or_else(|| Malformed(format!("the value of its header {name:?} is neither a text, a number nor a boolean")))
                    .and_then(|value| self.add(name, &value));
            }
        };
        for_each(headers.get(), add).map_err(|_| Malformed(format!("its \"headers\" are {}, not an object", quoted(headers))))?;
        outcome
    }

    fn add_cookies(&mut self, cookies: &RawValue) -> Result<(), Malformed> {
        let texts = serde_json::from_str::<Vec<&RawValue>>(cookies.get())
            .ok()
            .and_then(|cookies| cookies.into_iter().map(text).collect::<Option<Vec<_>>>())
            .ok_or_else(|| Malformed(format!("its \"cookies\" are {}, not a list of strings", quoted(cookies))))?;
        texts.iter().try_for_each(|cookie| self.add(SET_COOKIE.as_str(), cookie))
    }

    /// Adds a header, if HTTP can carry it and it is the handler's to say. The last one of a name is valid, except for cookies.
    fn add(&mut self, name: &str, value: &str) -> Result<(), Malformed> {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Ok(());
        };
        if OF_THE_SERVER.contains(&name.as_str()) {
            return Ok(());
        }
        // The map has a limit of its own, of some 24,000 names.
        let added = if name == SET_COOKIE {
            self.headers.try_append(name, value).map(drop)
        } else {
            self.headers.try_insert(name, value).map(drop)
        };
        added.map_err(|_| Malformed("it has too many headers".to_owned()))
    }
}

/// A status: a number or, as Lambda takes it too, its digits in a string. Below 200 it would be no final answer to HTTP.
fn status_code(value: &RawValue) -> Result<StatusCode, Malformed> {
    let digits = text(value).unwrap_or_else(|| value.get().to_owned());
    match digits.parse() {
        // A sign is no digit.
        Ok(status @ 200..=599_u16) if !digits.starts_with('+') => StatusCode::from_u16(status).ok(),
        _ => None,
    }
    .ok_or_else(|| Malformed(format!("its \"statusCode\" is {}, not an integer from 200 to 599", quoted(value))))
}

/// A header's value as text: handlers write `"access-control-allow-credentials": true`.
fn header_text(value: &RawValue) -> Option<String> {
    text(value).or_else(|| Some(value.get()).filter(|json| !json.starts_with(['{', '['])).map(str::to_owned))
}

/// The beginning of a value, for people.
pub(super) fn quoted(value: &RawValue) -> String {
    const QUOTED: usize = 40;
    let json = value.get();
    match json.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(json: &str) -> Result<Vec<String>, String> {
        let members = Members::of(json).expect(json);
        let head = Head::of(&members, "text/x").map_err(|error| error.to_string())?;
        let headers = head.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        Ok(std::iter::once(head.status.as_u16().to_string()).chain(headers).collect())
    }

    #[test]
    fn a_head_is_what_the_members_say() {
        for (json, expected) in [
            ("{}", vec!["200", "content-type: text/x"]),
            (r#"{"statusCode":201}"#, vec!["201", "content-type: text/x"]),
            (r#"{"statusCode":"418","headers":null,"cookies":null}"#, vec!["418", "content-type: text/x"]),
            (r#"{"headers":{"Content-Type":"a/b"}}"#, vec!["200", "content-type: a/b"]),
            (
                r#"{"headers":{"X-N":5,"x-t":true,"x-0":null,"x-é":"1","x-u":"é"}}"#,
                vec!["200", "content-type: text/x", "x-n: 5", "x-t: true", "x-u: é"],
            ),
            (r#"{"headers":{"X-A":"1","x-a":"2"}}"#, vec!["200", "content-type: text/x", "x-a: 2"]),
            (
                r#"{"headers":{"Set-Cookie":"a=1"},"cookies":["b=2; Path=/","c=3","d=4\r\nx: y"]}"#,
                vec!["200", "content-type: text/x", "set-cookie: a=1", "set-cookie: b=2; Path=/", "set-cookie: c=3"],
            ),
        ] {
            assert_eq!(head(json), Ok(expected.into_iter().map(str::to_owned).collect()), "{json}");
        }
    }

    #[test]
    fn what_would_break_http_is_left_out() {
        for header in [
            r#""a b":"1""#,
            r#""":"1""#,
            r#""x:y":"1""#,
            r#""x\r\ny":"1""#,
            r#""x":"1\r\ny: 2""#,
            r#""x":"1\ny""#,
            r#""x":"\u0000""#,
            r#""x":"\u007f""#,
            r#""Connection":"close""#,
            r#""Content-Length":"1000""#,
            r#""CONTENT-LENGTH":0"#,
            r#""Transfer-Encoding":"chunked""#,
            r#""keep-alive":"timeout=5""#,
            r#""Trailer":"x""#,
            r#""upgrade":"h2c""#,
        ] {
            let json = format!(r#"{{"headers":{{{header}}}}}"#);
            assert_eq!(head(&json), Ok(vec!["200".to_owned(), "content-type: text/x".to_owned()]), "{json}");
        }
    }

    #[test]
    fn members_of_another_type_are_malformed() {
        let status = |value| format!("its \"statusCode\" is {value}, not an integer from 200 to 599");
        for (json, expected) in [
            (r#"{"statusCode":null}"#, status("null")),
            (r#"{"statusCode":101}"#, status("101")),
            (r#"{"statusCode":600}"#, status("600")),
            (r#"{"statusCode":200.5}"#, status("200.5")),
            (r#"{"statusCode":-200}"#, status("-200")),
            (r#"{"statusCode":"ok"}"#, status("\"ok\"")),
            (r#"{"statusCode":"+200"}"#, status("\"+200\"")),
            (r#"{"statusCode":{}}"#, status("{}")),
            (r#"{"headers":[]}"#, "its \"headers\" are [], not an object".to_owned()),
            (r#"{"headers":{"x":["1"]}}"#, "the value of its header \"x\" is neither a text, a number nor a boolean".to_owned()),
            (r#"{"cookies":"a=1"}"#, "its \"cookies\" are \"a=1\", not a list of strings".to_owned()),
            (r#"{"cookies":["a",1]}"#, "its \"cookies\" are [\"a\",1], not a list of strings".to_owned()),
            (
                r#"{"cookies":"éééééééééééééééééééééééééééééééééééééééééééé"}"#,
                "its \"cookies\" are \"ééééééééééééééééééééééééééééééééééééééé…, not a list of strings".to_owned(),
            ),
        ] {
            assert_eq!(head(json), Err(format!("the response is no HTTP answer: {expected}")), "{json}");
        }
    }

    #[test]
    fn more_headers_than_the_map_takes_are_malformed() {
        let headers: Vec<String> = (0..40_000).map(|number| format!("\"x-{number}\":1")).collect();
        let head = head(&format!("{{\"headers\":{{{}}}}}", headers.join(",")));
        assert_eq!(head.err().as_deref(), Some("the response is no HTTP answer: it has too many headers"));
    }
}
