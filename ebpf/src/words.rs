//! Reads of address fields in the kernel's contexts.

use core::ptr::read_volatile;

/// Four words, one read each.
///
/// # Safety
///
/// `field` is the address of a readable field of the program's context.
#[inline(always)]
pub unsafe fn words(field: *const [u32; 4]) -> [u32; 4] {
    // SAFETY: the caller's; volatile, because the verifier takes reads of a field's own width at a fixed offset only.
    unsafe {
        [
            read_volatile(&raw const (*field)[0]),
            read_volatile(&raw const (*field)[1]),
            read_volatile(&raw const (*field)[2]),
            read_volatile(&raw const (*field)[3]),
        ]
    }
}
