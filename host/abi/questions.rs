//! The callbacks that ask by JSON: about users, clients and grants. Each has a place of its own in the table; all go one way,
//! to [`Services::ask`](super::Services::ask).
//!
//! Start at [`Question`].

use porth_abi::{HostCall, Str};

use super::callbacks::{services, start, text};
use super::context::HostFuture;

macro_rules! questions {
    ($($variant:ident $entry:ident $name:literal $right:literal;)*) => {
        /// What is asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Question {
            $(
                #[doc = concat!("`", $name, "`.")]
                $variant,
            )*
        }

        impl Question {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// The callback's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The right that an instance needs to ask this.
            #[must_use]
            pub fn right(self) -> &'static str {
                match self { $(Self::$variant => $right,)* }
            }
        }

        $(
            #[doc = concat!("The entry of `", $name, "`.")]
            pub(super) const $entry: porth_abi::Question = {
                unsafe extern "C" fn call(context: u64, arguments: Str, call: *mut HostCall) -> i32 {
                    // SAFETY: the border says that the text is valid for this call, and that `call` may be written.
                    unsafe { ask(Question::$variant, context, arguments, call) }
                }
                porth_abi::Question { call }
            };
        )*
    };
}

questions! {
    CheckUserValid CHECK_USER_VALID "check_user_valid" "users:read";
    CheckClientValid CHECK_CLIENT_VALID "check_client_valid" "clients:read";
    GetClientGrantedScopes GET_CLIENT_GRANTED_SCOPES "get_client_granted_scopes" "grants";
    GetUserList GET_USER_LIST "get_user_list" "users:read";
    GetUser GET_USER "get_user" "users:read";
    GetUserProfile GET_USER_PROFILE "get_user_profile" "users:read";
    IsUserValid IS_USER_VALID "is_user_valid" "users:read";
    AddUser ADD_USER "add_user" "users:write";
    SetUser SET_USER "set_user" "users:write";
    DeleteUser DELETE_USER "delete_user" "users:write";
    UserUpdatePassword USER_UPDATE_PASSWORD "user_update_password" "users:write";
    GetClientList GET_CLIENT_LIST "get_client_list" "clients:read";
    GetClient GET_CLIENT "get_client" "clients:read";
    IsClientValid IS_CLIENT_VALID "is_client_valid" "clients:read";
    AddClient ADD_CLIENT "add_client" "clients:write";
    SetClient SET_CLIENT "set_client" "clients:write";
    DeleteClient DELETE_CLIENT "delete_client" "clients:write";
}

/// Starts a question.
///
/// # Safety
/// The text is valid for this call; `call` is null or may be written.
unsafe fn ask(question: Question, context: u64, arguments: Str, call: *mut HostCall) -> i32 {
    let body = || {
        let services = services(context)?;
        // SAFETY: the caller vouches for it.
        match unsafe { text(arguments, "the text of the arguments") } {
            Ok(arguments) => services.ask(question, arguments),
            // Later, as everything else that is wrong with an argument: an answer at once has no detail.
            Err(error) => {
                let later: HostFuture = Box::pin(std::future::ready(Err(error)));
                Ok(later)
            }
        }
    };
    // SAFETY: the caller vouches for it.
    unsafe { start(call, body) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::RIGHTS;
    use super::*;

    #[test]
    fn every_question_needs_the_right_of_its_group() {
        let all = Question::ALL.iter().map(|question| (question.name(), question.right()));
        let rights: String = all.clone().map(|(name, right)| format!("{right} {name}\n")).collect();
        assert!(all.into_iter().all(|(_, right)| RIGHTS.contains(&right)));
        expect![[r#"
            users:read check_user_valid
            clients:read check_client_valid
            grants get_client_granted_scopes
            users:read get_user_list
            users:read get_user
            users:read get_user_profile
            users:read is_user_valid
            users:write add_user
            users:write set_user
            users:write delete_user
            users:write user_update_password
            clients:read get_client_list
            clients:read get_client
            clients:read is_client_valid
            clients:write add_client
            clients:write set_client
            clients:write delete_client
        "#]]
        .assert_eq(&rights);
    }
}
