//! JSON, written straight into bytes.
//!
//! Owns the punctuation, the escaping and the forms of numbers that qlog wants. Knows no event. Integers that a double
//! cannot hold are written as strings (draft-ietf-quic-qlog-main-schema, "JSON Interoperability").

use std::time::Duration;

use crate::base::time::nanos;

/// The largest integer that every reader of JSON understands (RFC 7493 §2.2).
const INTEGER_MAX: u64 = (1 << 53) - 1;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// An object whose members are being written; closed by `end`.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

/// A list whose items are being written.
pub(super) struct List<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Begins an object at the end of `out`.
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, name: &str) {
        separate(self.out, &mut self.first);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.key(name);
        put_number(self.out, value);
    }

    /// A time in milliseconds.
    pub(super) fn millis(&mut self, name: &str, value: Duration) {
        self.key(name);
        put_decimal(self.out, nanos(value), 6);
    }

    /// `value` divided by ten to the power of `places`.
    pub(super) fn decimal(&mut self, name: &str, value: u64, places: u32) {
        self.key(name);
        put_decimal(self.out, value, places);
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.key(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.key(name);
        put_text(self.out, value);
    }

    /// A text made of several parts.
    pub(super) fn display(&mut self, name: &str, value: impl std::fmt::Display) {
        self.key(name);
        put_text(self.out, &value.to_string());
    }

    pub(super) fn hex(&mut self, name: &str, value: &[u8]) {
        self.key(name);
        self.out.push(b'"');
        put_hex(self.out, value);
        self.out.push(b'"');
    }

    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(name);
        let mut object = Object::begin(self.out);
        fill(&mut object);
        object.end();
    }

    pub(super) fn list(&mut self, name: &str, fill: impl FnOnce(&mut List<'_>)) {
        self.key(name);
        put_list(self.out, fill);
    }
}

impl List<'_> {
    pub(super) fn number(&mut self, value: u64) {
        separate(self.out, &mut self.first);
        put_number(self.out, value);
    }

    pub(super) fn text(&mut self, value: &str) {
        separate(self.out, &mut self.first);
        put_text(self.out, value);
    }

    pub(super) fn hex(&mut self, value: &[u8]) {
        separate(self.out, &mut self.first);
        self.out.push(b'"');
        put_hex(self.out, value);
        self.out.push(b'"');
    }

    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        separate(self.out, &mut self.first);
        let mut object = Object::begin(self.out);
        fill(&mut object);
        object.end();
    }

    pub(super) fn list(&mut self, fill: impl FnOnce(&mut List<'_>)) {
        separate(self.out, &mut self.first);
        put_list(self.out, fill);
    }
}

fn separate(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn put_list(out: &mut Vec<u8>, fill: impl FnOnce(&mut List<'_>)) {
    out.push(b'[');
    fill(&mut List { out, first: true });
    out.push(b']');
}

fn put_number(out: &mut Vec<u8>, value: u64) {
    if value <= INTEGER_MAX {
        return put_digits(out, value, 1);
    }
    out.push(b'"');
    put_digits(out, value, 1);
    out.push(b'"');
}

/// The digits of `value`, at least `least` of them.
fn put_digits(out: &mut Vec<u8>, mut value: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 || digits.len() - at < least {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// `value / 10^places`, without zeros at the end.
fn put_decimal(out: &mut Vec<u8>, value: u64, places: u32) {
    let unit = 10_u64.pow(places);
    put_digits(out, value / unit, 1);
    if !value.is_multiple_of(unit) {
        out.push(b'.');
        put_digits(out, value % unit, places as usize);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// A string (RFC 8259 §7).
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => {
                out.extend_from_slice(b"\\u00");
                put_hex(out, &[byte]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fill: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        fill(&mut object);
        object.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_and_items_are_separated() {
        let text = written(|object| {
            object.number("a", 0);
            object.flag("b", true);
            object.list("c", |list| {
                list.number(1);
                list.list(|list| list.number(2));
                list.object(|_| {});
                list.text("x");
                list.hex(&[0x0f]);
            });
            object.object("d", |object| object.hex("e", &[0xab, 0x01]));
        });
        assert_eq!(text, r#"{"a":0,"b":true,"c":[1,[2],{},"x","0f"],"d":{"e":"ab01"}}"#);
    }

    #[test]
    fn times_are_milliseconds_with_as_many_digits_as_they_need() {
        let millis = |nanos| written(|object| object.millis("t", Duration::from_nanos(nanos)));
        assert_eq!(millis(0), r#"{"t":0}"#);
        assert_eq!(millis(12_345_678), r#"{"t":12.345678}"#);
        assert_eq!(millis(10_050_000), r#"{"t":10.05}"#);
        assert_eq!(millis(100_000_000), r#"{"t":100}"#);
        assert_eq!(written(|object| object.decimal("t", 1_125, 3)), r#"{"t":1.125}"#);
    }

    #[test]
    fn numbers_beyond_a_double_are_strings() {
        assert_eq!(written(|it| it.number("n", (1 << 53) - 1)), r#"{"n":9007199254740991}"#);
        assert_eq!(written(|it| it.number("n", 1 << 53)), r#"{"n":"9007199254740992"}"#);
        assert_eq!(written(|it| it.number("n", u64::MAX)), r#"{"n":"18446744073709551615"}"#);
    }

    #[test]
    fn a_peers_words_cannot_break_out_of_a_string() {
        let text = written(|it| it.text("s", "a\"b\\c\nd\u{1e}\u{7f}é"));
        assert_eq!(text, "{\"s\":\"a\\\"b\\\\c\\u000ad\\u001e\\u007fé\"}");
    }
}
