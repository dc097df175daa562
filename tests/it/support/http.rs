//! HTTP/1.1 requests, read by hand.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
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
    /// How many bytes bootstrap had written to its stderr when this came.
    pub(crate) log_length: usize,
    /// When it had come, in milliseconds since the epoch.
    pub(crate) at_ms: u128,
}

impl Request {
    /// The only value of a header; panics where it stands twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        let first = values.next();
        assert_eq!(values.next(), None, "header {name} stands twice in {self}");
        first
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
        Ok(())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    let Some(line) = line.strip_suffix(b"\r\n") else {
        return Err(bad("a header line that does not end in CRLF"));
    };
    // Latin-1: what is not ASCII stays visible.
    Ok(line.iter().map(|&b| b as char).collect())
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
    let mut request = Request { method, path, version, ..Request::default() };
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            return Ok(Some(request));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
        request.headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads the body that the headers announce.
pub(super) fn read_body(stream: &mut BufReader<TcpStream>, request: &mut Request) -> io::Result<()> {
    if let Some(length) = request.header("content-length") {
        let length: usize = length.parse().map_err(|_| bad("a content-length that is no number"))?;
        request.body = vec![0; length];
        return stream.read_exact(&mut request.body);
    }
    if request.header("transfer-encoding").is_some() {
        loop {
            let size = line(stream)?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| bad("a chunk size that is no number"))?;
            let from = request.body.len();
            request.body.resize(from + size, 0);
            stream.read_exact(&mut request.body[from..])?;
            if size == 0 {
                // Trailers, to the empty line.
                while !line(stream)?.is_empty() {}
                return Ok(());
            }
            if !line(stream)?.is_empty() {
                return Err(bad("a chunk longer than it says"));
            }
        }
    }
    Ok(())
}
