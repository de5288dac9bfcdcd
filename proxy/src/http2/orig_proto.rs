//! HTTP/1 that a peer's proxy carries in HTTP/2, and turns back here (A.1.8).

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Version, header};

const NAME: &str = "l5d-orig-proto";

/// What the request was before it was put into HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Original {
    pub(crate) version: Version,
    /// The request line named the whole URI.
    pub(crate) absolute: bool,
}

/// Takes the header off; a value that is none of the four leaves the request as HTTP/2.
pub(crate) fn take(headers: &mut HeaderMap) -> Option<Original> {
    let value = headers.remove(NAME)?;
    let (version, rest) = match value.as_bytes() {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', rest @ ..] => (Version::HTTP_11, rest),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', rest @ ..] => (Version::HTTP_10, rest),
        _ => {
            tracing::warn!(event = "orig_proto.unknown", value = ?value, "the request stays HTTP/2");
            return None;
        }
    };
    Some(Original { version, absolute: rest == b"; absolute-form" })
}

/// Says in the response to such a request which version it was of.
pub(crate) fn mark(headers: &mut HeaderMap, version: Version) {
    let text = if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    headers.insert(NAME, HeaderValue::from_static(text));
}

/// The request's URI and Host field as they were in HTTP/1.
pub(crate) fn restore(uri: &Uri, headers: &mut HeaderMap, original: Original) -> Option<Uri> {
    let authority: Option<Authority> = uri.authority().cloned();
    if let Some(authority) = &authority
        && !headers.contains_key(header::HOST)
    {
        headers.insert(header::HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    if original.absolute {
        parts.authority = authority;
        parts.scheme = parts.authority.is_some().then(|| uri.scheme().cloned().unwrap_or(Scheme::HTTP));
    }
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(value: &str) -> Option<Original> {
        let mut headers = HeaderMap::new();
        headers.insert(NAME, value.parse().unwrap());
        let original = take(&mut headers);
        assert!(headers.is_empty(), "the header never reaches the application");
        original
    }

    #[test]
    fn a_1_8_four_values_are_known() {
        let original = |version, absolute| Some(Original { version, absolute });
        assert_eq!(taken("HTTP/1.1"), original(Version::HTTP_11, false));
        assert_eq!(taken("HTTP/1.1; absolute-form"), original(Version::HTTP_11, true));
        assert_eq!(taken("HTTP/1.0"), original(Version::HTTP_10, false));
        assert_eq!(taken("HTTP/1.0; absolute-form"), original(Version::HTTP_10, true));
        assert_eq!(taken("HTTP/2.0"), None);
        assert_eq!(take(&mut HeaderMap::new()), None);
    }

    #[test]
    fn a_1_8_the_target_is_restored() {
        let uri: Uri = "http://a.example:80/x?y".parse().unwrap();
        let restored = |absolute| {
            let mut headers = HeaderMap::new();
            let uri = restore(&uri, &mut headers, Original { version: Version::HTTP_11, absolute }).unwrap();
            (uri.to_string(), headers[header::HOST].to_str().unwrap().to_owned())
        };
        assert_eq!(restored(false), ("/x?y".to_owned(), "a.example:80".to_owned()));
        assert_eq!(restored(true), ("http://a.example:80/x?y".to_owned(), "a.example:80".to_owned()));
    }
}
