//! As much HTTP/1.1 as statistics need: one request for `/`, one answer, and the connection ends.
//!
//! Pure: octets in, octets out, for whoever connects. Owns the limit of a request and the words of every refusal.
//! RFC 9112. Repeats nothing of what a client sent.

/// Octets of a request head; more are refused.
pub(super) const REQUEST_MAX: usize = 8 << 10;

const HEAD_END: &[u8] = b"\r\n\r\n";

/// What to do about the octets received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The head is not here completely.
    Incomplete,
    /// Statistics are wanted; with `HEAD` without their body.
    Statistics {
        /// Send the body too.
        body: bool,
    },
    /// No.
    Refused(Refusal),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    NotFound,
    MethodNotAllowed,
    TooLarge,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::TooLarge => "431 Request Header Fields Too Large",
        }
    }
}

/// Reads a request head.
pub(super) fn judge(request: &[u8]) -> Verdict {
    let end = request.windows(HEAD_END.len()).position(|window| window == HEAD_END);
    let head = &request[..end.unwrap_or(request.len())];
    if !head.iter().all(|&octet| is_text(octet)) {
        return Verdict::Refused(Refusal::Malformed);
    }
    match end {
        Some(_) if head.len() > REQUEST_MAX => Verdict::Refused(Refusal::TooLarge),
        Some(_) => read(head).unwrap_or(Verdict::Refused(Refusal::Malformed)),
        None if request.len() >= REQUEST_MAX => Verdict::Refused(Refusal::TooLarge),
        None => Verdict::Incomplete,
    }
}

/// What a complete head asks for; `None` if it is malformed.
fn read(head: &[u8]) -> Option<Verdict> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_request = words.next().is_none()
        && !method.is_empty()
        && method.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'-')
        && version.starts_with("HTTP/1.");
    let has_fields = lines.all(|line| line.find(':').is_some_and(|colon| colon > 0));
    if !is_request || !has_fields {
        return None;
    }
    let path = target.split('?').next()?;
    Some(match (method, path) {
        ("GET", "/") => Verdict::Statistics { body: true },
        ("HEAD", "/") => Verdict::Statistics { body: false },
        ("GET" | "HEAD", path) if path.starts_with('/') => Verdict::Refused(Refusal::NotFound),
        ("GET" | "HEAD", _) => return None,
        _ => Verdict::Refused(Refusal::MethodNotAllowed),
    })
}

/// May this octet be part of a request head?
fn is_text(octet: u8) -> bool {
    matches!(octet, b' '..=b'~' | b'\r' | b'\n' | b'\t')
}

/// The answer with statistics.
pub(super) fn ok(json: &str, body: bool) -> Vec<u8> {
    let mut answer = head("200 OK", "application/json", json.len(), "");
    if body {
        answer.extend_from_slice(json.as_bytes());
    }
    answer
}

/// The answer to what we do not do.
pub(super) fn refuse(refusal: Refusal) -> Vec<u8> {
    let status = refusal.status();
    let allow = if refusal == Refusal::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    let mut answer = head(status, "text/plain", status.len() + 1, allow);
    answer.extend_from_slice(status.as_bytes());
    answer.push(b'\n');
    answer
}

fn head(status: &str, kind: &str, len: usize, more: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nCache-Control: no-store\r\n\
         {more}Connection: close\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATISTICS: Verdict = Verdict::Statistics { body: true };

    #[test]
    fn the_root_is_served() {
        assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"), STATISTICS);
        assert_eq!(judge(b"GET / HTTP/1.0\r\n\r\n"), STATISTICS);
        assert_eq!(judge(b"GET /?pretty HTTP/1.1\r\nHost: a\r\n\r\nleft over"), STATISTICS);
        assert_eq!(judge(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), Verdict::Statistics { body: false });
    }

    #[test]
    fn every_beginning_of_a_request_is_incomplete() {
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for len in 0..request.len() {
            assert_eq!(judge(&request[..len]), Verdict::Incomplete, "{len} octets");
        }
    }

    #[test]
    fn other_targets_and_methods_are_refused() {
        let not_found = Verdict::Refused(Refusal::NotFound);
        assert_eq!(judge(b"GET /metrics HTTP/1.1\r\n\r\n"), not_found);
        assert_eq!(judge(b"GET //etc/passwd HTTP/1.1\r\n\r\n"), not_found);
        let not_allowed = Verdict::Refused(Refusal::MethodNotAllowed);
        assert_eq!(judge(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"), not_allowed);
        assert_eq!(judge(b"M-SEARCH * HTTP/1.1\r\n\r\n"), not_allowed);
    }

    #[test]
    fn what_is_no_request_is_refused_as_soon_as_it_shows() {
        let malformed = Verdict::Refused(Refusal::Malformed);
        assert_eq!(judge(&[0x16, 3, 1, 2, 0, 1]), malformed, "the beginning of a TLS handshake");
        for request in [
            &b"\r\n\r\n"[..],
            b"GET /\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / HTTP/1.1 more\r\n\r\n",
            b"get / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\n: no name\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET example.com HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
        ] {
            assert_eq!(judge(request), malformed, "{}", request.escape_ascii());
        }
    }

    #[test]
    fn a_request_without_end_is_refused_at_the_limit() {
        let mut request = b"GET / HTTP/1.1\r\nHost: ".to_vec();
        request.resize(REQUEST_MAX - 1, b'a');
        assert_eq!(judge(&request), Verdict::Incomplete);
        request.push(b'a');
        assert_eq!(judge(&request), Verdict::Refused(Refusal::TooLarge));
        request.extend(b"aa\r\n\r\n");
        assert_eq!(judge(&request), Verdict::Refused(Refusal::TooLarge));
    }

    #[test]
    fn answers_say_their_length_and_that_they_are_the_last() {
        let answer = String::from_utf8(ok("{}", true)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("Content-Length: 2\r\n") && answer.contains("Connection: close\r\n"));
        assert!(answer.ends_with("\r\n\r\n{}"));
        assert!(ok("{}", false).ends_with(b"\r\n\r\n"));
        let refusal = String::from_utf8(refuse(Refusal::MethodNotAllowed)).unwrap();
        assert!(refusal.contains("405") && refusal.contains("Allow: GET, HEAD\r\n"));
    }
}
