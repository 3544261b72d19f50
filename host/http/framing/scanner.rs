//! Where the requests of a connection begin and end, and what in their framing two readers could read differently.
//!
//! Start at [`Scanner`]: it looks once at every byte of a header (RFC 9112) and skips bodies. It does not decide what a
//! request means; that is hyper's business, which gets the same bytes.

use http::Uri;
use smallvec::SmallVec;

/// Why a request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Refusal {
    /// What is wrong with its form.
    Malformed(&'static str),
    /// The request line is longer than a header may be.
    TargetTooLong,
    /// The header is longer than it may be, or has too many fields.
    HeaderTooLarge,
    /// Another major version than 1, or a minor one that nobody knows.
    Version,
    /// A transfer coding other than `chunked`.
    Coding,
    /// The header did not come in time, or the body too slowly.
    TooSlow,
}

/// A refusal, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// How many of the bytes are in order: up to the header that is refused, or in a body up to what is wrong.
    pub(super) bytes_before: usize,
    /// Whether the header had been let through, and only the body is broken.
    pub(super) in_body: bool,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    header_bytes_max: usize,
    /// Of the present header, or of the present trailers.
    header_bytes: usize,
    fields: usize,
    /// The beginning of a field's name that came in several pieces.
    name: SmallVec<[u8; 24]>,
    /// A target that does not begin with a slash, or the value of `Transfer-Encoding`: rare, and short.
    kept: SmallVec<[u8; 32]>,
    is_http_10: bool,
    length: Option<u64>,
    is_chunked: bool,
    in_trailers: bool,
    header_ended: bool,
    /// How many headers have come to their end.
    pub(super) requests: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between requests.
    Start,
    /// Empty lines before a request are passed over (RFC 9112, section 2.2).
    StartLf,
    Method,
    TargetStart,
    Path,
    Query,
    /// A target that does not begin with a slash.
    OtherTarget,
    /// How many bytes of the version have come.
    Version(usize),
    LineStart,
    Name,
    Value(Field),
    LineLf,
    HeaderLf,
    /// Bytes left of a body whose length was told.
    Body(u64),
    /// Digits that have come, and their value.
    ChunkSize(u8, u64),
    /// Bytes of a chunk's extension that have come, and the chunk's size.
    ChunkExtension(u16, u64),
    ChunkSizeLf(u64),
    Chunk(u64),
    ChunkCr,
    ChunkLf,
}

/// A field, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Other,
    /// `Content-Length` before its digits, within, and behind them.
    Length(Option<u64>, bool),
    Coding,
}

/// hyper reads no more fields than these.
const FIELDS_MAX: usize = 100;
/// As much of a name is kept: more than those have that matter.
const NAME_BYTES_MAX: usize = 20;
/// The longest extension of one chunk; nobody has been seen to use any.
const CHUNK_EXTENSION_BYTES_MAX: u16 = 256;

impl Scanner {
    pub(super) fn new(header_bytes_max: usize) -> Self {
        Self {
            state: State::Start,
            header_bytes_max,
            header_bytes: 0,
            fields: 0,
            name: SmallVec::new(),
            kept: SmallVec::new(),
            is_http_10: false,
            length: None,
            is_chunked: false,
            in_trailers: false,
            header_ended: false,
            requests: 0,
        }
    }

    /// Whether a header has begun and not ended.
    pub(super) fn in_header(&self) -> bool {
        !matches!(self.state, State::Start | State::StartLf) && !self.in_body()
    }

    /// Whether a body has begun and not ended.
    pub(super) fn in_body(&self) -> bool {
        use State::{Body, Chunk, ChunkCr, ChunkExtension, ChunkLf, ChunkSize, ChunkSizeLf};
        let state = self.state;
        self.in_trailers
            || matches!(
                state,
                Body(_) | ChunkSize(..) | ChunkExtension(..) | ChunkSizeLf(_) | Chunk(_) | ChunkCr | ChunkLf
            )
    }

    /// Looks at what came next.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut rest = bytes;
        let mut request_start = 0;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            if self.state == State::Start {
                request_start = at;
            }
            let in_body = self.in_body();
            let bytes_before = if in_body { at } else { request_start };
            let refused = |refusal| Refused { refusal, bytes_before, in_body };
            let left = rest.len();
            self.step(&mut rest).map_err(refused)?;
            if !in_body || self.in_trailers {
                self.header_bytes += left - rest.len();
                if self.header_bytes > self.header_bytes_max {
                    let in_target = matches!(self.state, State::Path | State::Query | State::OtherTarget);
                    return Err(refused(if in_target { Refusal::TargetTooLong } else { Refusal::HeaderTooLarge }));
                }
            }
            if std::mem::take(&mut self.header_ended) {
                self.header_bytes = 0;
            }
        }
        Ok(())
    }

    /// Takes at least one byte.
    fn step(&mut self, rest: &mut &[u8]) -> Result<(), Refusal> {
        // Runs of bytes that change nothing first: nearly all of a header and of a body.
        match &mut self.state {
            State::LineStart if rest.first().is_some_and(|byte| is_token(*byte)) => {
                if self.lines(rest) {
                    return Ok(());
                }
                self.fields += 1;
                if self.fields > FIELDS_MAX {
                    return Err(Refusal::HeaderTooLarge);
                }
                self.state = State::Name;
                return self.name(rest);
            }
            State::Name => return self.name(rest),
            State::Method => {
                *rest = rest.split_at(run(rest, is_token)).1;
                let Some((&end, behind)) = rest.split_first() else { return Ok(()) };
                *rest = behind;
                if end != b' ' {
                    return Err(Refusal::Malformed("the method is malformed"));
                }
                self.state = State::TargetStart;
                return Ok(());
            }
            State::Path => return self.path(rest, is_path),
            State::Query => return self.path(rest, is_query),
            State::Version(0) if rest.starts_with(b"HTTP/1.1\r\n") => {
                *rest = rest.split_at(b"HTTP/1.1\r\n".len()).1;
                self.is_http_10 = false;
                self.state = State::LineStart;
                return Ok(());
            }
            State::Value(Field::Other) => {
                *rest = rest.split_at(value_run(rest)).1;
                if rest.is_empty() {
                    return Ok(());
                }
            }
            State::Body(left) => {
                *left -= take(rest, *left);
                if *left == 0 {
                    self.state = State::Start;
                }
                return Ok(());
            }
            State::Chunk(left) => {
                *left -= take(rest, *left);
                if *left == 0 {
                    self.state = State::ChunkCr;
                }
                return Ok(());
            }
            _ => {}
        }
        let Some((&byte, behind)) = rest.split_first() else { return Ok(()) };
        *rest = behind;
        self.state = self.next(byte)?;
        Ok(())
    }

    /// The state after one byte, where runs are no matter.
    fn next(&mut self, byte: u8) -> Result<State, Refusal> {
        let malformed = |what| Err(Refusal::Malformed(what));
        Ok(match (self.state, byte) {
            (State::Start, b'\r') => State::StartLf,
            (State::Start, byte) if is_token(byte) => State::Method,
            (State::Start, b'\n') => return malformed(BARE_LF),
            (State::Start, _) => return malformed("the request line does not begin with a method"),
            (State::StartLf, b'\n') => State::Start,
            (State::TargetStart, b'/') => State::Path,
            (State::TargetStart | State::OtherTarget, byte @ b'!'..=b'~') => {
                self.kept.push(byte);
                State::OtherTarget
            }
            (State::OtherTarget, b' ') => {
                let target = std::mem::take(&mut self.kept);
                if Uri::try_from(target.as_slice()).is_err() || target.contains(&b'#') {
                    return malformed("the request target is malformed");
                }
                State::Version(0)
            }
            (State::TargetStart | State::OtherTarget, _) => return malformed(BAD_TARGET),
            (State::Version(at), byte) => return self.version(at, byte),
            (State::LineStart, b'\r') => State::HeaderLf,
            (State::LineStart, b' ' | b'\t') => {
                return malformed("a header field goes on in the next line (RFC 9112, section 5.2)");
            }
            (State::Value(field), byte) => return self.value(field, byte),
            (State::LineLf, b'\n') => State::LineStart,
            (State::HeaderLf, b'\n') => self.header_ends()?,
            (State::ChunkSize(digits, size), byte) => return chunk_size(digits, size, byte),
            (State::ChunkExtension(_, size), b'\r') => State::ChunkSizeLf(size),
            (State::ChunkExtension(bytes, size), b'\t' | b' '..=b'~') if bytes < CHUNK_EXTENSION_BYTES_MAX => {
                State::ChunkExtension(bytes + 1, size)
            }
            (State::ChunkExtension(..), _) => return malformed("the extension of a chunk is malformed or too long"),
            (State::ChunkSizeLf(0), b'\n') => {
                self.in_trailers = true;
                (self.fields, self.header_bytes) = (0, 0);
                State::LineStart
            }
            (State::ChunkSizeLf(size), b'\n') => State::Chunk(size),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::ChunkSize(0, 0),
            (State::ChunkCr | State::ChunkLf, _) => return malformed("a chunk is longer than its size"),
            (State::LineStart, b'\n') => return malformed(BARE_LF),
            (State::LineStart, _) => return malformed("the name of a header field is malformed"),
            _ => return malformed("a CR without LF"),
        })
    }

    /// Passes over fields that mean nothing here, each a whole line: nearly all there are. Whether there was one.
    fn lines(&mut self, rest: &mut &[u8]) -> bool {
        let fields = self.fields;
        while self.fields < FIELDS_MAX
            && let Some((name, value)) = rest.split_at_checked(run(rest, is_token))
            && let [b':', value @ ..] = value
            && !name.is_empty()
            && matches!(self.field(name), Ok(Field::Other))
            && let Some((_, [b'\r', b'\n', behind @ ..])) = value.split_at_checked(value_run(value))
        {
            *rest = behind;
            self.fields += 1;
        }
        self.fields > fields
    }

    fn path(&mut self, rest: &mut &[u8], may: fn(u8) -> bool) -> Result<(), Refusal> {
        *rest = rest.split_at(run(rest, may)).1;
        let Some((&end, behind)) = rest.split_first() else { return Ok(()) };
        *rest = behind;
        self.state = match end {
            b' ' => State::Version(0),
            b'?' => State::Query,
            _ => return Err(Refusal::Malformed(BAD_TARGET)),
        };
        Ok(())
    }

    fn version(&mut self, at: usize, byte: u8) -> Result<State, Refusal> {
        const FORM: &[u8; 9] = b"HTTP/1.d\r";
        match FORM.get(at) {
            Some(b'd') if matches!(byte, b'0' | b'1') => self.is_http_10 = byte == b'0',
            Some(b'd') if byte.is_ascii_digit() => return Err(Refusal::Version),
            Some(b'1') if byte.is_ascii_digit() && byte != b'1' => return Err(Refusal::Version),
            Some(b'\r') if byte == b'\n' => return Err(Refusal::Malformed(BARE_LF)),
            Some(b'\r') if byte == b'\r' => return Ok(State::LineLf),
            Some(expected) if *expected == byte && byte != b'd' => {}
            _ => return Err(Refusal::Malformed("the request line does not end with its version")),
        }
        Ok(State::Version(at + 1))
    }

    fn name(&mut self, rest: &mut &[u8]) -> Result<(), Refusal> {
        let (name, behind) = rest.split_at(run(rest, is_token));
        let Some((&end, behind)) = behind.split_first() else {
            // Longer ones are none of those that matter.
            self.name.extend(name.iter().copied().take(NAME_BYTES_MAX.saturating_sub(self.name.len())));
            *rest = behind;
            return Ok(());
        };
        *rest = behind;
        match end {
            b':' => {}
            b' ' | b'\t' => return Err(Refusal::Malformed("there is a space before the colon of a header field")),
            b'\n' => return Err(Refusal::Malformed(BARE_LF)),
            _ => return Err(Refusal::Malformed("the name of a header field is malformed")),
        }
        let field = if self.name.is_empty() {
            self.field(name)
        } else {
            self.name.extend(name.iter().copied().take(NAME_BYTES_MAX.saturating_sub(self.name.len())));
            let name = std::mem::take(&mut self.name);
            self.field(&name)
        };
        self.state = State::Value(field?);
        Ok(())
    }

    fn field(&self, name: &[u8]) -> Result<Field, Refusal> {
        // Trailers mean nothing.
        if self.in_trailers {
            return Ok(Field::Other);
        }
        if name.len() == 14 && name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(Refusal::Malformed("there are two header fields `Content-Length`"));
            }
            return Ok(Field::Length(None, false));
        }
        if name.len() == 17 && name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.is_chunked {
                return Err(Refusal::Malformed("there are two header fields `Transfer-Encoding`"));
            }
            return Ok(Field::Coding);
        }
        Ok(Field::Other)
    }

    fn value(&mut self, field: Field, byte: u8) -> Result<State, Refusal> {
        match byte {
            b'\r' => {
                self.field_ends(field)?;
                return Ok(State::LineLf);
            }
            b'\n' => return Err(Refusal::Malformed(BARE_LF)),
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => return Err(Refusal::Malformed("a header field has a control character")),
        }
        Ok(State::Value(match (field, byte) {
            (Field::Other, _) => Field::Other,
            (Field::Coding, byte) => {
                self.kept.push(byte);
                Field::Coding
            }
            (Field::Length(None, _), b' ' | b'\t') => field,
            (Field::Length(Some(length), _), b' ' | b'\t') => Field::Length(Some(length), true),
            (Field::Length(length, false), b'0'..=b'9') => {
                let longer =
                    length.unwrap_or(0).checked_mul(10).and_then(|tens| tens.checked_add((byte - b'0').into()));
                // hyper has a meaning of its own for the two largest.
                Field::Length(Some(longer.filter(|length| *length < u64::MAX - 2).ok_or(BAD_LENGTH)?), false)
            }
            (Field::Length(..), _) => return Err(BAD_LENGTH),
        }))
    }

    fn field_ends(&mut self, field: Field) -> Result<(), Refusal> {
        match field {
            Field::Other => {}
            Field::Length(length, _) => self.length = Some(length.ok_or(BAD_LENGTH)?),
            Field::Coding => {
                let value = std::mem::take(&mut self.kept);
                let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                let is_last = codings.next_back().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
                if !is_last {
                    return Err(Refusal::Malformed("`chunked` is not the last transfer coding"));
                }
                if codings.next().is_some() {
                    return Err(Refusal::Coding);
                }
                self.is_chunked = true;
            }
        }
        Ok(())
    }

    fn header_ends(&mut self) -> Result<State, Refusal> {
        let (length, is_chunked) = (self.length.take(), std::mem::take(&mut self.is_chunked));
        let in_trailers = std::mem::take(&mut self.in_trailers);
        self.fields = 0;
        self.header_ended = true;
        if in_trailers {
            return Ok(State::Start);
        }
        self.requests = self.requests.wrapping_add(1);
        if is_chunked {
            if length.is_some() {
                return Err(Refusal::Malformed("there are `Content-Length` and `Transfer-Encoding`"));
            }
            if self.is_http_10 {
                return Err(Refusal::Malformed("HTTP/1.0 has no `Transfer-Encoding`"));
            }
            return Ok(State::ChunkSize(0, 0));
        }
        Ok(match length {
            None | Some(0) => State::Start,
            Some(length) => State::Body(length),
        })
    }
}

fn chunk_size(digits: u8, size: u64, byte: u8) -> Result<State, Refusal> {
    const BAD: Refusal = Refusal::Malformed("the size of a chunk is malformed");
    match (byte, char::from(byte).to_digit(16)) {
        // Sixteen digits are all that a size can have.
        (_, Some(digit)) if digits < 16 => Ok(State::ChunkSize(digits + 1, (size << 4) | u64::from(digit))),
        (b'\r', _) if digits > 0 => Ok(State::ChunkSizeLf(size)),
        (b';', _) if digits > 0 => Ok(State::ChunkExtension(0, size)),
        _ => Err(BAD),
    }
}

/// Goes on by up to so many bytes. Answers by how many.
fn take(rest: &mut &[u8], bytes: u64) -> u64 {
    let taken = usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len());
    *rest = rest.split_at(taken).1;
    taken as u64
}

fn run(bytes: &[u8], may: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !may(*byte)).unwrap_or(bytes.len())
}

/// How many bytes there are before the first control character, eight at a time.
fn value_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let (words, _) = bytes.as_chunks::<8>();
    let mut plain = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // Below 0x20, or 0x7f. What is marked above the lowest of them may be a mistake: a borrow.
        let low = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = word ^ (ONES * 0x7f);
        let marks = (low | (delete.wrapping_sub(ONES) & !delete)) & HIGH;
        if marks != 0 {
            return plain + marks.trailing_zeros() as usize / 8;
        }
        plain += 8;
    }
    plain + run(bytes.get(plain..).unwrap_or_default(), |byte| byte >= b' ' && byte != 0x7f)
}

fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).is_some_and(|is_token| *is_token)
}

/// Which bytes a token may have (RFC 9110, section 5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let (mut rest, mut byte): (&mut [bool], u8) = (&mut table, 0);
    while let Some((is_token, behind)) = rest.split_first_mut() {
        *is_token = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        (rest, byte) = (behind, byte.wrapping_add(1));
    }
    table
};

/// What may stand in a path: RFC 3986, and what browsers do not encode there. Never a fragment.
fn is_path(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'@'..=b'_' | b'a'..=b'~')
}

fn is_query(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'~')
}

const BARE_LF: &str = "a line ends with LF alone";
const BAD_TARGET: &str = "the request target has a character that must be percent-encoded";
const BAD_LENGTH: Refusal = Refusal::Malformed("`Content-Length` is no number");

#[cfg(any(test, fuzzing))]
pub(in crate::http) mod properties;
#[cfg(test)]
mod tests;
