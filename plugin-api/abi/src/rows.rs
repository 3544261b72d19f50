//! The layout of the growable structs as rows of numbers, computed by the compiler.
//!
//! The rows go into the [note](crate::note), so that a host can compare them before it opens a library; the C header
//! makes the same rows with `offsetof`, so that a test can prove the two equal.

#![expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]

use crate::call::{
    Bytes, Endpoint, Future, Header, HostCall, Parameter, Request, Response, Str, Stream, Waker, WakerTable,
};
use crate::hooks::{ClientBackEnd, Health, OpenApi, Scheme, UserBackEnd, UserMiddleware, UserRevoke};
use crate::host::{Host, LogRecord};
use crate::note::LayoutRow;
use crate::plugin::{DocumentMigrations, InitArguments, InitResult, Plugin};

/// A row for a struct (field 0) and one for each of its fields (from 1), by the struct's id in the note.
macro_rules! rows {
    ($id:expr, $type:ty, [$($field:ident),* $(,)?]) => {{
        const LEN: usize = 1 $(+ { let _ = stringify!($field); 1 })*;
        let mut rows = [LayoutRow {
            type_id: $id,
            field: 0,
            offset: 0,
            size: size_of::<$type>() as u32,
            align: align_of::<$type>() as u32,
        }; LEN];
        let mut index = 0;
        $(
            index += 1;
            rows[index] = LayoutRow {
                type_id: $id,
                field: index as u16,
                offset: core::mem::offset_of!($type, $field) as u32,
                size: size_of_field(|value: &$type| &raw const value.$field) as u32,
                align: 0,
            };
        )*
        let _ = index;
        rows
    }};
}

const fn size_of_field<T, F>(_: fn(&T) -> *const F) -> usize {
    size_of::<F>()
}

/// The structs in the note with their ids and names, for messages.
pub const TYPE_NAMES: [(u16, &str); 25] = [
    (1, "Str"),
    (2, "Bytes"),
    (3, "Header"),
    (4, "Parameter"),
    (5, "Request"),
    (6, "Response"),
    (7, "WakerTable"),
    (8, "Waker"),
    (9, "Future"),
    (10, "HostCall"),
    (11, "Endpoint"),
    (12, "LogRecord"),
    (13, "Host"),
    (14, "InitArguments"),
    (15, "InitResult"),
    (16, "Plugin"),
    (17, "Stream"),
    (18, "DocumentMigrations"),
    (19, "Scheme"),
    (20, "UserBackEnd"),
    (21, "ClientBackEnd"),
    (22, "UserMiddleware"),
    (23, "UserRevoke"),
    (24, "Health"),
    (25, "OpenApi"),
];

/// The structs that start with their size and may grow; all others are as they are for good.
pub const GROWABLE: [u16; 14] = [5, 6, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23];

const STR: &[LayoutRow] = &rows!(1, Str, [ptr, len]);
const BYTES: &[LayoutRow] = &rows!(2, Bytes, [ptr, len, owner, drop]);
const HEADER: &[LayoutRow] = &rows!(3, Header, [name, value]);
const PARAMETER: &[LayoutRow] = &rows!(4, Parameter, [name, value]);
const REQUEST: &[LayoutRow] = &rows!(
    5,
    Request,
    [
        size,
        handle,
        method,
        path,
        query,
        headers,
        headers_len,
        parameters,
        parameters_len,
        body,
        deadline_ms,
        request_id,
        caller,
    ]
);
const RESPONSE: &[LayoutRow] =
    &rows!(6, Response, [size, status, headers_len, headers, header_owner, body, future, stream]);
const WAKER_TABLE: &[LayoutRow] = &rows!(7, WakerTable, [clone, wake, wake_by_ref, drop]);
const WAKER: &[LayoutRow] = &rows!(8, Waker, [data, table]);
const FUTURE: &[LayoutRow] = &rows!(9, Future, [state, poll, drop]);
const HOST_CALL: &[LayoutRow] = &rows!(10, HostCall, [state, poll, drop]);
const ENDPOINT: &[LayoutRow] =
    &rows!(11, Endpoint, [size, method, path, priority, flags, auth, body_bytes_max, deadline_ms, handler, user,]);
const LOG_RECORD: &[LayoutRow] = &rows!(12, LogRecord, [size, level, line, target, message, file, fields, fields_len]);
const HOST: &[LayoutRow] = &rows!(
    13,
    Host,
    [
        size,
        abi_draft,
        abi_major,
        abi_minor,
        reserved,
        max_log_level,
        log,
        metric_add,
        metric_increment,
        metric_observe,
        add_endpoint,
        remove_endpoint,
        request_retain,
        request_release,
        request_token,
        request_body_next,
        complete,
        check_session_valid,
        trigger_session_used,
        get_session_age,
        get_scheme_module,
        get_scheme_list,
        scheme_register,
        scheme_register_get,
        scheme_deregister,
        scheme_can_use,
        timer,
        document_get,
        document_put,
        document_delete,
        document_list,
        document_apply,
        document_consume,
        call_wait,
        call_then,
        host_info,
        get_plugin_external_url,
        check_user_valid,
        check_client_valid,
        get_client_granted_scopes,
        get_user_list,
        get_user,
        get_user_profile,
        is_user_valid,
        add_user,
        set_user,
        delete_user,
        user_update_password,
        get_client_list,
        get_client,
        is_client_valid,
        add_client,
        set_client,
        delete_client,
        add_well_known,
        get_login_url,
        generate_hash,
        extension,
    ]
);
const INIT_ARGUMENTS: &[LayoutRow] =
    &rows!(14, InitArguments, [size, context, kind, module, name, parameters, generation]);
const INIT_RESULT: &[LayoutRow] = &rows!(15, InitResult, [size, instance, errors]);
const PLUGIN: &[LayoutRow] =
    &rows!(16, Plugin, [size, abi_draft, abi_major, abi_minor, reserved, load, unload, init, close, extension,]);
const STREAM: &[LayoutRow] = &rows!(17, Stream, [state, poll_next, drop, flags]);
const DOCUMENT_MIGRATIONS: &[LayoutRow] = &rows!(18, DocumentMigrations, [size, migrate]);
const SCHEME: &[LayoutRow] =
    &rows!(19, Scheme, [size, can_use, register, register_get, deregister, trigger, validate, identify]);

const USER_BACK_END: &[LayoutRow] =
    &rows!(20, UserBackEnd, [size, count, list, get, add, set, delete, check_password, set_password]);
const CLIENT_BACK_END: &[LayoutRow] =
    &rows!(21, ClientBackEnd, [size, count, list, get, add, set, delete, check_secret]);
const USER_MIDDLEWARE: &[LayoutRow] = &rows!(22, UserMiddleware, [size, show, store, delete]);
const USER_REVOKE: &[LayoutRow] = &rows!(23, UserRevoke, [size, user_revoke]);
const HEALTH: &[LayoutRow] = &rows!(24, Health, [size, health]);
const OPENAPI: &[LayoutRow] = &rows!(25, OpenApi, [size, openapi]);

/// How many rows there are.
pub const ROWS_LEN: usize = STR.len()
    + BYTES.len()
    + HEADER.len()
    + PARAMETER.len()
    + REQUEST.len()
    + RESPONSE.len()
    + WAKER_TABLE.len()
    + WAKER.len()
    + FUTURE.len()
    + HOST_CALL.len()
    + ENDPOINT.len()
    + LOG_RECORD.len()
    + HOST.len()
    + INIT_ARGUMENTS.len()
    + INIT_RESULT.len()
    + PLUGIN.len()
    + STREAM.len()
    + DOCUMENT_MIGRATIONS.len()
    + SCHEME.len()
    + USER_BACK_END.len()
    + CLIENT_BACK_END.len()
    + USER_MIDDLEWARE.len()
    + USER_REVOKE.len()
    + HEALTH.len()
    + OPENAPI.len();

/// All rows, ordered by struct and field.
pub const ROWS: [LayoutRow; ROWS_LEN] = {
    let parts: [&[LayoutRow]; 25] = [
        STR,
        BYTES,
        HEADER,
        PARAMETER,
        REQUEST,
        RESPONSE,
        WAKER_TABLE,
        WAKER,
        FUTURE,
        HOST_CALL,
        ENDPOINT,
        LOG_RECORD,
        HOST,
        INIT_ARGUMENTS,
        INIT_RESULT,
        PLUGIN,
        STREAM,
        DOCUMENT_MIGRATIONS,
        SCHEME,
        USER_BACK_END,
        CLIENT_BACK_END,
        USER_MIDDLEWARE,
        USER_REVOKE,
        HEALTH,
        OPENAPI,
    ];
    let mut all = [LayoutRow { type_id: 0, field: 0, offset: 0, size: 0, align: 0 }; ROWS_LEN];
    let (mut part, mut next) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[next] = parts[part][row];
            next += 1;
            row += 1;
        }
        part += 1;
    }
    all
};
