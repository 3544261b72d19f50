//! The handler's message, composed without allocating.

use super::blame::{InstanceSlot, LibraryName};

/// A message in a place of its own; what does not fit any more is left out as a whole.
pub(super) struct Message {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl Message {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; BYTES_MAX], len: 0 }
    }

    /// Says who is to blame. A library without a slot comes first: it is where the program counter was.
    pub(super) fn compose(&mut self, signal: i32, at: Option<&LibraryName>, slot: Option<&InstanceSlot>) -> &[u8] {
        let own = slot.and_then(InstanceSlot::library);
        let instance = slot.and_then(InstanceSlot::key_json);
        // What no instance does, such as a constructor, is the library's own doing wherever the counter was.
        let library = at.or(if instance.is_none() { own } else { None });
        self.len = 0;
        self.put("{\"fault\":{\"signal\":");
        self.put_number(signal.unsigned_abs());
        self.put(",\"library\":");
        self.put_name(library.map(LibraryName::json));
        self.put(",\"instance\":");
        self.put_name(instance);
        self.put(",\"instance_library\":");
        self.put_name(instance.and(own).map(LibraryName::json));
        self.put("}}");
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn put_name(&mut self, name: Option<&str>) {
        self.put(name.filter(|name| name.len() <= NAME_BYTES_MAX).unwrap_or("null"));
    }

    fn put_number(&mut self, mut number: u32) {
        let mut digits = [0; 10];
        let mut from = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            from -= 1;
            if number == 0 {
                break;
            }
        }
        if let Some(Ok(digits)) = digits.get(from..).map(str::from_utf8) {
            self.put(digits);
        }
    }

    fn put(&mut self, text: &str) {
        if let Some(place) = self.bytes.get_mut(self.len..).and_then(|rest| rest.get_mut(..text.len())) {
            place.copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
    }
}

/// File names have at most 255 bytes, of which JSON makes at most six times as many.
const NAME_BYTES_MAX: usize = 1600;
const BYTES_MAX: usize = 3 * NAME_BYTES_MAX + 128;

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(signal: i32, at: Option<&str>, slot: Option<(Option<&str>, &str)>, expected: Expect) {
        let at = at.map(LibraryName::register);
        let slot = slot.map(|(key, library)| match key {
            Some(key) => InstanceSlot::register(key, library),
            None => InstanceSlot::of_library(library),
        });
        let mut message = Message::new();
        let message = str::from_utf8(message.compose(signal, at, slot)).unwrap();
        let _: serde_json::Value = serde_json::from_str(message).unwrap();
        expected.assert_eq(message);
    }

    #[test]
    fn a_message_names_library_and_instance() {
        check(
            11,
            Some("libx.so"),
            Some((Some("plugin/x"), "libx.so")),
            expect![[
                r#"{"fault":{"signal":11,"library":"libx.so","instance":"plugin/x","instance_library":"libx.so"}}"#
            ]],
        );
        check(
            6,
            None,
            Some((Some("plugin/x"), "libx.so")),
            expect![[r#"{"fault":{"signal":6,"library":null,"instance":"plugin/x","instance_library":"libx.so"}}"#]],
        );
        check(
            6,
            None,
            Some((None, "libx.so")),
            expect![[r#"{"fault":{"signal":6,"library":"libx.so","instance":null,"instance_library":null}}"#]],
        );
        check(
            0,
            None,
            None,
            expect![[r#"{"fault":{"signal":0,"library":null,"instance":null,"instance_library":null}}"#]],
        );
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let long = "x".repeat(NAME_BYTES_MAX);
        check(
            11,
            Some(&long),
            Some((Some(&long), &long)),
            expect![[r#"{"fault":{"signal":11,"library":null,"instance":null,"instance_library":null}}"#]],
        );
    }
}
