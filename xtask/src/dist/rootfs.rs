//! The files of an image: a binary, the libraries that it is linked to, and the few files that a C library looks for.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::archive::{Entries, Entry};
use crate::failure::{During, Failure, Result};

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Nobody in particular, as other images without a distribution call it.
const ACCOUNTS: &str = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUPS: &str = "root:x:0:\nnonroot:x:65532:\n";
/// Names of hosts: the files that the runtime writes, then the servers that it names.
const NAMES: &str = "hosts: files dns\n";

/// Everything below `/` for a program.
pub(super) fn of(program: &Path, at: &str) -> Result<Entries> {
    let content = fs::read(program).during(program.display())?;
    let mut entries = Entries::new();
    put(&mut entries, at, Entry::program(content));
    for library in libraries(program)? {
        let content = fs::read(&library).during(&library)?;
        put(&mut entries, &library, Entry::program(content));
    }
    let certificates = fs::read(CERTIFICATES).during(CERTIFICATES)?;
    put(&mut entries, CERTIFICATES, Entry::file(certificates));
    put(&mut entries, "/etc/passwd", Entry::file(ACCOUNTS));
    put(&mut entries, "/etc/group", Entry::file(GROUPS));
    put(&mut entries, "/etc/nsswitch.conf", Entry::file(NAMES));
    entries.insert("tmp".to_owned(), Entry::Folder { mode: 0o1777 });
    Ok(entries)
}

/// Adds a file, and the folders that it lies in.
fn put(entries: &mut Entries, path: &str, entry: Entry) {
    let path = path.trim_start_matches('/');
    for (at, _) in path.match_indices('/') {
        entries.entry(path[..at].to_owned()).or_insert(Entry::Folder { mode: 0o755 });
    }
    entries.insert(path.to_owned(), entry);
}

/// The paths at which the loader finds them, itself among them; none of a static program.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().during("ldd")?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if [&text, &errors]
        .iter()
        .any(|text| text.contains("statically linked") || text.contains("not a dynamic"))
    {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        return Err(Failure::new(format!("ldd {}: {errors}", program.display())));
    }
    paths(&text)
}

/// `libm.so.6 => /lib/libm.so.6 (0x7f51163bc000)`, `/lib64/ld-linux-x86-64.so.2 (0x7f51164d0000)`, `linux-vdso.so.1 (0x7f51164ce000)`.
fn paths(ldd: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in ldd.lines().map(str::trim) {
        if line.ends_with("not found") {
            return Err(Failure::new(format!("ldd: {line}")));
        }
        let shown = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = shown.split_whitespace().next().unwrap_or_default();
        // The kernel's own has no path.
        if path.starts_with('/') {
            paths.push(path.to_owned());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn libraries_are_read_from_what_the_loader_says() {
        let said = "\tlinux-vdso.so.1 (0x00007f51164ce000)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f51163bc000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f51164d0000)\n";
        assert_eq!(
            paths(said).ok(),
            Some(vec!["/lib/x86_64-linux-gnu/libm.so.6".into(), "/lib64/ld-linux-x86-64.so.2".into()])
        );
        assert!(paths("\tlibx.so => not found\n").is_err());
    }
}
