use super::*;
use proptest::prelude::*;

/// A ClientHello with a key share of `share` bytes before the server name, cut into records of at most `record` bytes.
fn hello(sni: Option<&str>, share: usize, record: usize) -> Vec<u8> {
    let mut extensions = vec![0, 51, (share >> 8) as u8, share as u8];
    extensions.resize(4 + share, 7);
    if let Some(name) = sni {
        let n = name.len() as u8;
        extensions.extend([0, 0, 0, n + 5, 0, n + 3, 0, 0, n]);
        extensions.extend(name.bytes());
    }
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([2, 1, 1, 0, 2, 0x13, 1, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1, 0, (body.len() >> 8) as u8, body.len() as u8];
    message.extend(body);
    let records = message.chunks(record).flat_map(|part| {
        let mut bytes = vec![22, 3, 1, (part.len() >> 8) as u8, part.len() as u8];
        bytes.extend(part);
        bytes
    });
    records.collect()
}

fn tls(name: &str) -> Hello {
    Hello::Tls { sni: Some(name.into()) }
}

#[test]
fn a_hello_of_1_8_kb_over_two_records_is_read() {
    for record in [16_000, 1000, 100, 1] {
        let bytes = hello(Some("Web.Example."), 1800, record);
        assert_eq!(client_hello(&bytes), tls("web.example"), "records of {record}");
        assert_eq!(client_hello(&bytes[..900]), Hello::NeedMore);
    }
    assert_eq!(client_hello(&hello(None, 10, 1000)), Hello::Tls { sni: None });
}

#[test]
fn other_bytes_are_not_tls() {
    for bytes in [b"GET / HTTP/1.1\r\n".as_slice(), b"SSH-2.0", &[22, 2], &[22, 3, 3, 0, 0], &[22, 3, 1, 0, 9, 2]] {
        assert_eq!(client_hello(bytes), Hello::NotTls, "{bytes:?}");
    }
    assert_eq!(client_hello(&[]), Hello::NeedMore);
    assert_eq!(client_hello(&hello(Some("a"), MAX_HELLO, 16_000)), Hello::NotTls, "longer than we wait for");
}

#[test]
fn http_versions_are_told_apart() {
    let cases: &[(&str, Http)] = &[
        ("", Http::NeedMore),
        ("P", Http::NeedMore),
        ("PRI * HTTP/2.", Http::NeedMore),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http::Http2),
        ("PRI /x HTTP/1.1\r\n", Http::Http1),
        ("G", Http::NeedMore),
        ("GET / HTTP/1.1\r\n", Http::Http1),
        ("GET / HTTP/1.0", Http::Http1),
        ("\r\nPOST http://a/b HTTP/1.1\r\n", Http::Http1),
        ("GET / HTTP/1.", Http::NeedMore),
        ("GET / HTTP/2.0", Http::Unknown),
        ("GET  / HTTP/1.1", Http::Unknown),
        ("GET /\r\n", Http::Unknown),
        ("SSH-2.0-OpenSSH\r\n", Http::Unknown),
        ("\u{16}\u{3}\u{1}", Http::Unknown),
        ("*1\r\n$4\r\nPING", Http::Unknown),
    ];
    for (bytes, expected) in cases {
        assert_eq!(http(bytes.as_bytes()), *expected, "{bytes:?}");
    }
    assert_eq!(http(&[b'a'; 40]), Http::Unknown);
    assert_eq!(http(&[b"GET /".as_slice(), &[b'a'; MAX_REQUEST_LINE]].concat()), Http::Unknown);
}

/// The answer at the first prefix that decides is the answer for every longer one.
fn chunking_does_not_matter<T: PartialEq + std::fmt::Debug>(bytes: &[u8], judge: fn(&[u8]) -> T, open: T) {
    let decided = (0..=bytes.len()).map(|n| judge(&bytes[..n])).find(|verdict| *verdict != open);
    let whole = judge(bytes);
    match decided {
        Some(first) => assert_eq!(first, whole),
        None => assert_eq!(whole, open),
    }
}

proptest! {
    #[test]
    fn detection_does_not_depend_on_chunking(
        share in 0usize..3000, record in 1usize..2000, flip in proptest::option::of((0usize..200, any::<u8>())),
        noise in "[ A-Z/.*0-9\\r\\n]{0,40}", line in "(GET|PRI|P0ST) [/a-z*]{1,5} HTTP/[12]\\.[01]\r\n",
    ) {
        let mut bytes = hello(Some("a.example"), share, record);
        if let Some((at, value)) = flip && at < bytes.len() {
            bytes[at] = value;
        }
        chunking_does_not_matter(&bytes, client_hello, Hello::NeedMore);
        chunking_does_not_matter(noise.as_bytes(), http, Http::NeedMore);
        chunking_does_not_matter(line.as_bytes(), http, Http::NeedMore);
    }
}
