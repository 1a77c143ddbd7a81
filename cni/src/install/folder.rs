//! The runtime's configuration folder: which file counts, and how a file is replaced without anybody seeing half of it.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::conflist::{self, Form};
use super::{InstallError, at};

/// Ending of what is being written; the runtimes do not read it.
const NEW: &str = "heddle-new";
/// Ending of a plain file that became a chain; it comes back when we go.
const SAVED: &str = "heddle-saved";
/// Somebody may write a file between our look at it and our rename.
const ATTEMPTS: usize = 5;

/// What one pass found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// No configuration yet: the node's CNI has not come up.
    Nothing,
    /// As it should be.
    Unchanged(PathBuf),
    /// Brought to what it should be.
    Repaired(PathBuf),
}

/// What a folder is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No configuration that a runtime takes.
    Absent,
    /// There is one.
    Present {
        /// The file that the runtime uses.
        file: PathBuf,
        /// It has the entry.
        chained: bool,
        /// What it says.
        text: String,
    },
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// A file as it was read.
#[derive(Debug)]
struct Read {
    path: PathBuf,
    form: Form,
    text: Vec<u8>,
    found: Metadata,
}

impl Folder {
    /// By its path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// By its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the file that the runtime uses to have the entry, and every other file to have none.
    ///
    /// # Errors
    /// What could not be read or written. Whatever was changed is whole.
    pub fn install(&self, entry: &Value) -> Result<Pass, InstallError> {
        self.sweep()?;
        let mut files = self.files()?;
        // CRI-O passes over a file that it cannot read; containerd starts nothing then, so that there is nothing to lose.
        let Some(first) = files.iter().position(|file| conflist::check(&file.text, file.form).is_ok()) else {
            return match files.first() {
                None => Ok(Pass::Nothing),
                Some(file) => {
                    Err(content(file, conflist::check(&file.text, file.form).err().unwrap_or_default()))
                }
            };
        };
        let file = files.remove(first);
        let mut target = file.path.clone();
        let mut changed = false;
        if let Some(text) =
            conflist::with_entry(&file.text, file.form, entry).map_err(|reason| content(&file, reason))?
        {
            target = self.put(file, &text)?;
            changed = true;
        }
        for other in files.into_iter().filter(|other| other.path != target) {
            changed |= self.clean(&other)?;
        }
        Ok(if changed { Pass::Repaired(target) } else { Pass::Unchanged(target) })
    }

    /// Whether the file that the runtime uses has the entry; nothing is changed.
    ///
    /// # Errors
    /// What could not be read.
    pub fn state(&self) -> Result<State, InstallError> {
        let files = self.files()?;
        let Some(file) = files.iter().find(|file| conflist::check(&file.text, file.form).is_ok()) else {
            return Ok(State::Absent);
        };
        let chained = matches!(conflist::without_entry(&file.text, file.form), Ok(Some(_)));
        let text = String::from_utf8_lossy(&file.text).into_owned();
        Ok(State::Present { file: file.path.clone(), chained, text })
    }

    /// Takes the entry out of every file, and brings back what was a plain file. True: there was something.
    ///
    /// # Errors
    /// What could not be read or written.
    pub fn remove(&self) -> Result<bool, InstallError> {
        self.sweep()?;
        let mut changed = false;
        for saved in self.named(|name| name.ends_with(SAVED))? {
            let plain = saved.with_extension("");
            // A plain file that somebody wrote anew meanwhile is the newer word.
            if !plain.exists() {
                fs::rename(&saved, &plain).map_err(at(&saved))?;
            } else {
                fs::remove_file(&saved).map_err(at(&saved))?;
            }
            let is_ours = |list: &PathBuf| {
                let text = fs::read(list).unwrap_or_default();
                matches!(conflist::without_entry(&text, Form::List), Ok(Some(_)))
            };
            if let Some(list) = self.list_of(&plain).into_iter().find(is_ours) {
                fs::remove_file(&list).map_err(at(&list))?;
            }
            changed = true;
        }
        for file in self.files()? {
            changed |= self.clean(&file)?;
        }
        Ok(changed)
    }

    /// Removes the entry from one file; what cannot be read has none that a runtime would see.
    fn clean(&self, file: &Read) -> Result<bool, InstallError> {
        match conflist::without_entry(&file.text, file.form) {
            Ok(Some(text)) => self.replace(&file.path, &text, file).map(|()| true),
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// Writes a chain in place of what was read, and returns where it is now.
    fn put(&self, file: Read, text: &[u8]) -> Result<PathBuf, InstallError> {
        if file.form == Form::List {
            self.replace(&file.path, text, &file)?;
            return Ok(file.path);
        }
        let saved = appended(&file.path, SAVED);
        let [short, long] = self.list_of(&file.path);
        // Somebody else's chain of the same name stays; the longer name sorts between the two.
        let theirs = long.exists() || (short.exists() && !saved.exists());
        let list = if theirs { long } else { short };
        // The plain file sorts first, so that the runtime always has one of the two.
        self.replace(&list, text, &file)?;
        fs::rename(&file.path, saved).map_err(at(&file.path))?;
        Ok(list)
    }

    /// Names for the chain that a plain file becomes.
    fn list_of(&self, plain: &Path) -> [PathBuf; 2] {
        [plain.with_extension("conflist"), appended(plain, "conflist")]
    }

    /// By rename, with mode and owner of the file that was read, and only while that is what is there.
    fn replace(&self, path: &Path, text: &[u8], read: &Read) -> Result<(), InstallError> {
        let temporary = appended(path, NEW);
        let written = write(&temporary, text, &read.found).and_then(|()| {
            let unchanged = fs::read(&read.path)? == read.text;
            if unchanged { fs::rename(&temporary, path).map(|()| true) } else { Ok(false) }
        });
        match written {
            Ok(true) => {
                // A reboot must not bring back what was there before.
                let _ = File::open(&self.path).and_then(|folder| folder.sync_all());
                Ok(())
            }
            failed => {
                let _ = fs::remove_file(&temporary);
                Err(match failed {
                    Err(error) => at(path)(error),
                    Ok(_) => InstallError::Contended(path.display().to_string()),
                })
            }
        }
    }

    /// Every file that a runtime would read, in its order.
    fn files(&self) -> Result<Vec<Read>, InstallError> {
        let mut files = Vec::new();
        for path in self.named(|name| Form::of(name).is_some())? {
            let form = path.file_name().and_then(|name| Form::of(name.to_str()?));
            let read = fs::metadata(&path).and_then(|found| {
                // A folder of that name is none of theirs.
                let text = if found.is_file() { fs::read(&path)? } else { Vec::new() };
                Ok((text, found))
            });
            match (read, form) {
                (Ok((text, found)), Some(form)) if found.is_file() => {
                    files.push(Read { path, form, text, found })
                }
                (Err(error), _) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
                _ => {}
            }
        }
        Ok(files)
    }

    fn named(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, InstallError> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at(&self.path))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(at(&self.path))?.file_name();
            names.extend(name.to_str().filter(|name| wanted(name)).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names.into_iter().map(|name| self.path.join(name)).collect())
    }

    /// What an installer that was killed left half-written.
    fn sweep(&self) -> Result<(), InstallError> {
        for path in self.named(|name| name.ends_with(NEW))? {
            fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(())
    }
}

/// Tries again while somebody writes under us.
///
/// # Errors
/// See [`Folder::install`].
pub fn install(folder: &Folder, entry: &Value) -> Result<Pass, InstallError> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match folder.install(entry) {
            Err(InstallError::Contended(_)) if left > 0 => {}
            done => return done,
        }
    }
}

fn write(path: &Path, text: &[u8], like: &Metadata) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    fchown(&file, Some(like.uid()), Some(like.gid()))?;
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()
}

fn appended(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn content(file: &Read, reason: String) -> InstallError {
    InstallError::Content(file.path.display().to_string(), reason)
}
