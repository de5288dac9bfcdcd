//! HTTP/1.1 by hand, for clients and applications whose every byte counts.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// A client's connection, for one request after another.
pub(crate) struct Http {
    stream: TcpStream,
    responses: Messages,
}

/// A response.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: String,
}

impl Reply {
    /// A header's value; `name` in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

impl Http {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, responses: Messages::default() }
    }

    /// One GET and its response.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))?;
        self.receive()
    }

    /// One POST and its response.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> io::Result<Reply> {
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"))?;
        self.receive()
    }

    /// Bytes as they are.
    pub(crate) fn send(&mut self, bytes: &str) -> io::Result<()> {
        self.stream.write_all(bytes.as_bytes())
    }

    /// The next response.
    pub(crate) fn receive(&mut self) -> io::Result<Reply> {
        let message = self.responses.next(&mut self.stream)?;
        let (head, body) = message.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {head:?}")))?;
        Ok(Reply { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// Cuts a stream into messages; each must say its length.
#[derive(Default)]
pub(super) struct Messages {
    read: Vec<u8>,
}

impl Messages {
    /// The next message's head and body; none at the stream's end.
    pub(super) fn next(&mut self, stream: &mut impl Read) -> io::Result<Option<(String, Vec<u8>)>> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break self.read.drain(..end + 4).collect();
            }
            if !self.fill(stream)? {
                return if self.read.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        };
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let length = header(&head, "content-length").map_or(Ok(0), |value| value.parse::<usize>());
        let length = length.map_err(io::Error::other)?;
        while self.read.len() < length {
            if !self.fill(stream)? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some((head, self.read.drain(..length).collect())))
    }

    fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let n = read(stream, &mut bytes)?;
        self.read.extend_from_slice(&bytes[..n]);
        Ok(n > 0)
    }
}

/// Whether the other side ends the connection, in whatever way, and sends nothing before.
pub(crate) fn ends(stream: &mut TcpStream) -> bool {
    match read(stream, &mut [0]) {
        Ok(n) => n == 0,
        // That it took too long is no end.
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// Reads once. With a timeout a read does not go on by itself after a signal (signal(7)).
fn read(stream: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
