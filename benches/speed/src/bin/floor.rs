//! The floor with a pipe: a hand-written blocking client and one pipe round trip to `$_HANDLER`. Nothing is checked.
//!
//! One read and one write a step where the payload fits; the event is collected, then written in one piece, headers being
//! overwritten in place by the envelope and the other way round. It is no runtime to use, but what is left of one when all that
//! can fail is taken as done.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

/// Room in front of the reply for the head of the report.
const FRONT: usize = 512;
const PIPE: libc::c_int = 256 * 1024;

/// Reads an answer's head and body to the buffer; tells where the body begins, and where it ends.
fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> (usize, usize) {
    let mut filled = 0;
    loop {
        let n = stream.read(&mut buffer[filled..]).unwrap();
        if n == 0 {
            std::process::exit(1);
        }
        filled += n;
        let Some(at) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") else { continue };
        let body = at + 4;
        let mark = b"Content-Length: ";
        let at = memchr::memmem::find(&buffer[..body], mark).unwrap() + mark.len();
        let length = buffer[at..].iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + usize::from(b - b'0'));
        let end = body + length;
        if buffer.len() < end + 2 {
            buffer.resize(end + 2, 0);
        }
        while filled < end {
            let n = stream.read(&mut buffer[filled..end]).unwrap();
            assert!(n > 0);
            filled += n;
        }
        return (body, end);
    }
}

fn main() {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    // It ends with the pipe, and this process is ended from outside.
    #[allow(clippy::zombie_processes)]
    let mut handler =
        Command::new(std::env::var("_HANDLER").unwrap()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = handler.stdin.take().unwrap();
    let mut from = handler.stdout.take().unwrap();
    for pipe in [to.as_raw_fd(), from.as_raw_fd()] {
        // SAFETY: plain system call on descriptors that are open.
        unsafe { libc::fcntl(pipe, libc::F_SETPIPE_SZ, PIPE) };
    }
    let mut stream = TcpStream::connect(&api).unwrap();
    stream.set_nodelay(true).unwrap();
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n");
    let mut event = vec![0; 64 * 1024];
    let mut reply = vec![0; 64 * 1024];
    loop {
        stream.write_all(next.as_bytes()).unwrap();
        let (body, end) = answer(&mut stream, &mut event);
        let mark = b"Lambda-Runtime-Aws-Request-Id: ";
        let at = memchr::memmem::find(&event[..body], mark).unwrap() + mark.len();
        let id = String::from_utf8(event[at..at + 36].to_vec()).unwrap();
        let envelope = format!(r#"{{"id":"{id}","context":{{}},"event":"#);
        let start = body - envelope.len();
        event[start..body].copy_from_slice(envelope.as_bytes());
        event[end..end + 2].copy_from_slice(b"}\n");
        to.write_all(&event[start..end + 2]).unwrap();

        let mut filled = FRONT;
        loop {
            if filled == reply.len() {
                reply.resize((2 * filled).min(filled.max(end + 2 * FRONT)), 0);
            }
            let n = from.read(&mut reply[filled..]).unwrap();
            assert!(n > 0);
            filled += n;
            if reply[filled - 1] == b'\n' {
                break;
            }
        }
        let start = FRONT + r#"{"id":"","response":"#.len() + id.len();
        let end = filled - 2;
        let head = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {api}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            end - start
        );
        let front = start - head.len();
        reply[front..start].copy_from_slice(head.as_bytes());
        stream.write_all(&reply[front..end]).unwrap();
        answer(&mut stream, &mut event);
    }
}
