//! Versions of the specification, and what each has.

use crate::error::{CniError, Code};

/// What this plugin speaks, oldest first. A configuration of any other version is refused.
pub const SUPPORTED: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The newest.
pub const NEWEST: &str = SUPPORTED[SUPPORTED.len() - 1];

/// Refuses a version that is not supported, or that came before the command did.
///
/// # Errors
/// Code 1, as the specification has it.
pub fn check(version: &str, command: &str) -> Result<(), CniError> {
    let refused = |details| CniError::new(Code::VERSION, "incompatible CNI version", details);
    let at = |version: &str| SUPPORTED.iter().position(|supported| *supported == version);
    let Some(given) = at(version) else {
        let said =
            if version.is_empty() { "no cniVersion".to_owned() } else { format!("cniVersion {version}") };
        return Err(refused(format!("the configuration has {said}; supported: {}", SUPPORTED.join(", "))));
    };
    let since = match command {
        "CHECK" => "0.4.0",
        "GC" | "STATUS" => "1.1.0",
        _ => SUPPORTED[0],
    };
    if at(since).is_some_and(|since| given < since) {
        return Err(refused(format!("cniVersion {version} has no {command}; {since} has")));
    }
    Ok(())
}
