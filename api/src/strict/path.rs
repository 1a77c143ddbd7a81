//! Where in a value: `spec.template.spec.containers[0].image`.

use serde_json::Value;

/// A path while it is walked; each step lives on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// A step of a path that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Field(String),
    Index(usize),
}

impl Path<'_> {
    pub(super) fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut here = self;
        loop {
            match here {
                Path::Root => break,
                Path::Field(parent, name) => {
                    segments.push(Segment::Field((*name).to_owned()));
                    here = parent;
                }
                Path::Index(parent, index) => {
                    segments.push(Segment::Index(*index));
                    here = parent;
                }
            }
        }
        segments.reverse();
        segments
    }
}

/// As people write it; a field that is no plain word stands in brackets: `metadata.labels["a.b/c"]`.
pub(super) fn show(segments: &[Segment]) -> String {
    let mut text = String::new();
    for segment in segments {
        match segment {
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
            Segment::Field(name) => push_field(&mut text, name),
        }
    }
    text
}

/// Appends a field to a path.
pub(crate) fn push_field(text: &mut String, name: &str) {
    let plain = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if !plain {
        text.push_str(&format!("[{name:?}]"));
        return;
    }
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(name);
}

/// Takes away what stands at the path; of a list the whole, so that the places of the others stay true.
pub(super) fn remove(value: &mut Value, path: &[Segment]) -> bool {
    let Some(last) = path.iter().rposition(|segment| matches!(segment, Segment::Field(_))) else {
        return false;
    };
    let mut here = value;
    for segment in &path[..last] {
        let next = match segment {
            Segment::Field(name) => here.get_mut(name),
            Segment::Index(index) => here.get_mut(index),
        };
        let Some(next) = next else { return false };
        here = next;
    }
    match (&path[last], here.as_object_mut()) {
        (Segment::Field(name), Some(fields)) => fields.remove(name).is_some(),
        _ => false,
    }
}
