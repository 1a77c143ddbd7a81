//! What each program is: its type, its size before and after the verifier, and the kernel helpers that it calls.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use aya::programs::{Program, ProgramInfo};
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;
use aya_obj::generated::{BPF_CALL, BPF_JMP, bpf_insn};

use crate::failure::{During, Result};

/// Names by helper id, as `linux/bpf.h` has them.
const HELPERS: &str = include_str!("helper_names.txt");

/// One program of the object.
pub(super) struct Row {
    name: String,
    kind: &'static str,
    instructions: usize,
    /// How many instructions the verifier walked; none where it was not loaded.
    verified: Option<u32>,
    helpers: BTreeSet<String>,
}

/// The programs in an object, by name.
pub(super) fn rows(bytes: &[u8]) -> Result<Vec<Row>> {
    let mut object = Object::parse(bytes).during("the eBPF object")?;
    let entries: HashSet<_> = object.programs.values().map(aya_obj::Program::function_key).collect();
    let text =
        object.functions.keys().filter(|key| !entries.contains(key)).map(|(section, _)| *section).collect();
    object.relocate_calls(&text).during("the eBPF object")?;
    let mut rows: Vec<Row> =
        object.programs.iter().map(|(name, program)| row(&object, name, program)).collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

/// Fills in what the verifier of this machine's kernel says. Nothing is attached, and all is gone with the return.
pub(super) fn verify(bytes: &[u8], rows: &mut [Row]) -> Result {
    let mut ebpf: Ebpf = EbpfLoader::new().load(bytes).during("loading the eBPF object")?;
    let mut verified = BTreeMap::new();
    for (name, program) in ebpf.programs_mut() {
        let info = load(program).during(format!("program {name}"))?;
        verified.insert(name.to_owned(), info.verified_instruction_count());
    }
    for row in rows {
        row.verified = verified.get(&row.name).copied().flatten();
    }
    Ok(())
}

fn load(program: &mut Program) -> std::result::Result<ProgramInfo, aya::programs::ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(aya::programs::ProgramError::UnexpectedProgramType),
    }?;
    program.info()
}

fn row(object: &Object, name: &str, program: &aya_obj::Program) -> Row {
    let instructions = object.functions.get(&program.function_key()).map_or(&[][..], |f| &f.instructions);
    Row {
        name: name.to_owned(),
        kind: kind(&program.section),
        instructions: instructions.len(),
        verified: None,
        helpers: instructions.iter().filter_map(helper).map(helper_name).collect(),
    }
}

/// The helper that an instruction calls; calls of our own functions have a source register of 1.
fn helper(instruction: &bpf_insn) -> Option<usize> {
    let is_helper = u32::from(instruction.code) == (BPF_JMP | BPF_CALL) && instruction.src_reg() == 0;
    is_helper.then(|| usize::try_from(instruction.imm).ok()).flatten()
}

fn helper_name(id: usize) -> String {
    HELPERS.split_whitespace().nth(id).map_or_else(|| format!("helper {id}"), str::to_owned)
}

fn kind(section: &aya_obj::ProgramSection) -> &'static str {
    use aya_obj::ProgramSection as Section;
    match section {
        Section::CgroupSockAddr { .. } => "cgroup_sock_addr",
        Section::CgroupSkb { .. } => "cgroup_skb",
        Section::SockOps => "sock_ops",
        Section::SkLookup => "sk_lookup",
        Section::SchedClassifier => "sched_cls",
        _ => "other",
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verified = self.verified.map_or_else(|| "not loaded".to_owned(), |count| count.to_string());
        let helpers: Vec<&str> = self.helpers.iter().map(String::as_str).collect();
        write!(
            f,
            "{:<20} {:<17} {:>12} {verified:>10}  {}",
            self.name,
            self.kind,
            self.instructions,
            helpers.join(" ")
        )
    }
}

/// The line above the rows.
pub(super) fn heading() -> String {
    format!("{:<20} {:<17} {:>12} {:>10}  helpers", "program", "type", "instructions", "verified")
}

#[cfg(test)]
mod tests {
    use super::helper_name;

    #[test]
    fn helper_ids_have_the_names_of_the_kernel_header() {
        let names = [1, 107, 122, 124, 155].map(helper_name);
        let wanted = ["map_lookup_elem", "sk_storage_get", "get_netns_cookie", "sk_assign", "redirect_peer"];
        assert_eq!(names, wanted);
    }
}
