//! Hooks: what the host calls in an instance beside its endpoints, in tables that a library hands out by id and revision.
//!
//! Every such table is a `size` and then [`Hook`]s, nothing else, so that one mechanism serves all of them. A table grows
//! by further hooks at its end.

use core::ffi::c_void;

#[cfg(feature = "layout")]
use abi_stable::StableAbi;

use crate::call::{Bytes, Str};

/// A function that the host calls on an instance; may be null: then the instance cannot do it.
///
/// It runs on a thread of the instance's own and may block; the host waits for so long as for an endpoint without a
/// deadline of its own. It may be called from many threads at once, after `init` and before `close`. `instance` is what
/// `init` handed out, `arguments` a JSON object, borrowed for the call; members that a plug-in does not know are to be
/// passed over. With OK, `result` is JSON; empty means null. With any other code it is empty or a text for people, which
/// with PARAM may be a JSON array of texts, each naming one thing that is wrong.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Hook {
    /// Answers a code.
    pub call: Option<unsafe extern "C" fn(instance: *mut c_void, arguments: Str, result: *mut Bytes) -> i32>,
}

/// The extension [`SCHEME`]: a way to authenticate, which every module of kind `scheme` has.
///
/// `data` is what a client sent, any JSON; wherever it stands, there is `request`, too: `{"peer", "user_agent"}`, texts that
/// may be empty, or null where a plug-in asks. The username is normalised, and somebody who exists has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = SchemeRef, prefix_fields = SchemePrefix))))]
pub struct Scheme {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// `{"username"}`: whether the user can prove something with it: 0 unavailable, 1 available (after a registration),
    /// 2 registered.
    pub can_use: Hook,
    /// `{"username", "data"}`: registers the user with it, or goes a step on, or registers anew; answers what the client
    /// gets. PARAM for data that is wrong, UNAUTHORIZED for a user who may not.
    pub register: Hook,
    /// `{"username"}`: what a client gets to know of the user's registration.
    pub register_get: Hook,
    /// `{"username"}`: forgets the user's registration; OK also if there is none.
    pub deregister: Hook,
    /// `{"username", "data"}`: begins a proof, as sending a code does; answers what the client gets. The username is null
    /// when nobody is told yet, for schemes that `identify`. UNAUTHORIZED for a user who is not registered.
    pub trigger: Hook,
    /// `{"username", "data"}`: checks a proof. OK, UNAUTHORIZED when it proves nothing, or PARAM when it is none.
    pub validate: Hook,
    /// `{"data"}`: checks a proof that also says whose it is: `{"username"}`. UNAUTHORIZED or PARAM as `validate`; null,
    /// or UNSUPPORTED, where a username must be known before.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub identify: Hook,
}

/// The id of [`Scheme`].
pub const SCHEME: &str = "porth.scheme/1";

/// The ids of all tables of hooks.
pub const HOOK_TABLES: [&str; 1] = [SCHEME];
