//! Times as people write and read them at a terminal: UTC, as RFC 3339 has it, and spans such as `90d`.

/// A span: a number and `s`, `m`, `h`, `d` or `w`; in milliseconds.
pub(super) fn span(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no span of time; expected a number and s, m, h, d or w, as `90d`");
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        Some('w') => 7 * 86_400_000,
        _ => return Err(wrong()),
    };
    let number =
        text.get(..text.len().saturating_sub(1)).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.parse::<i64>().ok()?.checked_mul(unit_ms)).ok_or_else(wrong)
}

/// A time: `2026-11-22`, `2026-11-22T21:30`, `2026-11-22T21:30:05Z`, or a span, which means that long ago. In
/// milliseconds since 1970.
pub(super) fn point(text: &str, now_ms: i64) -> Result<i64, String> {
    if let Ok(ago_ms) = span(text) {
        return Ok(now_ms.saturating_sub(ago_ms));
    }
    let wrong = || format!("`{text}` is no time; expected as `2026-11-22`, `2026-11-22T21:30:00Z` (UTC), or `24h` ago");
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let numbers = |text: &str, sign| -> Option<Vec<i64>> {
        let digits = |part: &str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        text.split(sign).map(|part| if digits(part) { part.parse().ok() } else { None }).collect()
    };
    let date = numbers(date, '-').ok_or_else(wrong)?;
    let time = numbers(time.strip_suffix('Z').unwrap_or(time), ':').ok_or_else(wrong)?;
    let (&[year, month, day], &[hour, minute, ref seconds @ ..]) = (date.as_slice(), time.as_slice()) else {
        return Err(wrong());
    };
    let second = match seconds {
        [] => 0,
        [second] => *second,
        _ => return Err(wrong()),
    };
    let days = days_since_1970(year, month, day);
    let possible =
        (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60 && civil(days) == (year, month, day);
    if !possible {
        return Err(wrong());
    }
    Ok((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000)
}

/// `2026-11-22T21:30:05.123Z`.
pub(super) fn rfc_3339(at_ms: i64) -> String {
    let (year, month, day) = civil(at_ms.div_euclid(86_400_000));
    let ms = at_ms.rem_euclid(86_400_000);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// Of the proleptic Gregorian calendar, counted in eras of 400 years that begin on 1 March (Hinnant, "chrono-compatible
/// low-level date algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day of a number of days since 1970; the reverse of [`days_since_1970`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + days.div_euclid(146_097) * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span("90d"), Ok(90 * 86_400_000));
        assert_eq!(span("1s"), Ok(1_000));
        for wrong in ["", "d", "90", "-1d", "+1d", "1.5h", "9999999999999999999d", "9223372036854775807w", "1ü"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for at_ms in [0, 951_782_400_000, 1_795_383_005_123, 4_102_444_799_999] {
            let shown = rfc_3339(at_ms);
            assert_eq!(point(&shown[..19], 0), Ok(at_ms / 1_000 * 1_000), "{shown}");
        }
        assert_eq!(rfc_3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(point("2026-11-22T21:30:05Z", 0), Ok(1_795_383_005_000));
        assert_eq!(point("24h", 86_400_000), Ok(0));
        for wrong in ["", "2026", "2026-02-29", "2026-13-01", "2026-11-22T24:00", "2026-11-22T1:2:3:4", "x-y-z"] {
            assert!(point(wrong, 0).is_err(), "{wrong}");
        }
    }
}
