//! Finding records by a pattern: which part of a list is asked for, and how texts are folded for that.

use super::username::fold;

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What must occur in a record, in any case and Unicode form; empty means all.
    pub pattern: String,
    /// How many to leave out.
    pub offset: u32,
    /// How many at most.
    pub limit: u32,
}

impl Page {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { pattern: String::new(), offset: 0, limit: u32::MAX }
    }

    /// This part of what was found elsewhere.
    pub fn cut<T>(&self, found: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        found.skip(size(self.offset)).take(size(self.limit))
    }

    /// Leaves out a list of so many. False means that the page begins after it; otherwise it begins there.
    pub(super) fn skip(&mut self, count: u64) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let within = self.offset < count;
        if !within {
            self.offset -= count;
        }
        within
    }

    /// Takes what a list gave off the page, which goes on at the beginning of the next list.
    pub(super) fn took(&mut self, given: usize) {
        self.offset = 0;
        self.limit = self.limit.saturating_sub(u32::try_from(given).unwrap_or(u32::MAX));
    }

    /// The pattern for SQL's `LIKE`, with `\` as the escape.
    pub(super) fn like(&self) -> String {
        let mut like = String::from("%");
        for character in fold(&self.pattern).chars() {
            if matches!(character, '%' | '_' | '\\') {
                like.push('\\');
            }
            like.push(character);
        }
        like.push('%');
        like
    }
}

/// What patterns are looked for in: the texts, folded.
pub(super) fn folded(texts: &[&str]) -> String {
    fold(&texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_like_would_read_is_escaped() {
        let page = Page { pattern: "50%_Ä\\".to_owned(), ..Page::all() };
        assert_eq!(page.like(), "%50\\%\\_ä\\\\%");
        assert_eq!(Page::all().like(), "%%");
    }
}
