//! How many checks passed: what every test verb ends with.

use std::fmt;
use std::time::Instant;

use crate::failure::{Failure, Result};

/// Counts of checks; a step that is no test counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Tally {
    /// Runs a step and counts it as one check; its failure is printed and does not end the run.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result) {
        self.tests(name, || {
            step()?;
            Ok(Self { passed: 1, ..Self::default() })
        });
    }

    /// Runs a step that counts by itself; an error of the step is one failed check.
    pub(crate) fn tests(&mut self, name: &str, step: impl FnOnce() -> Result<Self>) {
        eprintln!("== {name}");
        let start = Instant::now();
        let counted = step().unwrap_or_else(|failure| {
            eprintln!("FAILED {name}: {failure}");
            Self { failed: 1, ..Self::default() }
        });
        eprintln!("== {name}: {counted} ({:.0} s)", start.elapsed().as_secs_f64());
        self.add(counted);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Prints the closing line; a failed check fails the verb.
    pub(crate) fn close(self) -> Result {
        println!("{self}");
        if self.failed == 0 && self.passed > 0 {
            return Ok(());
        }
        Err(Failure::new(if self.failed == 0 { "nothing ran" } else { "not everything passed" }))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}
