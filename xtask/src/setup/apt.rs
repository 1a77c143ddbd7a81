//! A private apt: Debian's other suites, read with signatures checked, and nothing of the machine's own apt touched.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{During, Failure, Result};
use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One folder with its own sources, lists, cache and status.
pub(crate) struct PrivateApt {
    folder: PathBuf,
}

impl PrivateApt {
    /// `sources` are the lines after the mirror: `("", "trixie-backports main")`; the first part is appended to the mirror's
    /// address (`-security`).
    pub(crate) fn new(folder: &Path, sources: &[(&str, &str)]) -> Result<Self> {
        if !Path::new(KEYRING).exists() || process::find_program("apt-get").is_none() {
            return Err(Failure::new(format!("this is no Debian (no apt-get, or no {KEYRING})")));
        }
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).during(path.display())?;
        }
        let apt = Self { folder: folder.to_owned() };
        let mirror = mirror()?;
        let mut list = String::new();
        for (suffix, rest) in sources {
            let _ = writeln!(list, "deb [signed-by={KEYRING}] {mirror}{suffix} {rest}");
        }
        apt.write("sources.list", &list)?;
        apt.write("status", "")?;
        apt.write("apt.conf", &apt.configuration())?;
        Ok(apt)
    }

    /// Fetches the lists; an address that is gone or badly signed is an error.
    pub(crate) fn update(&self) -> Result {
        process::output(self.command("apt-get").args(["update", "-q", "-o", "Acquire::Retries=2"])).map(drop)
    }

    /// The versions of a package, newest first.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = process::output(self.command("apt-cache").args(["madison", package]))?;
        Ok(table
            .lines()
            .filter_map(|line| line.split('|').nth(1))
            .map(|version| version.trim().to_owned())
            .collect())
    }

    /// The names of packages that match a regular expression.
    pub(crate) fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let found = process::output(self.command("apt-cache").args(["search", "--names-only", pattern]))?;
        Ok(found.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }

    /// Downloads `package` or `package=version` and returns the file.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let folder = self.folder.join("download");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).during(folder.display())?;
        process::output(self.command("apt-get").args(["download", "-q", package]).current_dir(&folder))?;
        let mut files = folder.read_dir().during(folder.display())?.flatten().map(|entry| entry.path());
        files
            .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
            .during(format!("apt-get download {package} left no file"))
    }

    /// The machine's own apt.conf.d (proxies, credentials) still counts: apt reads it after this, and it names no folder.
    fn configuration(&self) -> String {
        let folder = self.folder.display();
        format!(
            "Dir::Etc::sourcelist \"{folder}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
             Dir::State \"{folder}\";\nDir::State::lists \"{folder}/lists\";\nDir::State::status \"{folder}/status\";\n\
             Dir::Cache \"{folder}/cache\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Check-Valid-Until \"false\";\n\
             Acquire::AllowInsecureRepositories \"false\";\nAPT::Get::AllowUnauthenticated \"false\";\n"
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    fn write(&self, name: &str, text: &str) -> Result {
        let path = self.folder.join(name);
        fs::write(&path, text).during(path.display())
    }
}

/// The mirror that the machine is configured with, in either of apt's formats.
fn mirror() -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    let is_source = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "list" || ext == "sources");
    files.retain(is_source);
    files.sort();
    files
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|text| debian_mirror(&text))
        .during("apt's sources name no Debian mirror: add one to /etc/apt/sources.list")
}

/// The first address in a sources file that ends in `/debian`.
fn debian_mirror(text: &str) -> Option<String> {
    let active = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = active
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'));
    words.find(|word| word.contains("://") && word.ends_with("/debian")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::debian_mirror;

    #[test]
    fn the_mirror_is_found_in_both_formats_and_comments_are_not_read() {
        let deb822 = "Types: deb\n# http://snapshot.example/archive/debian\nURIs: http://mirror.example/debian/\nSuites: bookworm\n";
        assert_eq!(debian_mirror(deb822).as_deref(), Some("http://mirror.example/debian"));
        let list = "# deb http://old.example/debian bookworm main\ndeb [arch=amd64] https://mirror.example/debian bookworm main\n";
        assert_eq!(debian_mirror(list).as_deref(), Some("https://mirror.example/debian"));
    }

    #[test]
    fn a_sources_file_of_somebody_else_names_no_mirror() {
        assert_eq!(debian_mirror("deb https://apt.example/packages stable main\n"), None);
    }
}
