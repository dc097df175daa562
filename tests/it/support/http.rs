//! HTTP/1.1 requests, read by hand.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::net::TcpStream;

use super::show;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// Connections are numbered in the order in which they were accepted.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How long the body is, also where it is not kept.
    pub(crate) body_length: usize,
    /// What came behind a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
    /// How many bytes bootstrap had written to its stderr when the head of this came.
    pub(crate) log_length_at_head: usize,
    /// How many bytes bootstrap had written to its stderr when all of this had come.
    pub(crate) log_length: usize,
    /// When it had come, in milliseconds since the epoch.
    pub(crate) at_ms: u128,
}

impl Request {
    /// The only value of a header; panics where it stands twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.only(&self.headers, name)
    }

    /// The only value of a trailer; panics where it stands twice.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.only(&self.trailers, name)
    }

    fn only<'a>(&self, fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut values = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        let first = values.next();
        assert_eq!(values.next(), None, "{name} stands twice in {self}");
        first
    }

    /// The body's length was not known when it began.
    pub(super) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some()
    }

    pub(crate) fn is(&self, method: &str, path_end: &str) -> bool {
        self.method == method && self.path.ends_with(path_end)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {} (connection {})", self.method, self.path, self.version, self.connection)?;
        for (name, value) in &self.headers {
            writeln!(f, "    {name}: {}", show(value.as_bytes()))?;
        }
        if !self.body.is_empty() {
            writeln!(f, "    {}", show(&self.body))?;
        }
        for (name, value) in &self.trailers {
            writeln!(f, "    (trailer) {name}: {}", show(value.as_bytes()))?;
        }
        Ok(())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

pub(super) fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    let Some(line) = line.strip_suffix(b"\r\n") else {
        return Err(bad("a header line that does not end in CRLF"));
    };
    // Latin-1: what is not ASCII stays visible.
    Ok(line.iter().map(|&b| b as char).collect())
}

/// Reads the lines of a head, or of trailers, to the empty one.
pub(super) fn fields(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads request line and headers; `None` where the client has closed the connection in between.
pub(super) fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    if stream.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let first = line(stream)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(bad("a request line that is not three words"));
    };
    let headers = fields(stream)?;
    Ok(Some(Request { method, path, version, headers, ..Request::default() }))
}

/// A body that is read as it comes.
pub(super) struct Body {
    chunked: bool,
    /// Of the body, or of the chunk that has begun.
    left: usize,
    ended: bool,
}

impl Body {
    /// The body that the headers announce.
    pub(super) fn of(request: &Request) -> io::Result<Body> {
        Body::announced(request.header("content-length"), request.is_chunked())
    }

    /// The body of these headers.
    pub(super) fn announced(length: Option<&str>, chunked: bool) -> io::Result<Body> {
        if let Some(length) = length {
            if chunked {
                return Err(bad("a content-length and a transfer-encoding"));
            }
            let left = length.parse().map_err(|_| bad("a content-length that is no number"))?;
            return Ok(Body { chunked: false, left, ended: left == 0 });
        }
        Ok(Body { chunked, left: 0, ended: !chunked })
    }

    /// Appends what comes next, at most `most` bytes of it.
    pub(super) fn read(&mut self, stream: &mut BufReader<TcpStream>, most: usize, into: &mut Vec<u8>) -> io::Result<Read> {
        if self.ended {
            return Ok(Read::End(Vec::new()));
        }
        if self.left == 0 {
            let size = line(stream)?;
            self.left = usize::from_str_radix(&size, 16).map_err(|_| bad("a chunk size that is no number"))?;
            if self.left == 0 {
                self.ended = true;
                return Ok(Read::End(fields(stream)?));
            }
        }
        let here = stream.fill_buf()?;
        if here.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let here = &here[..here.len().min(self.left).min(most)];
        into.extend_from_slice(here);
        let length = here.len();
        stream.consume(length);
        self.left -= length;
        if self.left == 0 {
            if self.chunked && !line(stream)?.is_empty() {
                return Err(bad("a chunk longer than it says"));
            }
            self.ended = !self.chunked;
        }
        Ok(Read::Some)
    }
}

/// How far the body got.
pub(super) enum Read {
    Some,
    /// With its trailers.
    End(Vec<(String, String)>),
}
