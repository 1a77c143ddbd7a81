//! Takes the debug sections out of the object and keeps BTF: what `llvm-strip -g` does, without an LLVM.

use object::build::elf::{Builder, SectionData};

use crate::failure::{During, Result};

/// The object without DWARF.
pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(bytes).during("the eBPF object")?;
    let debug: Vec<_> = builder
        .sections
        .iter()
        .filter(|section| is_debug(&section.name))
        .map(|section| section.id())
        .collect();
    for section in &mut builder.sections {
        let of_debug = matches!(section.data, SectionData::Relocation(_))
            && section.sh_info_section.is_some_and(|id| debug.contains(&id));
        section.delete = of_debug || debug.contains(&section.id());
    }
    builder.delete_orphans();
    // LLVM keeps section names in .strtab, beside those of symbols; the writer wants a table of their own.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped).during("writing the eBPF object")?;
    Ok(stripped)
}

fn is_debug(name: &[u8]) -> bool {
    name.starts_with(b".debug_") || name.starts_with(b".rel.debug_")
}
