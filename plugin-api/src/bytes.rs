//! Text and bytes as they cross the border: borrowed ones read, owned ones received and handed over.
//!
//! [`Bytes`] is what authors see of it.

use core::ffi::c_void;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr;
use std::borrow::Cow;

use porth_abi as abi;

/// Bytes of a body: what a client sent, or what a plug-in sends. They are never copied on their way.
///
/// ```
/// # use porth_plugin::Bytes;
/// let bytes = Bytes::from("static".to_owned());
/// assert_eq!((bytes.len(), &bytes[..]), (6, &b"static"[..]));
/// ```
pub struct Bytes(Content);

enum Content {
    Static(&'static [u8]),
    Owned(Vec<u8>),
    Host(HostBytes),
}

impl Bytes {
    /// No bytes.
    pub(crate) const EMPTY: Self = Self::from_static(b"");

    pub(crate) const fn from_static(bytes: &'static [u8]) -> Self {
        Self(Content::Static(bytes))
    }

    pub(crate) const fn from_owned(bytes: Vec<u8>) -> Self {
        Self(Content::Owned(bytes))
    }

    pub(crate) const fn from_host(bytes: HostBytes) -> Self {
        Self(Content::Host(bytes))
    }

    /// Hands them over to the host.
    pub(crate) fn cross(self) -> abi::Bytes {
        match self.0 {
            Content::Static(bytes) => abi::Bytes::from_static(bytes),
            Content::Owned(bytes) => from_vec(bytes),
            // Its own: it calls its own `drop`.
            Content::Host(bytes) => ManuallyDrop::new(bytes).0,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Content::Static(bytes) => bytes,
            Content::Owned(bytes) => bytes,
            Content::Host(bytes) => bytes.as_slice(),
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_owned(bytes)
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self::from_owned(text.into_bytes())
    }
}

impl From<&'static str> for Bytes {
    fn from(text: &'static str) -> Self {
        Self::from_static(text.as_bytes())
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self::from_static(bytes)
    }
}

impl<const LEN: usize> From<&'static [u8; LEN]> for Bytes {
    fn from(bytes: &'static [u8; LEN]) -> Self {
        Self::from_static(bytes)
    }
}

impl From<Cow<'static, [u8]>> for Bytes {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => Self::from_static(bytes),
            Cow::Owned(bytes) => Self::from_owned(bytes),
        }
    }
}

impl From<Cow<'static, str>> for Bytes {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies do not belong into logs.
        write!(formatter, "{} bytes", self.len())
    }
}

/// Bytes that the host made, freed by it when this is dropped.
pub(crate) struct HostBytes(abi::Bytes);

// SAFETY: the border says that the bytes may be read and freed from any thread, and nobody else has them.
unsafe impl Send for HostBytes {}
// SAFETY: see above; nothing changes them.
unsafe impl Sync for HostBytes {}

impl HostBytes {
    /// Takes over what a function of the host has filled in.
    ///
    /// # Safety
    /// `bytes` must come from the host, valid and not yet freed, and nobody else may free them.
    pub(crate) const unsafe fn new(bytes: abi::Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        let text = abi::Str { ptr: self.0.ptr, len: self.0.len };
        // SAFETY: the maker of this value vouched for the bytes, and they are freed with it only.
        unsafe { slice(text) }
    }

    /// The bytes as text for people, whatever they are.
    pub(crate) fn to_text(&self) -> String {
        String::from_utf8_lossy(self.as_slice()).into_owned()
    }
}

impl Drop for HostBytes {
    fn drop(&mut self) {
        if let Some(free) = self.0.drop {
            // SAFETY: the maker of this value vouched that nobody else frees the bytes; the arguments are its own.
            unsafe { free(self.0.owner, self.0.ptr, self.0.len) }
        }
    }
}

/// The bytes behind borrowed text.
///
/// # Safety
/// They must stay valid and unchanged for `'a`.
pub(crate) const unsafe fn slice<'a>(text: abi::Str) -> &'a [u8] {
    if text.len == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for `ptr` and `len`, and an empty text, whose pointer may be null, is answered above.
    unsafe { core::slice::from_raw_parts(text.ptr, text.len) }
}

/// The array behind a pointer and a length.
///
/// # Safety
/// The elements must stay valid and unchanged for `'a`.
pub(crate) const unsafe fn array<'a, T>(first: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for the elements, and an empty array, whose pointer may be null, is answered above.
    unsafe { core::slice::from_raw_parts(first, len) }
}

/// Hands a vector over to the host without copying it: the owner is its capacity.
pub(crate) fn from_vec(bytes: Vec<u8>) -> abi::Bytes {
    if bytes.capacity() == 0 {
        return abi::Bytes::EMPTY;
    }
    let mut bytes = ManuallyDrop::new(bytes);
    abi::Bytes {
        ptr: bytes.as_mut_ptr(),
        len: bytes.len(),
        owner: ptr::without_provenance_mut(bytes.capacity()),
        drop: Some(drop_vec),
    }
}

/// Called by the host, once, from any thread.
unsafe extern "C" fn drop_vec(owner: *mut c_void, first: *const u8, len: usize) {
    // SAFETY: `from_vec` took exactly these three out of a vector that it did not drop. Freeing bytes cannot panic.
    drop(unsafe { Vec::from_raw_parts(first.cast_mut(), len, owner.addr()) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_as_it_went() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"hello");
        let crossed = from_vec(bytes);
        assert_eq!(crossed.owner.addr(), 64);
        // SAFETY: made in the line above and given to nobody else.
        let back = unsafe { HostBytes::new(crossed) };
        assert_eq!(back.as_slice(), b"hello");
    }

    #[test]
    fn an_empty_vector_needs_no_drop() {
        assert!(from_vec(Vec::new()).drop.is_none());
    }
}
