//! The handler in Rust: echoes in each of bootstrap's modes.
//!
//! `echo [jsonl|filter|oneshot] [LOG LINES AN EVENT] [CONCURRENCY]`. Id and event are cut by position, since bootstrap's own
//! messages have a fixed order of members; a handler of a user's would parse them.
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

const LOG_LINE: &[u8; 100] =
    b"2026-11-25T00:00:00.000Z INFO order 48213: priced 12 lines, total 1290.55 EUR, 3 of them discounted\n";
const ID: &[u8] = br#"{"id":""#;
const EVENT: &[u8] = br#"},"event":"#;

/// A standard stream without buffering and without a lock: one read and one writev a small event.
fn stream(descriptor: i32) -> ManuallyDrop<File> {
    // SAFETY: the three standard descriptors are open for as long as the process lives, and are never closed here.
    ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) })
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().map_or("jsonl", String::as_str);
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<usize>().ok());
    let (log_lines, concurrency) = (number(1).unwrap_or(0), number(2).unwrap_or(0));
    let mut output = stream(1);
    if mode == "oneshot" {
        let mut event = vec![];
        stream(0).read_to_end(&mut event)?;
        return output.write_all(&event);
    }
    if concurrency > 0 {
        output.write_all(format!("{{\"ready\":true,\"concurrency\":{concurrency}}}\n").as_bytes())?;
    }
    let logs = LOG_LINE.repeat(log_lines);
    lines(|line| {
        stream(2).write_all(&logs)?;
        if mode == "filter" {
            return write(&mut output, &[line, b"\n"]);
        }
        // The space that bootstrap sends first.
        let line = line.trim_ascii_start();
        if !line.starts_with(ID) {
            return Ok(());
        }
        let malformed = || io::Error::other("a message without id or event");
        let id_end = ID.len() + memchr::memchr(b'"', &line[ID.len()..]).ok_or_else(malformed)?;
        let at = memchr::memmem::find(&line[id_end..], EVENT).ok_or_else(malformed)?;
        let event = &line[id_end + at + EVENT.len()..line.len() - 1];
        write(&mut output, &[&line[..=id_end], br#","response":"#, event, b"}\n"])
    })
}

/// Calls `each` with every line of stdin, without its newline.
fn lines(mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut input = stream(0);
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        let seen = filled;
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
        match input.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        let (mut start, mut from) = (0, seen);
        while let Some(at) = memchr::memchr(b'\n', &buffer[from..filled]) {
            let end = from + at;
            each(&buffer[start..end])?;
            start = end + 1;
            from = start;
        }
        if start > 0 {
            buffer.copy_within(start..filled, 0);
            filled -= start;
        }
    }
}

fn write(output: &mut File, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices = [IoSlice::new(b""); 4];
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
    }
    let mut slices = &mut slices[..parts.len()];
    while !slices.is_empty() {
        let n = output.write_vectored(slices)?;
        IoSlice::advance_slices(&mut slices, n);
    }
    Ok(())
}
