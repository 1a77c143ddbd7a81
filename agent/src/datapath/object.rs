//! The eBPF object, as the build put it into this binary.

/// ELF wants the alignment of its widest field.
#[repr(C, align(8))]
struct Aligned<B: ?Sized>(B);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/heddle.bpf.o")));

/// The object; None in a build that had none (`cargo xtask build-ebpf` makes it).
pub(super) fn bytes() -> Option<&'static [u8]> {
    (!OBJECT.0.is_empty()).then_some(&OBJECT.0)
}
