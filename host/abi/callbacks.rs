//! Stands in for the lead's table until it is merged.
use core::ffi::c_void;
use porth_abi::*;
pub(super) fn host_table() -> HostIn {
    HostIn(&raw const TABLE.0)
}
struct Table(Host);
// SAFETY: numbers and functions.
unsafe impl Sync for Table {}
static LEVEL: u32 = 3;
static TABLE: Table = Table(Host {
    size: size_of::<Host>(),
    abi_draft: ABI_DRAFT,
    abi_major: ABI_MAJOR,
    abi_minor: ABI_MINOR,
    reserved: 0,
    max_log_level: &raw const LEVEL,
    log,
    add_endpoint,
    remove_endpoint,
    request_retain: request,
    request_release: request,
    request_token,
    complete,
    check_session_valid,
    timer,
    call_wait,
    call_then,
    host_info: result,
    get_plugin_external_url: result,
    extension,
});
unsafe extern "C" fn log(_: u64, _: LogRecordIn) {}
unsafe extern "C" fn add_endpoint(_: u64, _: EndpointIn, _: *mut Bytes) -> i32 {
    code::CLOSED
}
unsafe extern "C" fn remove_endpoint(_: u64, _: Str, _: Str) -> i32 {
    code::CLOSED
}
unsafe extern "C" fn request(_: *const c_void) {}
unsafe extern "C" fn request_token(_: u64, _: *const c_void) -> u64 {
    0
}
unsafe extern "C" fn complete(_: u64, _: u64, _: i32, _: ResponseOut) -> i32 {
    code::CLOSED
}
unsafe extern "C" fn check_session_valid(_: u64, _: *const c_void, _: Str, _: *mut HostCall) -> i32 {
    code::CLOSED
}
unsafe extern "C" fn timer(_: u64, _: u64, _: *mut HostCall) -> i32 {
    code::CLOSED
}
unsafe extern "C" fn call_wait(_: u64, _: *mut HostCall, _: *mut Bytes) -> i32 {
    code::CLOSED
}
unsafe extern "C" fn call_then(_: u64, _: *mut HostCall, _: Done, _: *mut c_void) -> i32 {
    code::CLOSED
}
unsafe extern "C" fn result(_: u64, _: *mut Bytes) -> i32 {
    code::CLOSED
}
unsafe extern "C" fn extension(_: u64, _: Str) -> *const c_void {
    core::ptr::null()
}
