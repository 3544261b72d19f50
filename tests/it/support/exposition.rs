//! A strict reader of what `/metrics` answers: version 0.0.4 of the text format of Prometheus, and the conventions for
//! names. What is not exactly so is refused with the line.

use std::collections::{BTreeMap, BTreeSet};

/// A family of samples.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// All families by name.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut helped = None;
    for line in text.lines() {
        let wrong = |why: &str| format!("{why}: `{line}`");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or_else(|| wrong("no help"))?;
            helped = Some((name.to_owned(), help.to_owned()));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or_else(|| wrong("no type"))?;
            let help = helped.take().filter(|(helped, _)| helped == name).ok_or_else(|| wrong("no help before"))?;
            if !is_name(name) || !["counter", "gauge", "histogram", "summary"].contains(&kind) {
                return Err(wrong("a name or type that is none"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(wrong("counters end with _total, and nothing else does"));
            }
            if matches!(kind, "histogram" | "summary") && !name.ends_with("_seconds") {
                return Err(wrong("durations end with their unit"));
            }
            let family = Family { kind: kind.to_owned(), help: help.1, samples: Vec::new() };
            if families.insert(name.to_owned(), family).is_some() {
                return Err(wrong("a family comes twice"));
            }
            name.clone_into(&mut current);
        } else {
            let sample = sample(line).map_err(|why| wrong(&why))?;
            let family = families.get_mut(&current).ok_or_else(|| wrong("a sample before its family"))?;
            let suffixes: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["_sum", "_count"],
                _ => &[""],
            };
            if !suffixes.iter().any(|suffix| sample.name == format!("{current}{suffix}")) {
                return Err(wrong("a sample of another family"));
            }
            if family.kind != "gauge" && (sample.value.is_nan() || sample.value < 0.0) {
                return Err(wrong("a count that is none"));
            }
            if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(wrong("the same series twice"));
            }
            family.samples.push(sample);
        }
    }
    for (name, family) in families.iter().filter(|(_, family)| family.kind == "histogram") {
        check_histogram(name, family)?;
    }
    Ok(families)
}

/// Buckets grow, the last is for all, and sum and count are there once.
fn check_histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        series.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in series {
        let wrong = |why: &str| format!("{name} {labels:?}: {why}");
        let of = |suffix: &str| -> Vec<&&Sample> {
            samples.iter().filter(|sample| sample.name == format!("{name}{suffix}")).collect()
        };
        let (buckets, sum, count) = (of("_bucket"), of("_sum"), of("_count"));
        let bounds: Vec<f64> = buckets
            .iter()
            .map(|bucket| match bucket.labels.get("le").map(String::as_str) {
                Some("+Inf") => Ok(f64::INFINITY),
                Some(bound) => bound.parse::<f64>().map_err(|_| wrong("a bound that is no number")),
                None => Err(wrong("a bucket without a bound")),
            })
            .collect::<Result<_, _>>()?;
        if !bounds.is_sorted_by(|a, b| a < b) || bounds.last() != Some(&f64::INFINITY) {
            return Err(wrong("bounds do not grow to +Inf"));
        }
        if !buckets.is_sorted_by(|a, b| a.value <= b.value) {
            return Err(wrong("buckets do not grow"));
        }
        if sum.len() != 1 || count.len() != 1 || buckets.last().map(|last| last.value) != Some(count[0].value) {
            return Err(wrong("the count is not that of the last bucket"));
        }
    }
    Ok(())
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err("a name that is none".to_owned());
    }
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
            if !is_name(label) || label.contains(':') {
                return Err(format!("the label {label}"));
            }
            let (value, after) = quoted(after)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("the label {label} twice"));
            }
            rest = match after.strip_prefix(',') {
                Some(more) if !more.starts_with('}') => more,
                Some(_) => return Err("a comma too many".to_owned()),
                None if after.starts_with('}') => after,
                None => return Err("no end of the labels".to_owned()),
            };
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').ok_or("no value")?;
    let value = value.parse().map_err(|_| format!("the value `{value}`"))?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// A value up to its closing quotation mark, and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, escaped @ ('"' | '\\'))) => escaped,
                other => return Err(format!("the escape {other:?}")),
            }),
            plain => value.push(plain),
        }
    }
    Err("a value without an end".to_owned())
}

fn is_name(name: &str) -> bool {
    let fine =
        |(at, byte): (usize, u8)| byte.is_ascii_alphabetic() || byte == b'_' || (at > 0 && byte.is_ascii_digit());
    !name.is_empty() && name.bytes().enumerate().all(fine)
}

#[test]
fn what_is_wrong_is_refused() {
    let head = "# HELP x_total Help\n# TYPE x_total counter\n";
    assert_eq!(read(&format!("{head}x_total{{a=\"b\\\"\"}} 1\n")).unwrap()["x_total"].samples[0].labels["a"], "b\"");
    for (wrong, why) in [
        ("x_total 1\n", "a sample before its family"),
        ("# TYPE x_total counter\n", "no help before"),
        ("# HELP x Help\n# TYPE x counter\n", "counters end with _total"),
        (&format!("{head}{head}"), "a family comes twice"),
        (&format!("{head}x_total 1\nx_total 1\n"), "the same series twice"),
        (&format!("{head}y_total 1\n"), "a sample of another family"),
        (&format!("{head}x_total{{a=\"b\",}} 1\n"), "a comma too many"),
        (&format!("{head}x_total{{a=\"b}} 1\n"), "a value without an end"),
        (&format!("{head}x_total -1\n"), "a count that is none"),
        (&format!("{head}x_total 1"), "the last line has no end"),
    ] {
        let refused = read(wrong).unwrap_err();
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
}
