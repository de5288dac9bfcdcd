//! Which protocol the first bytes of a connection speak.
//!
//! Both readers scan from left to right and answer at the first byte that decides, so the answer does not depend on
//! how the bytes were cut into segments.

/// What a connection's first bytes say of TLS (RFC 8446 §4.1.2, RFC 6066 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// So far a ClientHello, not yet complete enough.
    NeedMore,
    NotTls,
    /// A ClientHello; the name is lower-cased, without trailing dot. A hello without SNI has none.
    Tls {
        sni: Option<String>,
    },
}

/// What a connection's first bytes say of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    NeedMore,
    Http1,
    Http2,
    Unknown,
}

/// A ClientHello longer than this is not waited for.
pub const MAX_HELLO: usize = 32 * 1024;

/// A request line longer than this is not waited for.
pub const MAX_REQUEST_LINE: usize = 8 * 1024;

/// Looks for the server name in a ClientHello, which may span several records (RFC 8446 §5.1).
pub fn client_hello(bytes: &[u8]) -> Hello {
    let mut records = Records { bytes: &bytes[..bytes.len().min(MAX_HELLO)], left: 0 };
    match server_name(&mut records) {
        Ok(sni) => Hello::Tls { sni },
        Err(Stop::NeedMore) if bytes.len() < MAX_HELLO => Hello::NeedMore,
        Err(_) => Hello::NotTls,
    }
}

enum Stop {
    NeedMore,
    NotTls,
}

/// The handshake's bytes, across record boundaries.
struct Records<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl Records<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        while self.left == 0 {
            self.next_record()?;
        }
        let (&first, rest) = self.bytes.split_first().ok_or(Stop::NeedMore)?;
        self.bytes = rest;
        self.left -= 1;
        Ok(first)
    }

    /// Reads a record's header byte by byte, so that the first wrong byte decides.
    fn next_record(&mut self) -> Result<(), Stop> {
        let expect = |at: usize, ok: fn(u8) -> bool| match self.bytes.get(at) {
            None => Err(Stop::NeedMore),
            Some(&byte) if ok(byte) => Ok(usize::from(byte)),
            Some(_) => Err(Stop::NotTls),
        };
        expect(0, |kind| kind == 22)?;
        expect(1, |major| major == 3)?;
        expect(2, |minor| minor == 1 || minor == 3)?;
        let high = expect(3, |_| true)?;
        let length = high << 8 | expect(4, |_| true)?;
        if length == 0 || length > 16 * 1024 {
            return Err(Stop::NotTls);
        }
        self.bytes = &self.bytes[5..];
        self.left = length;
        Ok(())
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Stop> {
        let mut value = 0;
        for _ in 0..bytes {
            value = value << 8 | usize::from(self.byte()?);
        }
        Ok(value)
    }

    fn skip(&mut self, mut count: usize) -> Result<(), Stop> {
        while count > 0 {
            self.byte()?;
            count -= 1;
            let run = count.min(self.left).min(self.bytes.len());
            self.bytes = &self.bytes[run..];
            self.left -= run;
            count -= run;
        }
        Ok(())
    }
}

fn server_name(hello: &mut Records<'_>) -> Result<Option<String>, Stop> {
    if hello.byte()? != 1 || hello.byte()? != 0 {
        return Err(Stop::NotTls);
    }
    hello.skip(2)?;
    if hello.number(2)? != 0x0303 {
        return Err(Stop::NotTls);
    }
    hello.skip(32)?;
    for length_bytes in [1, 2, 1] {
        let length = hello.number(length_bytes)?;
        hello.skip(length)?;
    }
    let mut extensions = hello.number(2)?;
    while extensions >= 4 {
        let (kind, length) = (hello.number(2)?, hello.number(2)?);
        if kind == 0 {
            return first_host_name(hello);
        }
        hello.skip(length)?;
        extensions = extensions.saturating_sub(4 + length);
    }
    Ok(None)
}

fn first_host_name(hello: &mut Records<'_>) -> Result<Option<String>, Stop> {
    hello.skip(2)?;
    let (kind, length) = (hello.byte()?, hello.number(2)?);
    if kind != 0 || length == 0 || length > 255 {
        return Ok(None);
    }
    let mut name = String::with_capacity(length);
    for _ in 0..length {
        name.push(char::from(hello.byte()?).to_ascii_lowercase());
    }
    if name.ends_with('.') {
        name.pop();
    }
    Ok(Some(name))
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Looks for an HTTP/2 preface (RFC 9113 §3.4) or an HTTP/1 request line (RFC 9112 §3).
pub fn http(bytes: &[u8]) -> Http {
    let common = bytes.iter().zip(H2_PREFACE).take_while(|(a, b)| a == b).count();
    if common == H2_PREFACE.len() {
        return Http::Http2;
    }
    if common == bytes.len() {
        return Http::NeedMore;
    }
    request_line(bytes)
}

fn request_line(bytes: &[u8]) -> Http {
    // RFC 9112 §2.2: a server should ignore an empty line before the request line.
    let blank = bytes.iter().take(4).take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let line = &bytes[blank..];
    let method = line.iter().take_while(|&&b| is_token(b)).count();
    if method == 0 && !line.is_empty() || method > 32 {
        return Http::Unknown;
    }
    let Some(rest) = after_space(&line[method..]) else { return undecided(line, method) };
    let target = rest.iter().take_while(|&&b| b > b' ' && b != 0x7f).count();
    if target == 0 && !rest.is_empty() {
        return Http::Unknown;
    }
    let Some(version) = after_space(&rest[target..]) else { return undecided(rest, target) };
    let known = version.iter().zip(b"HTTP/1.").take_while(|(a, b)| a == b).count();
    match (version.len().min(8), known) {
        (8, 7) if matches!(version[7], b'0' | b'1') => Http::Http1,
        (n, known) if n == known => Http::NeedMore,
        _ => Http::Unknown,
    }
}

fn after_space(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b" ")
}

/// Nothing after the part: more may come. Something that is no space: never HTTP.
fn undecided(bytes: &[u8], part: usize) -> Http {
    if part == bytes.len() && part < MAX_REQUEST_LINE { Http::NeedMore } else { Http::Unknown }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
