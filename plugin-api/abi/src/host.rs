//! What a plug-in may ask of the host.

use core::ffi::c_void;

#[cfg(feature = "layout")]
use abi_stable::StableAbi;

use crate::call::{Bytes, EndpointIn, HostCall, Parameter, ResponseOut, Str};

/// A line for the host's log.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = LogRecordRef, prefix_fields = LogRecordPrefix))))]
pub struct LogRecord {
    /// How many bytes of this struct the plug-in filled in.
    pub size: usize,
    /// One of [`code::level`](crate::code::level); anything else counts as ERROR.
    pub level: u32,
    /// The line in `file`; 0 when unknown.
    pub line: u32,
    /// Which part of the plug-in speaks, such as a Rust module path.
    pub target: Str,
    /// The text.
    pub message: Str,
    /// The source file; empty when unknown.
    pub file: Str,
    /// Further fields.
    pub fields: *const Parameter,
    /// How many.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub fields_len: usize,
}

/// A log record as the host gets it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct LogRecordIn(#[cfg_attr(feature = "layout", sabi(unsafe_opaque_field))] pub *const LogRecord);

/// What [`Host::call_then`] calls when the result is there: once, on a thread of the host, which it must not block.
///
/// `result` is the callee's to drop.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Done {
    /// Gets the callback's code and its result (or on failure the detail).
    pub call: unsafe extern "C" fn(user: *mut c_void, code: i32, result: Bytes),
}

/// A callback whose arguments are a JSON object and whose result is JSON.
///
/// An argument that is null is as good as left out. What is wrong with arguments is in the call's result, with PARAM; a
/// right that lacks is answered at once, with DENIED.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct Question {
    /// Starts the callback. `arguments` are borrowed for this call.
    pub call: unsafe extern "C" fn(context: u64, arguments: Str, call: *mut HostCall) -> i32,
}

/// The table of callbacks, given to `load`; it lives as long as the process.
///
/// `context` is the library's (from `load`) or an instance's (from `init`). After `close` an instance's context answers
/// CLOSED, and so does any number that the host never gave out. Unless an entry says otherwise it may be called from any
/// thread at any time, does not block, and answers a code. A `detail` or `result` that a function fills in is the
/// caller's to drop.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
#[cfg_attr(feature = "layout", sabi(kind(Prefix(prefix_ref = HostRef, prefix_fields = HostPrefix))))]
pub struct Host {
    /// How many bytes of this struct the host filled in.
    pub size: usize,
    /// The host's draft of the ABI.
    pub abi_draft: u32,
    /// The host's major version of the ABI.
    pub abi_major: u32,
    /// The host's minor version of the ABI.
    pub abi_minor: u32,
    /// Zero.
    pub reserved: u32,
    /// The least severe level that is logged now; read it (atomically, relaxed) before building a record. It may change
    /// at any time.
    pub max_log_level: *const u32,
    /// Writes a line to the host's log. With the library's context too.
    pub log: unsafe extern "C" fn(context: u64, record: LogRecordIn),
    /// Makes a metric of the instance, or finds it: `id` is what the two functions below want. `name` is letters, digits and
    /// `_`; the host shows it as `porth_plugin_<module>_<name>` with the label `instance`. `kind` is one of
    /// [`code::metric`](crate::code::metric), `help` a sentence. PARAM with a detail (text) for what is wrong with it or
    /// when the name has another kind already, BUSY when there are too many.
    pub metric_add:
        unsafe extern "C" fn(context: u64, name: Str, kind: u32, help: Str, id: *mut u32, detail: *mut Bytes) -> i32,
    /// Adds to a counter, which cannot shrink, or to a gauge. `labels` are at most 8 pairs of a name and a value, of which
    /// there should be few; each set of them is a series of its own. PARAM for what is wrong with them or the number, BUSY
    /// when the instance has too many series.
    pub metric_increment:
        unsafe extern "C" fn(context: u64, id: u32, labels: *const Parameter, labels_len: usize, value: f64) -> i32,
    /// Records a duration in seconds in a histogram, or sets a gauge. Otherwise as the one before.
    pub metric_observe:
        unsafe extern "C" fn(context: u64, id: u32, labels: *const Parameter, labels_len: usize, value: f64) -> i32,
    /// Registers an endpoint at `/api/<instance>/<path>`; in `init` only. PARAM with a detail (text) for a bad method,
    /// pattern or auth, for the same handler twice on a route, or for a path that leaves the prefix.
    pub add_endpoint: unsafe extern "C" fn(context: u64, endpoint: EndpointIn, detail: *mut Bytes) -> i32,
    /// Takes back all handlers of a method and pattern; in `init` only. NOT_FOUND if the instance registered none there.
    pub remove_endpoint: unsafe extern "C" fn(context: u64, method: Str, path: Str) -> i32,
    /// Keeps a request alive past its call, until as many [`request_release`](Self::request_release). Everything that the
    /// request's fields point to stays where it is; the struct itself may be a copy that ends with the call.
    pub request_retain: unsafe extern "C" fn(request: *const c_void),
    /// Gives back one retained reference; afterwards nothing of the request may be used.
    pub request_release: unsafe extern "C" fn(request: *const c_void),
    /// Before answering PENDING without a future: the token to complete the request with. 0 for a request that has one
    /// already or cannot have one.
    pub request_token: unsafe extern "C" fn(context: u64, request: *const c_void) -> u64,
    /// The next piece of a request's body, as the client sends it; an empty result is the end. For a request that the plug-in
    /// was lent or has retained, from any thread, one call at a time: BUSY while another is under way. A call that is dropped
    /// before READY loses nothing. An endpoint without STREAM_BODY gets its body in one piece.
    ///
    /// The call's code: TOO_LARGE when the body is larger than the endpoint's `body_bytes_max` (the client gets 413 if
    /// nothing was answered yet); CANCELLED when the client left, sent something malformed, or was answered.
    pub request_body_next: unsafe extern "C" fn(context: u64, request: *const c_void, call: *mut HostCall) -> i32,
    /// Answers a pending request, exactly once for each token, from any thread. Takes over all that `response` owns,
    /// whatever it answers. `answer` is READY or an error. CANCELLED when nobody waits any more, PARAM for a token that
    /// was used or never given out.
    pub complete: unsafe extern "C" fn(context: u64, token: u64, answer: i32, response: ResponseOut) -> i32,
    /// The session behind the request's cookie: `{"session": {"user": {…}, "scope": {…}}}`. `scopes` are separated by
    /// spaces, or empty. Right `sessions`. The result's code: NOT_FOUND no such session or scope; UNAUTHORIZED no cookie, and
    /// then the result is a text; or a scope not satisfied, and then it is `{"session": {"user"}, "missing": {scope: what}}`,
    /// where `what` is `scope` (the user does not have it), `password` or `scheme`.
    pub check_session_valid:
        unsafe extern "C" fn(context: u64, request: *const c_void, scopes: Str, call: *mut HostCall) -> i32,
    /// Counts a use of every proof that these scopes rely on (a scheme's proofs count only so often): `{}`. Right `sessions`.
    /// NOT_FOUND no such session or scope; UNAUTHORIZED no cookie, or a scope not satisfied, and then nothing is counted.
    pub trigger_session_used:
        unsafe extern "C" fn(context: u64, request: *const c_void, scopes: Str, call: *mut HostCall) -> i32,
    /// When the session's user last proved something that one of these scopes asks for: seconds since 1970 as a JSON number,
    /// 0 for never. Right `sessions`. NOT_FOUND no such session or scope; UNAUTHORIZED no cookie.
    pub get_session_age:
        unsafe extern "C" fn(context: u64, request: *const c_void, scopes: Str, call: *mut HostCall) -> i32,
    /// A scheme by the name of its instance: `{"module", "name", "display_name", "expiration", "max_use",
    /// "allow_user_register", "forbid_user_profile", "forbid_user_reset_credential"}`. NOT_FOUND for one that there is not or
    /// that is disabled. This and the five below need the right `schemes`; where the scheme itself refuses, the code and the
    /// detail are its own, where it does not answer, the code is ERROR or BUSY.
    pub get_scheme_module: unsafe extern "C" fn(context: u64, scheme: Str, call: *mut HostCall) -> i32,
    /// The schemes that a user's scopes name: a list of what [`get_scheme_module`](Self::get_scheme_module) answers, each
    /// with `can_use`, which is null where it is not known. NOT_FOUND for no such user.
    pub get_scheme_list: unsafe extern "C" fn(context: u64, username: Str, call: *mut HostCall) -> i32,
    /// Registers a user with a scheme, or goes a step on: what the scheme answers. `data` is JSON. `request` is the one that
    /// it comes of, lent or retained, and tells the scheme address and browser; null where there is none. NOT_FOUND for no
    /// such scheme or user, UNSUPPORTED where nobody registers.
    pub scheme_register: unsafe extern "C" fn(
        context: u64,
        scheme: Str,
        request: *const c_void,
        username: Str,
        data: Str,
        call: *mut HostCall,
    ) -> i32,
    /// What is registered of a user, as the scheme says it. `request` as in the one before.
    pub scheme_register_get: unsafe extern "C" fn(
        context: u64,
        scheme: Str,
        request: *const c_void,
        username: Str,
        call: *mut HostCall,
    ) -> i32,
    /// Makes a scheme forget what a user registered: `null`, also for nothing. `request` as in the one before.
    pub scheme_deregister: unsafe extern "C" fn(
        context: u64,
        scheme: Str,
        request: *const c_void,
        username: Str,
        call: *mut HostCall,
    ) -> i32,
    /// Whether a user can prove something with a scheme: `0` unavailable, `1` available, `2` registered.
    pub scheme_can_use: unsafe extern "C" fn(context: u64, scheme: Str, username: Str, call: *mut HostCall) -> i32,
    /// A result with code OK after `delay_ms` milliseconds.
    pub timer: unsafe extern "C" fn(context: u64, delay_ms: u64, call: *mut HostCall) -> i32,
    /// The document of a key: `{"key", "version", "expires_at_ms", "used_at_ms", "user", "value"}`, without those members
    /// that it has not. NOT_FOUND for none, and for one that has expired.
    ///
    /// A collection is named `[a-z0-9][a-z0-9_-]{0,63}`, a key is any text of 1 to 512 bytes without NUL, a value JSON.
    /// A version differs with every write of a key, also after it was deleted; times are milliseconds since 1970. What is
    /// wrong with an argument is in the call's result, with PARAM.
    pub document_get: unsafe extern "C" fn(context: u64, collection: Str, key: Str, call: *mut HostCall) -> i32,
    /// Writes a document: `{"version"}`. `options` is empty or `{"version", "expires_at_ms", "user"}`, all of which may be
    /// left out: the version that it must have (0: it must not exist; CONFLICT otherwise), when it expires, the user that
    /// it goes with. BUSY when the instance keeps as much as it may.
    pub document_put: unsafe extern "C" fn(
        context: u64,
        collection: Str,
        key: Str,
        value: Str,
        options: Str,
        call: *mut HostCall,
    ) -> i32,
    /// Deletes a document: `{}`. `options` is empty or `{"version"}`, the version that it must have, CONFLICT otherwise;
    /// NOT_FOUND for none.
    pub document_delete:
        unsafe extern "C" fn(context: u64, collection: Str, key: Str, options: Str, call: *mut HostCall) -> i32,
    /// Documents of a collection: `{"documents": [as document_get], "next"}`. `options` is empty or
    /// `{"field", "equals", "from", "to", "prefix", "after", "limit"}`, all of which may be left out. Without `field` they
    /// come by key, those that begin with `prefix`; with `field`, a declared index field, by its value and then by key:
    /// those whose value is `equals`, or is `from` or more and less than `to`, or begins with `prefix`. `limit` is 1 to
    /// 1000 (100), but a page may be shorter; `next`, null at the end, is the next page's `after`.
    pub document_list: unsafe extern "C" fn(context: u64, collection: Str, options: Str, call: *mut HostCall) -> i32,
    /// Carries out all operations or none: `{"versions": [a version for each that puts, null for others]}`. `operations` is
    /// a list of up to 1000 `{"put": {"collection", "key", "value", "version", "expires_at_ms", "user"}}` and
    /// `{"delete": {"collection", "key", "version"}}`, as above. Codes as of the two; the detail says which operation
    /// failed.
    pub document_apply: unsafe extern "C" fn(context: u64, operations: Str, call: *mut HostCall) -> i32,
    /// Uses a one-time document: `{"state": "fresh" | "used" | "expired" | "absent", "document"}`, with the document when it
    /// is there. Of many calls at once one gets it fresh. It stays where it is, used, until it expires or is deleted.
    pub document_consume: unsafe extern "C" fn(context: u64, collection: Str, key: Str, call: *mut HostCall) -> i32,
    /// Waits for a call, takes it over, and answers its code. WOULD_BLOCK on a host worker or the lifecycle thread: the
    /// call is then dropped.
    pub call_wait: unsafe extern "C" fn(context: u64, call: *mut HostCall, result: *mut Bytes) -> i32,
    /// Lets the host wait for a call, takes it over, and calls `done` exactly once unless it answers anything but OK.
    pub call_then: unsafe extern "C" fn(context: u64, call: *mut HostCall, done: Done, user: *mut c_void) -> i32,
    /// `{"version", "generation", "external_url", "api_prefix", "admin_scope", "profile_scope", "session_cookie_name"}`.
    pub host_info: unsafe extern "C" fn(context: u64, result: *mut Bytes) -> i32,
    /// The URL below which the instance's endpoints lie, as text: `<external_url>/<api_prefix>/<instance>`.
    pub get_plugin_external_url: unsafe extern "C" fn(context: u64, result: *mut Bytes) -> i32,
    /// Whether a user may come in: `{"username", "password", "scope_list"}` → `{"user", "scope_list"}`. Without
    /// `password`: NOT_FOUND for nobody, UNAUTHORIZED for one who is disabled. With it: UNAUTHORIZED for whatever is
    /// wrong, BUSY when too many failed before or too many passwords are being compared; failures count for the lock-out
    /// of the name, and of the peer whose request led here; asked from a thread that the plug-in started itself, of the
    /// instance. Of the scopes asked for, a list, those come back that the user has and that want no scheme;
    /// UNAUTHORIZED when some are asked for and none comes back. Right `users:read`.
    pub check_user_valid: Question,
    /// Whether a client may come in: `{"client_id", "password"}` → `{"client"}`. NOT_FOUND for none; UNAUTHORIZED for one
    /// that is disabled, and when a `password` is given that is neither its `client_secret` nor its password; BUSY
    /// when too many failed before, which count for the peer or the instance as above, never for the client. Without
    /// `password` nothing was proved: ask so only where the client is not the one who calls. Right `clients:read`.
    pub check_client_valid: Question,
    /// What a user granted to a client: `{"client_id", "username", "scope_list"}` → `{"client": {"client_id", "name"},
    /// "scope": [{"name", "display_name", "description", "password_required", "granted"}]}`, of those scopes asked for
    /// that the user has. NOT_FOUND for an unknown client or user, and for a client that is disabled. Right `grants`.
    pub get_client_granted_scopes: Question,
    /// Users: `{"pattern", "offset", "limit"}` → a list of users, by back end in their order, in the
    /// database by name. All may be left out; `pattern` must occur in the name, the full name or the address; `limit` is 1 to
    /// 200 (100). A user is `{"username", "name", "email", "scope", "enabled", "source", …properties}`. Right `users:read`, as
    /// the next three.
    pub get_user_list: Question,
    /// A user as administrators see them: `{"username"}` → the user. NOT_FOUND for nobody.
    pub get_user: Question,
    /// A user as they see themselves, otherwise as the one before.
    pub get_user_profile: Question,
    /// What is wrong with a user: `{"username", "user", "add"}` → a list of texts, empty when nothing is. With `"add":
    /// true` as a user to be added, else as a change of the user of that name. Changes nothing.
    pub is_user_valid: Question,
    /// Adds a user: `{"user": {"username", "name", "email", "password", "scope", "enabled", …properties}}` → `{}`; all
    /// but `username` may be left out. PARAM with what is wrong. Right `users:write`, as the next three.
    pub add_user: Question,
    /// Changes what is given of a user: `{"username", "user"}` → `{}`. A property that is null is taken away. NOT_FOUND
    /// for nobody, PARAM with what is wrong.
    pub set_user: Question,
    /// Deletes a user with everything that refers to them: `{"username"}` → `{"failures"}`, a list of texts of what did not
    /// forget them, empty when all did; they are gone all the same. NOT_FOUND for nobody.
    pub delete_user: Question,
    /// Gives a user another password: `{"username", "password"}` → `{}`. NOT_FOUND for nobody, PARAM for what is no
    /// password.
    pub user_update_password: Question,
    /// Clients: as `get_user_list`. A client is `{"client_id", "name", "description", "confidential",
    /// "authorization_type", "redirect_uri", "scope", "enabled", "source", …properties}`; its secrets are never shown.
    /// Right `clients:read`, as the next two.
    pub get_client_list: Question,
    /// A client: `{"client_id"}` → the client. NOT_FOUND for none.
    pub get_client: Question,
    /// What is wrong with a client: `{"client_id", "client", "add"}` → a list of texts, as `is_user_valid`.
    pub is_client_valid: Question,
    /// Adds a client: `{"client": {"client_id", …, "password", "client_secret"}}` → `{}`; all but `client_id` may be left
    /// out. PARAM with what is wrong. Right `clients:write`, as the next two.
    pub add_client: Question,
    /// Changes what is given of a client: `{"client_id", "client"}` → `{}`. A secret that is null opens no more.
    /// NOT_FOUND for none, PARAM with what is wrong.
    pub set_client: Question,
    /// Deletes a client with everything that refers to it: `{"client_id"}` → `{}`. NOT_FOUND for none.
    pub delete_client: Question,
    /// Registers an endpoint at `/.well-known/<name>/<api_prefix>/<instance>`, and at `/.well-known/<name>` while
    /// administrators have chosen the instance to be the root issuer; in `init` only. `path` is the name with a leading `/`.
    /// Otherwise as [`add_endpoint`](Self::add_endpoint); a handler finds the whole path in its request. PARAM for a method
    /// and name that the instance has registered already. Right `well-known`.
    pub add_well_known: unsafe extern "C" fn(context: u64, endpoint: EndpointIn, detail: *mut Bytes) -> i32,
    /// The page where a user logs in for a client, as text: `arguments` is `{"client_id", "scope_list", "callback_url",
    /// "parameters"}`, all of which may be left out; `parameters` is an object of texts that are added to the query. The page
    /// sends nobody to a `callback_url` that is not below the host's `external_url`. PARAM with a detail for what is wrong.
    pub get_login_url: unsafe extern "C" fn(context: u64, arguments: Str, result: *mut Bytes) -> i32,
    /// `{TYPE}base64` of any bytes, as text; the administrator chooses the type. For compatibility, never for passwords.
    pub generate_hash: unsafe extern "C" fn(context: u64, data: Str, result: *mut Bytes) -> i32,
    /// A table of further functions by id and revision, such as `porth.example/1`, or null. It lives as long as the
    /// process.
    #[cfg_attr(feature = "layout", sabi(last_prefix_field))]
    pub extension: unsafe extern "C" fn(context: u64, id: Str) -> *const c_void,
}

/// The table of callbacks as a plug-in gets it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "layout", derive(StableAbi))]
pub struct HostIn(#[cfg_attr(feature = "layout", sabi(unsafe_opaque_field))] pub *const Host);
