//! W3C Trace Context, level 1: which trace a request belongs to, as the header field `traceparent` says it.
//!
//! Start at [`Trace::parse`]. Nothing is recorded or sent anywhere from here: the ids go on to plug-ins and into the log.

use std::fmt;

/// A trace and a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    trace_id: [u64; 2],
    span_id: u64,
    is_sampled: bool,
}

impl Trace {
    /// How long a `traceparent` of version 00 is.
    pub const BYTES: usize = 55;

    /// A trace that begins here. Nobody has decided to record it (section 3.2.2.5.1), as nothing records here.
    #[must_use]
    pub fn new(trace_id: [u64; 2], span_id: u64) -> Self {
        // Zero is no id (section 3.2.2).
        let trace_id = if trace_id == [0, 0] { [0, 1] } else { trace_id };
        Self { trace_id, span_id: span_id.max(1), is_sampled: false }
    }

    /// The same trace at another place.
    #[must_use]
    pub fn hop(self, span_id: u64) -> Self {
        Self { span_id: span_id.max(1), ..self }
    }

    /// Reads a `traceparent` strictly (section 3.2): the lengths, small letters, no id of zeros. Of a version above 00
    /// the fields of 00 are read and what follows them is not (section 3.2.4); ff is none.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(Self::BYTES)?;
        let [v0, v1, b'-', fields @ ..] = known else { return None };
        let version = hex(&[*v0, *v1])?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        let (high, fields) = fields.split_at_checked(16)?;
        let (low, fields) = fields.split_at_checked(16)?;
        let (dash, fields) = fields.split_at_checked(1)?;
        let (span_id, fields) = fields.split_at_checked(16)?;
        let [b'-', flags @ ..] = fields else { return None };
        let (trace_id, span_id, flags) = ([hex(high)?, hex(low)?], hex(span_id)?, hex(flags)?);
        let is_valid = fits && dash == b"-" && trace_id != [0, 0] && span_id != 0;
        // The other flags mean nothing yet and are not passed on (section 3.2.2.5.2).
        is_valid.then_some(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }

    /// The `traceparent` for whoever is called on the way.
    #[must_use]
    pub fn header(&self) -> [u8; Self::BYTES] {
        let mut header = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let [high, low] = self.trace_id;
        for (number, at) in [(high, 3), (low, 19), (self.span_id, 36)] {
            if let Some(place) = header.get_mut(at..) {
                write_hex(number, place);
            }
        }
        if let Some(last) = header.last_mut().filter(|_| self.is_sampled) {
            *last = b'1';
        }
        header
    }

    /// The trace's id as 32 digits.
    #[must_use]
    pub fn trace_id(&self) -> impl fmt::Display {
        let [high, low] = self.trace_id;
        fmt::from_fn(move |formatter| write!(formatter, "{high:016x}{low:016x}"))
    }

    /// The id of this server's part as 16 digits.
    #[must_use]
    pub fn span_id(&self) -> impl fmt::Display {
        let span_id = self.span_id;
        fmt::from_fn(move |formatter| write!(formatter, "{span_id:016x}"))
    }
}

/// Reads at most 16 small hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// Writes 16 hexadecimal digits to the beginning of a place.
pub(super) fn write_hex(number: u64, place: &mut [u8]) {
    for (digit, byte) in place.iter_mut().zip(number.to_be_bytes().iter().flat_map(|byte| [byte >> 4, byte & 0xf])) {
        *digit = if byte < 10 { b'0' + byte } else { b'a' - 10 + byte };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_goes_on() {
        let trace = Trace::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(trace.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.span_id().to_string(), "b7ad6b7169203331");
        assert_eq!(trace.header(), EXAMPLE.as_bytes());
        let hop = trace.hop(0x1f);
        assert_eq!(&hop.header(), b"00-0af7651916cd43dd8448eb211c80319c-000000000000001f-01");
        assert_eq!(&Trace::new([0, 0], 0).header(), b"00-00000000000000000000000000000001-0000000000000001-00");
    }

    #[test]
    fn what_is_not_exactly_one_is_none() {
        for (bad, why) in [
            ("", "empty"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", "too short"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-", "longer than version 00"),
            ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "capitals"),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", "no trace"),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "no span"),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "no version"),
            ("0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "no digit"),
            ("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "no dash"),
            ("00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", "no dash"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01", "no dash"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x", "no flags"),
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x", "glued to what a later version has"),
        ] {
            assert_eq!(Trace::parse(bad.as_bytes()), None, "{why}");
        }
        for (later, flags) in [("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-what", "01"), (EXAMPLE, "01")]
        {
            let header = Trace::parse(later.as_bytes()).unwrap().header();
            assert!(header.starts_with(b"00-0af7651916cd43dd8448eb211c80319c") && header.ends_with(flags.as_bytes()));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_harm_and_what_is_written_is_read(bytes: Vec<u8>, high: u64, low: u64, span_id: u64) {
            let _ = Trace::parse(&bytes);
            let trace = Trace::new([high, low], span_id);
            prop_assert_eq!(Trace::parse(&trace.header()), Some(trace));
        }
    }
}
