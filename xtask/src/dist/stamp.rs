//! When and of what: the commit's time stands for the clock's, so that the same sources give the same bytes.

use std::path::Path;
use std::process::Command;

use crate::failure::Result;
use crate::process;

/// The commit that is built.
pub(super) struct Stamp {
    /// Since 1970.
    pub(super) seconds: u64,
    /// The same: `2026-01-31T12:00:00Z`.
    pub(super) time: String,
    /// Its hash; with `-dirty` where the checkout differs.
    pub(super) revision: String,
}

impl Stamp {
    pub(super) fn of_commit(checkout: &Path) -> Result<Self> {
        let git = |arguments: &[&str]| {
            let output =
                process::output(Command::new("git").current_dir(checkout).env("TZ", "UTC").args(arguments));
            output.map(|text| text.trim().to_owned())
        };
        let Ok(seconds) = git(&["log", "-1", "--format=%ct"]) else {
            // An archive of the sources has no commit.
            return Ok(Self::unknown());
        };
        let time = git(&["log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd"])?;
        let mut revision = git(&["rev-parse", "HEAD"])?;
        if !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
            revision.push_str("-dirty");
        }
        Ok(Self { seconds: seconds.parse().unwrap_or_default(), time, revision })
    }

    pub(super) fn unknown() -> Self {
        Self { seconds: 0, time: "1970-01-01T00:00:00Z".to_owned(), revision: "unknown".to_owned() }
    }
}
