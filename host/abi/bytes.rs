//! Text and bytes that cross the border: borrowed ones read with checks, owned ones freed by whoever made them.

use std::ffi::c_void;

use porth_abi::{Bytes, Str};

/// Why something that a plug-in handed over cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBytes {
    /// A null pointer with a length.
    #[error("a null pointer with a length of {0} bytes")]
    Null(usize),
    /// More bytes than any allocation can have.
    #[error("a length of {0} bytes, more than any allocation can have")]
    Length(usize),
    /// Not UTF-8.
    #[error("text that is not UTF-8")]
    Utf8,
}

/// Bytes that a plug-in made and that are freed by its own function, once, when this is dropped.
#[derive(Debug)]
pub struct OwnedBytes(Bytes);

// SAFETY: the border says that owned bytes may be read and freed from any thread.
unsafe impl Send for OwnedBytes {}
// SAFETY: nothing changes the bytes after they were handed over.
unsafe impl Sync for OwnedBytes {}

impl OwnedBytes {
    /// Takes over what a plug-in handed out.
    ///
    /// # Errors
    /// When the pointer or length is impossible; what was handed over is freed all the same.
    ///
    /// # Safety
    /// `bytes` was filled in by a plug-in (or is empty), and nobody else frees it.
    pub unsafe fn take(bytes: Bytes) -> Result<Self, BadBytes> {
        let owned = Self(bytes);
        check(bytes.ptr, bytes.len)?;
        Ok(owned)
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: `take` refused null and impossible lengths, and the border keeps the bytes alive until `drop`.
        unsafe { std::slice::from_raw_parts(self.0.ptr, self.0.len) }
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub fn as_text(&self) -> Result<&str, BadBytes> {
        std::str::from_utf8(self.as_slice()).map_err(|_| BadBytes::Utf8)
    }
}

impl AsRef<[u8]> for OwnedBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for OwnedBytes {
    fn drop(&mut self) {
        if let Some(free) = self.0.drop {
            // SAFETY: `take` made this the only owner, so this is the one call that frees.
            unsafe { free(self.0.owner, self.0.ptr, self.0.len) }
        }
    }
}

fn check(ptr: *const u8, len: usize) -> Result<(), BadBytes> {
    if len > isize::MAX.unsigned_abs() {
        return Err(BadBytes::Length(len));
    }
    if ptr.is_null() && len > 0 {
        return Err(BadBytes::Null(len));
    }
    Ok(())
}

/// Reads borrowed bytes.
///
/// # Errors
/// When the pointer or length is impossible.
///
/// # Safety
/// The bytes stay valid for `'a`, which the border promises for the length of a call.
pub(super) unsafe fn borrow<'a>(bytes: Str) -> Result<&'a [u8], BadBytes> {
    check(bytes.ptr, bytes.len)?;
    if bytes.len == 0 {
        return Ok(&[]);
    }
    // SAFETY: checked above, and the caller vouches for the lifetime.
    Ok(unsafe { std::slice::from_raw_parts(bytes.ptr, bytes.len) })
}

/// Reads borrowed text.
///
/// # Errors
/// When the pointer or length is impossible, or the text is not UTF-8.
///
/// # Safety
/// As for [`borrow`].
pub(super) unsafe fn borrow_text<'a>(text: Str) -> Result<&'a str, BadBytes> {
    // SAFETY: the caller vouches for it.
    let bytes = unsafe { borrow(text) }?;
    std::str::from_utf8(bytes).map_err(|_| BadBytes::Utf8)
}

/// Hands bytes over to a plug-in, which gives them back through `drop`.
#[must_use]
pub(super) fn hand_over(bytes: Vec<u8>) -> Bytes {
    unsafe extern "C" fn free(owner: *mut c_void, ptr: *const u8, len: usize) {
        // The owner carries the capacity: no second allocation only to remember it.
        let capacity = owner.addr();
        // SAFETY: these are the parts of the `Vec` taken apart below, and the border calls `drop` once.
        drop(unsafe { Vec::from_raw_parts(ptr.cast_mut(), len, capacity) });
    }
    let mut bytes = std::mem::ManuallyDrop::new(bytes);
    Bytes {
        ptr: bytes.as_mut_ptr(),
        len: bytes.len(),
        owner: std::ptr::without_provenance_mut(bytes.capacity()),
        drop: Some(free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handed_over_bytes_come_back_whole() {
        let bytes = hand_over(b"hello".to_vec());
        // SAFETY: made by `hand_over`, owned by nobody else.
        let owned = unsafe { OwnedBytes::take(bytes) }.unwrap();
        assert_eq!(owned.as_text(), Ok("hello"));
    }

    #[test]
    fn a_null_pointer_with_a_length_is_refused_and_still_freed() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static FREED: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C" fn free(_: *mut c_void, _: *const u8, _: usize) {
            FREED.fetch_add(1, Ordering::SeqCst);
        }
        let bytes = Bytes { ptr: std::ptr::null(), len: 3, owner: std::ptr::null_mut(), drop: Some(free) };
        // SAFETY: nobody else frees it.
        let refused = unsafe { OwnedBytes::take(bytes) };
        assert_eq!(refused.err(), Some(BadBytes::Null(3)));
        assert_eq!(FREED.load(Ordering::SeqCst), 1);
    }
}
