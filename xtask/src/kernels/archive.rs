//! A writer of cpio archives in the form that the kernel unpacks at boot ("newc").

/// An archive under construction, in memory.
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

impl Archive {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), entries: 0 }
    }

    /// Adds a folder; those above it must be there.
    pub(super) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, &[]);
    }

    /// Adds an executable file.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, content);
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = u32::from(mode != 0);
        let (size, name_size) = (length(content.len()), length(name.len() + 1));
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name size, checksum (unused)
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The format has 32 bits for a size; what we put in is far below.
fn length(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_entry_has_its_header_name_and_content_on_four_byte_borders() {
        let mut archive = Archive::new();
        archive.folder("bin");
        archive.program("bin/x", b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let folder = 110 + 4 + 2; // "bin\0", then to the border
        assert_eq!(&bytes[folder..folder + 6], b"070701");
        assert_eq!(&bytes[folder + 54..folder + 62], b"00000005", "the size of the content");
        assert_eq!(&bytes[folder + 110..folder + 116], b"bin/x\0");
        assert_eq!(&bytes[folder + 116..folder + 121], b"hello");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("TRAILER!!!"));
    }
}
