//! What a connection on the wire says of its encryption.

/// Whether a server's first bytes are a ServerHello that chose TLS 1.3 (RFC 8446 §4.1.3, §4.2.1).
pub(crate) fn chose_tls_1_3(received: &[u8]) -> bool {
    supported_version(received) == Some(0x0304)
}

/// The value of `supported_versions` in the ServerHello that the bytes begin with.
fn supported_version(record: &[u8]) -> Option<u16> {
    // A record: handshake, version, length; then the message: ServerHello, length (3), version (2), random (32).
    let [22, 3, _, _, _, 2, body @ ..] = record else { return None };
    let session_id_length = usize::from(*body.get(37)?);
    // The session id, the cipher suite (2) and the compression method (1) come before the extensions' length.
    let mut extensions = body.get(38 + session_id_length + 3 + 2..)?;
    while let [kind_high, kind_low, length_high, length_low, rest @ ..] = extensions {
        let (value, next) = rest.split_at_checked(usize::from(u16::from_be_bytes([*length_high, *length_low])))?;
        if let (43, [high, low]) = (u16::from_be_bytes([*kind_high, *kind_low]), value) {
            return Some(u16::from_be_bytes([*high, *low]));
        }
        extensions = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([4, 1, 2, 3, 4]); // session id
        body.extend([0x13, 0x01, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut record = vec![22, 3, 3];
        record.extend((body.len() as u16 + 4).to_be_bytes());
        record.extend([2, 0]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn only_a_server_hello_that_says_so_is_tls_1_3() {
        let key_share = [0, 51, 0, 2, 0, 0];
        let hello = server_hello(&[&key_share[..], &[0, 43, 0, 2, 3, 4]].concat());
        assert!(chose_tls_1_3(&hello));
        assert!(!chose_tls_1_3(&server_hello(&key_share)), "without the extension it is TLS 1.2");
        assert!(!chose_tls_1_3(&server_hello(&[0, 43, 0, 2, 3, 3])));
        assert!(!chose_tls_1_3(b"HTTP/1.1 200 OK\r\n\r\n"));
        for end in 0..hello.len() {
            assert!(!chose_tls_1_3(&hello[..end]), "{end} bytes of it");
        }
    }
}
