//! A client of `bootstrap serve` that writes HTTP by hand, so that it can do what no library does.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;

use super::http::{Body, Read, fields, line};
use super::{patience, show};

/// A request to be.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    pub(crate) fn new(method: &str, path: &str) -> Call {
        Call { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// An invocation of the function that has this name.
    pub(crate) fn invoke(name: &str, event: impl AsRef<[u8]>) -> Call {
        let call = Call::new("POST", &format!("/2015-03-31/functions/{name}/invocations"));
        call.body(event)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Call {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Call {
        self.body = body.as_ref().to_owned();
        self
    }

    /// Request line and headers; those that say where it goes and how long it is come last.
    pub(crate) fn head(&self, address: SocketAddr) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let own = [("Host", address.to_string()), ("Content-Length", self.body.len().to_string())];
        let given = self.headers.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let is_given = |name: &str| self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        for (name, value) in given.chain(own.into_iter().filter(|(name, _)| !is_given(name))) {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

/// A connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        stream.set_write_timeout(Some(patience())).unwrap();
        Client { stream: BufReader::new(stream), address }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn send(&mut self, call: &Call) {
        self.write(call.head(self.address));
        self.write(&call.body);
    }

    /// Reads an answer to its end.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Reply {
        let mut reply = self.reply_head();
        let length = reply.header("content-length").map(str::to_owned);
        let mut body = Body::announced(length.as_deref(), reply.header("transfer-encoding").is_some()).unwrap();
        while let Read::Some = body.read(&mut self.stream, usize::MAX, &mut reply.body).unwrap() {}
        reply
    }

    /// Says that nothing more will come.
    pub(crate) fn shut(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    /// Reads all answers that still come, until the server closes the connection.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        loop {
            match self.stream.fill_buf() {
                Ok([]) => return replies,
                // What came behind the last request that was read is thrown away, which resets the connection.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return replies,
                Ok(_) => replies.push(self.reply()),
                Err(e) => panic!("the connection stays open after {replies:?}: {e}"),
            }
        }
    }

    /// Reads an answer as it comes.
    #[track_caller]
    pub(crate) fn coming(mut self) -> Coming {
        let reply = self.reply_head();
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"), "{reply}");
        Coming { reply, body: Body::announced(None, true).unwrap(), stream: self.stream }
    }

    /// Reads status and headers.
    #[track_caller]
    fn reply_head(&mut self) -> Reply {
        let first = line(&mut self.stream).unwrap();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {first}"));
        Reply { status, headers: fields(&mut self.stream).unwrap(), body: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn call(&mut self, call: &Call) -> Reply {
        self.send(call);
        self.reply()
    }
}

/// An answer on its way.
pub(crate) struct Coming {
    pub(crate) reply: Reply,
    body: Body,
    stream: BufReader<TcpStream>,
}

impl Coming {
    /// Reads until this has come.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.reply.body).contains(text) {
            let read = self.body.read(&mut self.stream, usize::MAX, &mut self.reply.body).unwrap();
            assert!(matches!(read, Read::Some), "it has ended without {text:?}: {}", self.reply);
        }
    }

    /// Reads to the end. None where it is cut before its end.
    pub(crate) fn end(mut self) -> Option<Reply> {
        loop {
            match self.body.read(&mut self.stream, usize::MAX, &mut self.reply.body) {
                Ok(Read::Some) => {}
                Ok(Read::End(_)) => return Some(self.reply),
                Err(_) => return None,
            }
        }
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    /// It has this status and this body.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: impl AsRef<[u8]>) -> &Reply {
        assert!(self.status == status && self.body == body.as_ref(), "not {status} {}\n{self}", show(body.as_ref()));
        self
    }

    /// It is an exception of this kind; gives its message.
    #[track_caller]
    pub(crate) fn exception(&self, status: u16, error_type: &str) -> String {
        assert!(self.status == status && self.header("x-amzn-errortype") == Some(error_type), "not {status} {error_type}\n{self}");
        let document = self.json();
        let message = document.get("message").or(document.get("Message")).and_then(Value::as_str);
        message.unwrap_or_else(|| panic!("no message\n{self}")).to_owned()
    }

    /// It is a function error of this type; gives its message.
    #[track_caller]
    pub(crate) fn function_error(&self, error_type: &str) -> String {
        assert!(self.status == 200 && self.header("x-amz-function-error") == Some("Unhandled"), "no function error\n{self}");
        let document = self.json();
        assert_eq!(document["errorType"], error_type, "{self}");
        document["errorMessage"].as_str().unwrap().to_owned()
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "    {name}: {value}")?;
        }
        write!(f, "    {}", show(&self.body))
    }
}
