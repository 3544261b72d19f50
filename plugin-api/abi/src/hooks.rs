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
/// may be empty, or null where a plug-in asks without one. The username is normalised, and somebody who exists has it.
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
    /// `{"username", "request"}`: what a client gets to know of the user's registration.
    pub register_get: Hook,
    /// `{"username", "request"}`: forgets the user's registration; OK also if there is none. The user may be gone already.
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

/// The extension [`USER_BACK_END`]: people whom others keep, which every module of kind `user` has.
///
/// A record of a person is a JSON object: `username`, `name`, `email`, `scope` (a list of texts), `enabled`, and whatever
/// else there is. Records that are answered hold no password; `enabled` is true unless it says otherwise. A username that
/// is given is normalised: lower case, Unicode form KC.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = UserBackEndRef, prefix_fields = UserBackEndPrefix))))]
pub struct UserBackEnd {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// `{"pattern"}`: how many people it finds; the empty one finds all.
    pub count: Hook,
    /// `{"pattern", "offset", "limit"}`: so many of their records, always in the same order.
    pub list: Hook,
    /// `{"username", "profile"}`: the record of a person, with `profile` true as the person may see it, else as
    /// administrators may. NOT_FOUND, or null, for nobody.
    pub get: Hook,
    /// `{"user"}`: adds a record, which holds `password` where there is to be one. PARAM for one that cannot be; CONFLICT
    /// for a name that somebody has.
    pub add: Hook,
    /// `{"username", "user"}`: replaces a record; without `password` that stays, with null none opens any more. PARAM, or
    /// NOT_FOUND.
    pub set: Hook,
    /// `{"username"}`: deletes a record. NOT_FOUND for nobody.
    pub delete: Hook,
    /// `{"username", "password"}`: OK for the right one, else UNAUTHORIZED. Whether the person is enabled is the host's to
    /// look at.
    pub check_password: Hook,
    /// `{"username", "password"}`: replaces a password. PARAM for one that cannot be.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub set_password: Hook,
}

/// The id of [`UserBackEnd`].
pub const USER_BACK_END: &str = "porth.user-backend/1";

/// The extension [`CLIENT_BACK_END`]: applications that others keep, which every module of kind `client` has.
///
/// A record of an application is a JSON object: `client_id`, `name`, `description`, `confidential`, `authorization_type`,
/// `redirect_uri` and `scope` (lists of texts), `enabled`, and whatever else there is. Records that are answered hold
/// neither `password` nor `client_secret`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = ClientBackEndRef, prefix_fields = ClientBackEndPrefix))))]
pub struct ClientBackEnd {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// `{"pattern"}`: how many applications it finds; the empty one finds all.
    pub count: Hook,
    /// `{"pattern", "offset", "limit"}`: so many of their records, always in the same order.
    pub list: Hook,
    /// `{"client_id"}`: the record of an application. NOT_FOUND, or null, for none.
    pub get: Hook,
    /// `{"client"}`: adds a record, which holds `password` or `client_secret` where there is to be one. PARAM for one that
    /// cannot be; CONFLICT for a client id that another has.
    pub add: Hook,
    /// `{"client_id", "client"}`: replaces a record; a secret that is missing stays, one that is null goes. PARAM, or
    /// NOT_FOUND.
    pub set: Hook,
    /// `{"client_id"}`: deletes a record. NOT_FOUND for none.
    pub delete: Hook,
    /// `{"client_id", "secret"}`: OK for the right password or client secret, else UNAUTHORIZED. Whether the application is
    /// enabled is the host's to look at.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub check_secret: Hook,
}

/// The id of [`ClientBackEnd`].
pub const CLIENT_BACK_END: &str = "porth.client-backend/1";

/// The extension [`USER_MIDDLEWARE`]: changes records of people on their way, whoever keeps them; every module of kind
/// `user_middleware` has it. The name in a record cannot be changed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = UserMiddlewareRef, prefix_fields = UserMiddlewarePrefix))))]
pub struct UserMiddleware {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// `{"username", "profile", "user"}`: the record as it is to be shown, with `profile` true to the person, else to
    /// administrators.
    pub show: Hook,
    /// `{"username", "user"}`: the record as it is to be stored; of a person who is changed it holds only what changes, and
    /// null where a property is to go. PARAM for one that must not be stored.
    pub store: Hook,
    /// `{"username"}`: a person was deleted.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub delete: Hook,
}

/// The id of [`UserMiddleware`].
pub const USER_MIDDLEWARE: &str = "porth.user-middleware/1";

/// The extension [`USER_REVOKE`]: for modules of any kind that keep something of people.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = UserRevokeRef, prefix_fields = UserRevokePrefix))))]
pub struct UserRevoke {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// `{"username"}`: a person was deleted; whatever was issued to that name must not count any more. It may come for
    /// somebody of whom the instance never heard.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub user_revoke: Hook,
}

/// The id of [`UserRevoke`].
pub const USER_REVOKE: &str = "porth.user-revoke/1";

/// The extension [`HEALTH`]: for modules of any kind that know how well they do.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = HealthRef, prefix_fields = HealthPrefix))))]
pub struct Health {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// `{}`: `{"status", "reasons"}`, with `healthy`, `degraded` (it answers, with less than it should) or `broken` (it
    /// cannot do what it is for), and a list of sentences for administrators, which may be empty. Asked from time to time,
    /// never twice at once; it should answer what it knows, not find it out.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub health: Hook,
}

/// The id of [`Health`].
pub const HEALTH: &str = "porth.health/1";

/// The extension [`OPENAPI`]: for modules of kind `plugin` that say more of their endpoints than the host knows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = OpenApiRef, prefix_fields = OpenApiPrefix))))]
pub struct OpenApi {
    /// How many bytes of this struct the library filled in.
    pub size: usize,
    /// `{}`: a part of an OpenAPI 3.1 document, `{"paths", "components"}`, with paths as they were registered and operations of
    /// endpoints only. References lead to its own components. Asked once somebody looks; the answer counts until the instance
    /// is started anew.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub openapi: Hook,
}

/// The id of [`OpenApi`].
pub const OPENAPI: &str = "porth.openapi/1";

/// The ids of all tables of hooks.
pub const HOOK_TABLES: [&str; 7] =
    [SCHEME, USER_BACK_END, CLIENT_BACK_END, USER_MIDDLEWARE, USER_REVOKE, HEALTH, OPENAPI];
