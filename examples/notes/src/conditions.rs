//! `If-Match`, `If-None-Match` and entity tags (RFC 9110, sections 8.8.3 and 13.1).

use porth_plugin::prelude::*;

/// What a client says of the note that it wants to change.
#[derive(Debug, PartialEq)]
pub(crate) enum Condition {
    /// `If-None-Match: *`: there is none.
    New,
    /// `If-Match: *`: there is one.
    Any,
    /// `If-Match` with entity tags: it has one of these versions. None, when all the tags are somebody else's.
    OneOf(Vec<u64>),
}

impl Condition {
    /// Reads the fields of a request; without one of them the client is asked for it.
    pub(crate) fn of(request: &Request) -> Result<Self, Error> {
        Self::read(request.header("if-match"), request.header("if-none-match"))
    }

    fn read(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Self, Error> {
        match (if_match.map(str::trim), if_none_match.map(str::trim)) {
            (None, Some("*")) => Ok(Self::New),
            (Some("*"), None) => Ok(Self::Any),
            (Some(tags), None) => Ok(Self::OneOf(tags.split(',').filter_map(strong).collect())),
            (None, None) => Err(Error::new(
                428,
                "Say which note is meant: `If-Match` with the entity tag that came with \
                it, or `If-None-Match: *` for a new one.",
            )),
            _ => Err(Error::bad_request("Only `If-Match`, or `If-None-Match: *`.")),
        }
    }
}

/// The entity tag of a version.
pub(crate) fn entity_tag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Whether a client has this version already, as `If-None-Match` says.
pub(crate) fn is_known(if_none_match: Option<&str>, version: u64) -> bool {
    let Some(tags) = if_none_match else { return false };
    // The weak comparison: a client that only has a weak tag of it has it all the same.
    tags.trim() == "*" || tags.split(',').any(|tag| strong(tag.trim().trim_start_matches("W/")) == Some(version))
}

/// The version of a strong entity tag of ours. Tags are compared byte by byte, so that `"07"` is not `"7"`.
fn strong(tag: &str) -> Option<u64> {
    let tag = tag.trim();
    let version = tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
    (entity_tag(version) == tag).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_one_of_three() {
        let read = |if_match, if_none_match| Condition::read(if_match, if_none_match).map_err(|error| error.status());
        assert_eq!(read(None, Some(" * ")), Ok(Condition::New));
        assert_eq!(read(Some("*"), None), Ok(Condition::Any));
        assert_eq!(read(Some("\"7\""), None), Ok(Condition::OneOf(vec![7])));
        let tags = r#""7" , W/"8", "x","9", "07", "#;
        assert_eq!(read(Some(tags), None), Ok(Condition::OneOf(vec![7, 9])));
        assert_eq!(read(None, None), Err(428));
        assert_eq!(read(None, Some("\"7\"")), Err(400));
        assert_eq!(read(Some("\"7\""), Some("*")), Err(400));
    }

    #[test]
    fn a_known_version_need_not_be_sent() {
        assert!(is_known(Some("\"6\", W/\"7\""), 7));
        assert!(is_known(Some("*"), 7));
        assert!(!is_known(Some("\"6\""), 7));
        assert!(!is_known(None, 7));
    }
}
