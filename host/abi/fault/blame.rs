//! What the handler reads: the code of each library, and the instance that each thread works for.
//!
//! A handler may interrupt anything, so nothing here is ever freed or changed after it can be seen, and what is read
//! takes no lock.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering, compiler_fence};
use std::sync::{Mutex, PoisonError};

use super::workers::Seat;

/// The name of a library's file, once for each name.
#[derive(Debug)]
pub(in crate::abi) struct LibraryName {
    name: String,
    json: String,
}

/// An instance that threads can work for.
#[derive(Debug)]
pub struct InstanceSlot {
    key: Option<String>,
    key_json: Option<String>,
    library: Option<&'static LibraryName>,
}

impl LibraryName {
    /// The one entry of this name.
    pub(in crate::abi) fn register(name: &str) -> &'static Self {
        let mut all = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|known| known.name == name) {
            return known;
        }
        let new = Box::leak(Box::new(Self { name: name.to_owned(), json: json(name) }));
        all.push(new);
        new
    }

    /// The name with quotes, as it stands in a message.
    pub(super) fn json(&self) -> &str {
        &self.json
    }
}

impl InstanceSlot {
    /// The one slot of the instance `key` (`<kind>/<name>`) of a module of `library`. It stays for good: some dozens of
    /// bytes for each instance there ever was.
    #[must_use]
    pub fn register(key: &str, library: &str) -> &'static Self {
        Self::find_or_make(Some(key), LibraryName::register(library))
    }

    /// The one slot for what `library` does that is no instance's: its constructors, `load` and `unload`.
    #[must_use]
    pub fn of_library(library: &str) -> &'static Self {
        Self::find_or_make(None, LibraryName::register(library))
    }

    fn find_or_make(key: Option<&str>, library: &'static LibraryName) -> &'static Self {
        let mut all = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |slot: &&Self| slot.key.as_deref() == key && slot.library.is_some_and(|l| ptr::eq(l, library));
        if let Some(known) = all.iter().copied().find(is_same) {
            return known;
        }
        let key = key.map(str::to_owned);
        let new = Box::leak(Box::new(Self { key_json: key.as_deref().map(json), key, library: Some(library) }));
        all.push(new);
        new
    }

    /// The instance as `<kind>/<name>`; none for what a library does that is no instance's.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The name of the library's file.
    #[must_use]
    pub fn library_name(&self) -> Option<&str> {
        self.library.map(|library| library.name.as_str())
    }

    pub(super) fn key_json(&self) -> Option<&str> {
        self.key_json.as_deref()
    }

    pub(super) fn library(&self) -> Option<&'static LibraryName> {
        self.library
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Notes that this thread works for an instance until the guard is dropped, when it works again for whom it did before.
///
/// # Examples
///
/// ```
/// # use porth::abi::fault::{InstanceSlot, enter};
/// let slot = InstanceSlot::register("plugin/hello", "libhello.so");
/// let _working = enter(slot);
/// ```
#[inline]
pub fn enter(slot: &'static InstanceSlot) -> Entered {
    let before = THREAD.with(|thread| {
        if let Some(seat) = thread.seat.get() {
            seat.begin(slot);
        }
        thread.working_for.replace(Some(slot))
    });
    // A handler on this thread must find it before the call that follows can fault.
    compiler_fence(Ordering::SeqCst);
    Entered { before: before.unwrap_or(&HOST), same_thread: PhantomData }
}

/// A thread works for an instance while this lives.
#[derive(Debug)]
pub struct Entered {
    before: &'static InstanceSlot,
    same_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        THREAD.with(|thread| {
            if let Some(seat) = thread.seat.get() {
                seat.end(self.before);
            }
            thread.working_for.set(Some(self.before));
        });
    }
}

/// Whom this thread works for; none if it never worked for anybody.
pub(in crate::abi) fn working_for() -> Option<&'static InstanceSlot> {
    // A thread that is ending has no value any more, and calls no plug-in either.
    THREAD.try_with(|thread| thread.working_for.get()).ok().flatten()
}

/// Where this thread shows whom it works for, from now on; what it had before comes back.
pub(super) fn take_seat(seat: Option<&'static Seat>) -> Option<&'static Seat> {
    THREAD.with(|thread| thread.seat.replace(seat))
}

/// Notes where the code of a library lies. It is never taken back, as code is never unmapped.
pub(in crate::abi) fn note_code(code: Range<usize>, library: &'static LibraryName) {
    let new = Box::leak(Box::new(Code { range: code, library, next: AtomicPtr::new(ptr::null_mut()) }));
    let mut first = CODE.load(Ordering::Acquire);
    loop {
        new.next.store(first, Ordering::Relaxed);
        match CODE.compare_exchange_weak(first, ptr::from_mut(new), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(other) => first = other,
        }
    }
}

/// The library whose code `address` lies in.
pub(super) fn library_at(address: usize) -> Option<&'static LibraryName> {
    let mut next = CODE.load(Ordering::Acquire);
    // SAFETY: null or leaked by `note_code`, which nobody changes after it was put into the list.
    while let Some(code) = unsafe { next.as_ref() } {
        if code.range.contains(&address) {
            return Some(code.library);
        }
        next = code.next.load(Ordering::Relaxed);
    }
    None
}

/// One stretch of code in a list that only grows.
struct Code {
    range: Range<usize>,
    library: &'static LibraryName,
    next: AtomicPtr<Code>,
}

/// What a thread knows of itself.
struct Thread {
    working_for: Cell<Option<&'static InstanceSlot>>,
    /// Workers have one.
    seat: Cell<Option<&'static Seat>>,
}

thread_local! {
    /// Without a destructor and initialised by the compiler: reading it in a handler is a plain load.
    static THREAD: Thread = const { Thread { working_for: Cell::new(None), seat: Cell::new(None) } };
}

/// What a thread works for between two calls.
pub(super) static HOST: InstanceSlot = InstanceSlot { key: None, key_json: None, library: None };
static LIBRARIES: Mutex<Vec<&'static LibraryName>> = Mutex::new(Vec::new());
static SLOTS: Mutex<Vec<&'static InstanceSlot>> = Mutex::new(Vec::new());
static CODE: AtomicPtr<Code> = AtomicPtr::new(ptr::null_mut());

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Option<&'static str> {
        working_for().and_then(|slot| slot.key.as_deref())
    }

    #[test]
    fn a_nested_call_gives_the_thread_back() {
        let (outer, inner) =
            (InstanceSlot::register("plugin/a", "liba.so"), InstanceSlot::register("plugin/b", "libb.so"));
        assert!(working_for().is_none());
        {
            let _outer = enter(outer);
            {
                let _inner = enter(inner);
                assert_eq!(key(), Some("plugin/b"));
            }
            assert_eq!(key(), Some("plugin/a"));
        }
        assert!(ptr::eq(working_for().unwrap(), &HOST));
    }

    #[test]
    fn names_are_registered_once_and_quoted() {
        let slot = InstanceSlot::register("plugin/\"a\"", "lib\n.so");
        assert!(ptr::eq(slot, InstanceSlot::register("plugin/\"a\"", "lib\n.so")));
        assert!(!ptr::eq(slot, InstanceSlot::register("plugin/\"a\"", "libother.so")));
        assert_eq!(slot.key_json(), Some(r#""plugin/\"a\"""#));
        assert_eq!(slot.library().unwrap().json(), r#""lib\n.so""#);
    }

    #[test]
    fn an_address_belongs_to_the_library_that_was_noted_there() {
        let (one, two) = (LibraryName::register("libone.so"), LibraryName::register("libtwo.so"));
        note_code(0x1000..0x2000, one);
        note_code(0x2000..0x3000, two);
        assert_eq!(library_at(0x1fff).map(LibraryName::json), Some(r#""libone.so""#));
        assert_eq!(library_at(0x2000).map(LibraryName::json), Some(r#""libtwo.so""#));
        assert!(library_at(0x3000).is_none());
    }
}
