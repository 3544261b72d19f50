//! The rules: what may be asked of the house's records, and what becomes of them.
//!
//! Start at the service of what you look for: [`access::Access`], [`users::Users`], [`clients::Clients`], [`scopes::Scopes`], [`schemes::Schemes`],
//! [`grants::Grants`], [`login::LoginSessions`], [`lockout::Lockout`], [`instances::Instances`], [`documents::Documents`],
//! [`keys::ApiKeys`], [`audit::Audit`], [`misc::Misc`], [`setup::Setup`]. A service is cheap to clone and may be asked from many threads.
//! The time comes in, as milliseconds since 1970 (UTC). Who keeps people and applications, and what the runtime answers
//! for that: [`back_ends::BackEnds`]. Who hears of people that go: [`departures::Departing`].

pub mod access;
pub mod audit;
pub mod back_ends;
pub mod clients;
pub mod departures;
pub mod documents;
pub mod fields;
pub mod grants;
pub mod instances;
pub mod keys;
pub mod leadership;
pub mod lockout;
pub mod login;
pub mod misc;
pub mod passwords;
pub mod schemes;
pub mod scopes;
pub mod setup;
pub mod store_meter;
pub mod username;
pub mod users;

mod identity;
mod names;
mod records;
mod search;

pub use self::identity::DATABASE;
pub use self::search::Page;
pub use crate::store::StoreError;

use uuid::{NoContext, Timestamp, Uuid};

/// The time where none came in: whoever asks for a person may be the first to see them.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A new id, in the order of time.
fn new_id(now_ms: i64) -> String {
    let now_ms = u64::try_from(now_ms).unwrap_or_default();
    let nanoseconds = u32::try_from(now_ms % 1_000).unwrap_or_default() * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, now_ms / 1_000, nanoseconds)).to_string()
}
