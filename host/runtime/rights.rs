//! Which callbacks an instance may use: of what its module says it needs, what an administrator grants.

use crate::abi::RIGHTS;

/// Whether a right can be granted to an instance of a module with these needs: what it says it needs, or, of one that needs
/// all, any that there is.
pub(super) fn may_grant(needs: &[String], right: &str) -> bool {
    let named = |name: &str| needs.iter().any(|need| need == name);
    named(right) || (named(ALL) && RIGHTS.contains(&right))
}

/// The rights that an instance has. Without `grants` they are all that its module needs.
pub(super) fn granted(needs: &[String], grants: Option<&[String]>) -> Vec<String> {
    match grants {
        None => needs.to_vec(),
        // A newer library may need less than was granted, and the configuration may grant anything.
        Some(grants) => grants.iter().filter(|right| may_grant(needs, right)).cloned().collect(),
    }
}

/// Whether these rights include one.
pub(super) fn include(rights: &[String], right: &str) -> bool {
    rights.iter().any(|granted| granted == right || granted == ALL)
}

/// The right to everything.
const ALL: &str = "all";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(needs: &[&str], grants: Option<&[&str]>, right: &str, expected: bool) {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let grants = grants.map(owned);
        let rights = granted(&owned(needs), grants.as_deref());
        assert_eq!(include(&rights, right), expected, "{needs:?} {grants:?} {right}");
    }

    #[test]
    fn an_instance_has_what_is_both_needed_and_granted() {
        check(&["mail"], None, "mail", true);
        check(&["mail"], None, "users:read", false);
        check(&["mail", "users:read"], Some(&["mail"]), "users:read", false);
        check(&["mail"], Some(&["mail", "users:read"]), "users:read", false);
        check(&["mail"], Some(&["all"]), "users:read", false);
        check(&["mail"], Some(&["all"]), "mail", false);
        check(&["all"], None, "users:read", true);
        check(&["all"], Some(&["all"]), "users:read", true);
        check(&["all"], Some(&["mail"]), "users:read", false);
        check(&["all"], Some(&["mail"]), "mail", true);
        check(&["all"], Some(&["everything"]), "everything", false);
        check(&[], Some(&[]), "mail", false);
    }
}
