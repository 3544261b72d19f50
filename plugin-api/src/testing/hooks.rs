//! The plug-in's tables of hooks, by the names of their entries.

use core::ffi::c_void;

use porth_abi as abi;

type Entry = unsafe extern "C" fn(instance: *mut c_void, arguments: abi::Str, result: *mut abi::Bytes) -> i32;

/// A table that the plug-in has, as a reference that lives as long as the library.
fn table<T>(plugin: &abi::Plugin, library: *mut c_void, id: &str) -> Option<&'static T> {
    let extension = plugin.extension?;
    // SAFETY: `load` made the library, and the id is lent for the call.
    let found = unsafe { extension(library, abi::Str::new(id.as_bytes())) };
    // SAFETY: the border says that it is null or such a table, which lives as long as the library, here the program.
    unsafe { found.cast::<T>().as_ref() }
}

/// The function of a name such as `scheme.validate`; `None` when the plug-in has not that table.
///
/// # Panics
/// For a name that is none.
pub(super) fn find(plugin: &abi::Plugin, library: *mut c_void, name: &str) -> Option<Entry> {
    macro_rules! entries {
        ($type:ty, $id:expr, $entry:expr, $($field:ident)*) => {{
            let known = [$(stringify!($field)),*];
            assert!(known.contains(&$entry), "there is no hook `{name}`; the table has {}", known.join(", "));
            let table = table::<$type>(plugin, library, $id)?;
            match $entry {
                $(stringify!($field) => table.$field.call,)*
                _ => None,
            }
        }};
    }
    let (group, entry) = name.split_once('.').unwrap_or((name, ""));
    match group {
        "scheme" => {
            entries!(abi::Scheme, abi::SCHEME, entry, can_use register register_get deregister trigger validate identify)
        }
        "user-backend" => {
            entries!(abi::UserBackEnd, abi::USER_BACK_END, entry,
                count list get add set delete check_password set_password)
        }
        "client-backend" => {
            entries!(abi::ClientBackEnd, abi::CLIENT_BACK_END, entry, count list get add set delete check_secret)
        }
        "user-middleware" => entries!(abi::UserMiddleware, abi::USER_MIDDLEWARE, entry, show store delete),
        "health" => entries!(abi::Health, abi::HEALTH, entry, health),
        "user-revoke" => entries!(abi::UserRevoke, abi::USER_REVOKE, entry, user_revoke),
        _ => panic!("there is no hook `{name}`; expected `scheme.validate` and its like"),
    }
}

/// The migrations of the plug-in, if it has any.
pub(super) fn migrations(plugin: &abi::Plugin, library: *mut c_void) -> Option<&'static abi::DocumentMigrations> {
    table(plugin, library, abi::DOCUMENT_MIGRATIONS)
}
