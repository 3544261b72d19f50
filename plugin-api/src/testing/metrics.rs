//! What a plug-in counts with the fake host.

use std::sync::PoisonError;

use porth_abi as abi;
use porth_abi::code;

use super::table::with;
use super::world::{Context, Metrics};
use crate::bytes::{array, from_vec, slice};

fn text(text: abi::Str) -> String {
    // SAFETY: the plug-in lends it for the call that this runs in.
    String::from_utf8_lossy(unsafe { slice(text) }).into_owned()
}

pub(super) unsafe extern "C" fn add(
    context: u64,
    name: abi::Str,
    kind: u32,
    _: abi::Str,
    id: *mut u32,
    detail: *mut abi::Bytes,
) -> i32 {
    with(context, |context| {
        let name = text(name);
        let refuse = |why: String| {
            // SAFETY: the plug-in's to be filled in.
            unsafe { detail.write(from_vec(why.into_bytes())) };
            code::PARAM
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return refuse(format!("the metric `{name}`: expected letters, digits and `_`"));
        }
        let Metrics { known, .. } = &mut *context.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match known.iter().position(|(other, _)| *other == name) {
            Some(at) if known[at].1 != kind => return refuse(format!("the metric `{name}` has another kind already")),
            Some(at) => at,
            None => {
                known.push((name, kind));
                known.len() - 1
            }
        };
        // SAFETY: the plug-in's to be filled in.
        unsafe { id.write(u32::try_from(at).unwrap_or(u32::MAX)) };
        code::OK
    })
}

pub(super) unsafe extern "C" fn increment(
    context: u64,
    id: u32,
    labels: *const abi::Parameter,
    labels_len: usize,
    value: f64,
) -> i32 {
    with(context, |context| {
        sample(context, id, (labels, labels_len), |kind, (sum, count)| {
            *sum += value;
            *count += 1;
            // A counter cannot shrink.
            kind != code::metric::HISTOGRAM && (kind != code::metric::COUNTER || value >= 0.0)
        })
    })
}

pub(super) unsafe extern "C" fn observe(
    context: u64,
    id: u32,
    labels: *const abi::Parameter,
    labels_len: usize,
    value: f64,
) -> i32 {
    with(context, |context| {
        sample(context, id, (labels, labels_len), |kind, (sum, count)| {
            *sum = if kind == code::metric::GAUGE { value } else { *sum + value };
            *count += 1;
            kind != code::metric::COUNTER
        })
    })
}

/// Changes a series, unless `change` says that this cannot be.
fn sample(
    context: &Context,
    id: u32,
    (labels, labels_len): (*const abi::Parameter, usize),
    change: impl FnOnce(u32, &mut (f64, u64)) -> bool,
) -> i32 {
    // SAFETY: lent for the call.
    let labels = unsafe { array(labels, labels_len) };
    let mut labels: Vec<_> = labels.iter().map(|label| (text(label.name), text(label.value))).collect();
    labels.sort();
    let mut metrics = context.metrics.lock().unwrap_or_else(PoisonError::into_inner);
    let at = usize::try_from(id).unwrap_or(usize::MAX);
    let Some(kind) = metrics.known.get(at).map(|(_, kind)| *kind) else { return code::PARAM };
    let place = (at, labels);
    let mut series = metrics.series.get(&place).copied().unwrap_or_default();
    if !change(kind, &mut series) {
        return code::PARAM;
    }
    metrics.series.insert(place, series);
    code::OK
}

/// The number of a series: of a histogram the sum of its durations.
pub(super) fn value(context: &Context, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut labels: Vec<_> = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    labels.sort();
    let metrics = context.metrics.lock().unwrap_or_else(PoisonError::into_inner);
    let at = metrics.known.iter().position(|(other, _)| other == name)?;
    metrics.series.get(&(at, labels)).map(|(value, _)| *value)
}
