//! What a plug-in counts, on its way to the host.

use porth_abi::{Bytes, Parameter, Str};
use smallvec::SmallVec;

use super::{CallbackError, answer_code, answer_detail, services, text};

pub(super) unsafe extern "C" fn metric_add(
    context: u64,
    name: Str,
    kind: u32,
    help: Str,
    id: *mut u32,
    detail: *mut Bytes,
) -> i32 {
    let body = || {
        let services = services(context)?;
        if id.is_null() {
            return Err(CallbackError::parameter("no place for the metric's number"));
        }
        // SAFETY: valid for this call.
        let name = unsafe { text(name, "name") }?;
        // SAFETY: valid for this call.
        let help = unsafe { text(help, "help") }?;
        let made = services.metric_add(name, kind, help)?;
        // SAFETY: not null, and the border says that it may be written.
        unsafe { id.write(made) };
        Ok(())
    };
    // SAFETY: the border says that `detail` is null or may be written.
    unsafe { answer_detail(detail, body) }
}

pub(super) unsafe extern "C" fn metric_increment(
    context: u64,
    id: u32,
    labels: *const Parameter,
    labels_len: usize,
    value: f64,
) -> i32 {
    answer_code(|| {
        let services = services(context)?;
        // SAFETY: valid for this call.
        services.metric_increment(id, &unsafe { pairs(labels, labels_len) }?, value)
    })
}

pub(super) unsafe extern "C" fn metric_observe(
    context: u64,
    id: u32,
    labels: *const Parameter,
    labels_len: usize,
    value: f64,
) -> i32 {
    answer_code(|| {
        let services = services(context)?;
        // SAFETY: valid for this call.
        services.metric_observe(id, &unsafe { pairs(labels, labels_len) }?, value)
    })
}

/// More labels than this are a mistake; the bound keeps a wrong number from reading far.
const LABELS_MAX: usize = 16;

type Pairs<'a> = SmallVec<[(&'a str, &'a str); 4]>;

/// Reads pairs that a plug-in lent for the call.
///
/// # Safety
/// So many pairs are valid for this call, or `pairs` is null.
unsafe fn pairs<'a>(pairs: *const Parameter, len: usize) -> Result<Pairs<'a>, CallbackError> {
    if len == 0 {
        return Ok(SmallVec::new());
    }
    if pairs.is_null() || len > LABELS_MAX {
        return Err(CallbackError::parameter(format!("{len} labels at {pairs:p}")));
    }
    // SAFETY: not null, and the caller vouches for it.
    let raw: &'a [Parameter] = unsafe { std::slice::from_raw_parts(pairs, len) };
    let mut read = SmallVec::new();
    for pair in raw {
        // SAFETY: as above.
        let name = unsafe { text(pair.name, "a label's name") }?;
        // SAFETY: as above.
        let value = unsafe { text(pair.value, "a label's value") }?;
        read.push((name, value));
    }
    Ok(read)
}
