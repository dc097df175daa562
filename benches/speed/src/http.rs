//! As much of an HTTP/1.1 server as a Runtime API needs: blocking, one connection, nothing that would cost time.
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What is wrong with a request, as an I/O error.
fn malformed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Where it can't be had, the figures tell.
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: vec![0; 64 * 1024], start: 0, end: 0 }
    }

    /// More bytes behind what is buffered.
    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            if self.start == 0 {
                return Err(malformed("a head or a chunk's size of more than 64 KiB"));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let n = self.stream.read(&mut self.buffer[self.end..])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.end += n;
        Ok(())
    }

    /// What stands before the mark, which is taken too.
    fn until(&mut self, mark: &[u8]) -> io::Result<String> {
        loop {
            let have = &self.buffer[self.start..self.end];
            if let Some(at) = memchr::memmem::find(have, mark) {
                let found = String::from_utf8(have[..at].to_vec()).map_err(malformed)?;
                self.start += at + mark.len();
                return Ok(found);
            }
            self.fill()?;
        }
    }

    fn exactly(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        let buffered = length.min(self.end - self.start);
        body.extend_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.start += buffered;
        let have = body.len();
        if length > buffered {
            body.resize(have + length - buffered, 0);
            self.stream.read_exact(&mut body[have..])?;
        }
        Ok(())
    }

    /// The next request: its first line, and its body.
    pub(crate) fn request(&mut self, body: &mut Vec<u8>) -> io::Result<String> {
        let head = self.until(b"\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let (mut length, mut chunked) = (0, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(malformed)?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.trim().eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("expect") {
                self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        }
        body.clear();
        if !chunked {
            self.exactly(length, body)?;
            return Ok(line);
        }
        loop {
            let size = self.until(b"\r\n")?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).map_err(malformed)?;
            if size == 0 {
                while !self.until(b"\r\n")?.is_empty() {}
                return Ok(line);
            }
            self.exactly(size, body)?;
            self.until(b"\r\n")?;
        }
    }

    /// Writes an answer, or whatever else, in as few pieces as the socket allows.
    pub(crate) fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let n = self.stream.write_vectored(slices)?;
            IoSlice::advance_slices(&mut slices, n);
        }
        Ok(())
    }
}
