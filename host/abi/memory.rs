//! What the allocator keeps of what was freed.

/// Has large buffers given back to the system as soon as they are freed. Else glibc learns from the first of them, which is
/// one of the start, to keep megabytes in reserve for the next (mallopt(3), `M_MMAP_THRESHOLD`). Other allocators stay as
/// they are. To be called before there are other threads.
pub fn give_back_large_buffers() {
    // SAFETY: it takes two numbers and changes how later allocations are made.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// As large as the largest body of a request by default: what requests use all the time stays.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 1 << 20;
