//! Where a body ends in a stream of bytes that pass unchanged.

use super::{Framing, Invalid};

/// A chunk's extensions, and a body's trailers, may be as long as this.
const MAX_EXTENSION: usize = 4 * 1024;
const MAX_TRAILERS: usize = 16 * 1024;

/// Follows a body through the bytes that carry it.
#[derive(Debug, Clone)]
pub struct Body {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Done,
    Length(u64),
    UntilClose,
    /// Hexadecimal digits read so far.
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
        length: usize,
    },
    /// The LF that must follow the size's CR.
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// `line` counts the bytes of the trailer line that is being read.
    Trailer {
        line: usize,
        total: usize,
    },
    TrailerLf {
        line: usize,
        total: usize,
    },
}

impl Body {
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
            Framing::Close => State::UntilClose,
        };
        Self { state }
    }

    /// Whether the body has ended.
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the body ends where its sender closes.
    pub fn until_close(&self) -> bool {
        self.state == State::UntilClose
    }

    /// How many of the bytes belong to the body. Less than all: the body is done.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Invalid> {
        let mut at = 0;
        while at < bytes.len() && !self.done() {
            at += match &mut self.state {
                State::UntilClose => bytes.len() - at,
                State::Length(left) | State::Data { left } => {
                    let run = (*left).min((bytes.len() - at) as u64);
                    *left -= run;
                    run as usize
                }
                _ => {
                    self.state = self.state.step(bytes[at])?;
                    1
                }
            };
            match self.state {
                State::Length(0) => self.state = State::Done,
                State::Data { left: 0 } => self.state = State::DataCr,
                _ => {}
            }
        }
        Ok(at)
    }
}

impl State {
    /// One byte of a chunked body's framing (RFC 9112 §7.1).
    fn step(self, byte: u8) -> Result<Self, Invalid> {
        Ok(match (self, byte) {
            (Self::Size { value, digits }, b) if b.is_ascii_hexdigit() && digits < 16 => {
                let digit = char::from(b).to_digit(16).ok_or(Invalid::Chunk)?;
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { value, digits: 1.. }, b'\r') => Self::SizeLf { value },
            (Self::Size { value, digits: 1.. }, b';') => Self::Extension { value, length: 0 },
            (Self::Extension { value, .. }, b'\r') => Self::SizeLf { value },
            (Self::Extension { value, length }, b) if length < MAX_EXTENSION && (b >= b' ' || b == b'\t') => {
                Self::Extension { value, length: length + 1 }
            }
            (Self::SizeLf { value: 0 }, b'\n') => Self::Trailer { line: 0, total: 0 },
            (Self::SizeLf { value }, b'\n') => Self::Data { left: value },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::Trailer { line, total }, b'\r') => Self::TrailerLf { line, total },
            (Self::Trailer { line, total }, b) if total < MAX_TRAILERS && (b >= b' ' || b == b'\t') => {
                Self::Trailer { line: line + 1, total: total + 1 }
            }
            (Self::TrailerLf { line: 0, .. }, b'\n') => Self::Done,
            (Self::TrailerLf { total, .. }, b'\n') => Self::Trailer { line: 0, total },
            _ => return Err(Invalid::Chunk),
        })
    }
}
