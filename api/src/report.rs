//! Where in an object, and what was found there.

use std::fmt;

use crate::diagnostic::{Code, Problem, Severity};
use crate::strict::push_field;

/// Over this, the rest of what was found in an object is only counted.
const MOST: usize = 200;

/// A place in an object; each step lives on the stack, so that a place where nothing is wrong costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    /// A field of the object itself.
    pub(crate) const fn root(field: &'a str) -> Self {
        Self { parent: None, step: Step::Field(field) }
    }

    /// A field of what stands here.
    pub(crate) const fn field(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Field(name) }
    }

    /// An item of what stands here.
    pub(crate) const fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = vec![self.step];
        let mut here = self;
        while let Some(parent) = here.parent {
            steps.push(parent.step);
            here = parent;
        }
        let mut text = String::new();
        for step in steps.iter().rev() {
            match step {
                Step::Field(name) => push_field(&mut text, name),
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        f.write_str(&text)
    }
}

/// What was found in an object, bounded.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    problems: Vec<Problem>,
    left_out: usize,
    refused: bool,
}

impl Notes {
    /// A value that is not allowed.
    pub(crate) fn error(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.put(Severity::Error, Code::Schema, at, message);
    }

    /// A value that is taken, and probably not as meant, or better written otherwise.
    pub(crate) fn warning(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.put(Severity::Warning, Code::SchemaWarning, at, message);
    }

    /// A field that is right and not served.
    pub(crate) fn unserved(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.put(Severity::Warning, Code::NotServed, at, message);
    }

    /// Anything else.
    pub(crate) fn put(&mut self, severity: Severity, code: Code, at: &At<'_>, message: impl Into<String>) {
        self.refused |= severity == Severity::Error;
        if self.problems.len() >= MOST {
            self.left_out += 1;
            return;
        }
        self.problems.push(Problem { severity, code, path: at.to_string(), message: message.into() });
    }

    /// Takes over what others found.
    pub(crate) fn extend(&mut self, problems: Vec<Problem>) {
        self.refused |= problems.iter().any(|problem| problem.severity == Severity::Error);
        let room = MOST.saturating_sub(self.problems.len());
        self.left_out += problems.len().saturating_sub(room);
        self.problems.extend(problems.into_iter().take(room));
    }

    /// Whether anything was refused.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// All of it.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        if self.left_out > 0 {
            let (severity, code) = match self.refused {
                true => (Severity::Error, Code::Schema),
                false => (Severity::Warning, Code::SchemaWarning),
            };
            let message = format!("{} more findings are left out: mend these first", self.left_out);
            self.problems.push(Problem { severity, code, path: String::new(), message });
        }
        self.problems
    }
}
