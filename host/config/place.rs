//! Where in a text something stands.

use std::fmt;
use std::ops::Range;

/// A place in a file, counted from 1 as editors do; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    /// Where a span of bytes of `text` begins.
    pub(super) fn of(text: &str, span: &Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_editors() {
        for (text, start, line, column) in [("ab", 0, 1, 1), ("ab", 1, 1, 2), ("a\nb", 2, 2, 1), ("é\néb", 5, 2, 2)] {
            assert_eq!(Place::of(text, &(start..start)), Place { line, column }, "{text:?} {start}");
        }
    }
}
