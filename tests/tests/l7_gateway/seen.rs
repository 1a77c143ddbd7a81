//! What came of one request, and what is claimed of it.

use anyhow::{Result, ensure};
use heddle_tests::mesh::{Mesh, Reply};
use serde_json::Value;

/// An answer, and the request as the server got it.
pub(crate) struct Seen {
    asked: String,
    reply: Reply,
    server: Value,
}

/// `curl` in `default/client`; words of `arguments` are split at blanks, a header is written `-H name:value`.
pub(crate) fn get(mesh: &Mesh, url: &str, arguments: &str) -> Result<Seen> {
    get_from(mesh, ("default", "client"), url, arguments)
}

/// The same in another pod.
pub(crate) fn get_from(mesh: &Mesh, pod: (&str, &str), url: &str, arguments: &str) -> Result<Seen> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let reply = mesh.call_from(pod.0, pod.1, url, &words)?;
    let server = reply.json().unwrap_or_default();
    Ok(Seen { asked: format!("curl {arguments} {url}"), reply, server })
}

impl Seen {
    /// The status.
    pub(crate) fn status(self, want: u16) -> Result<Self> {
        let got = self.reply.status;
        self.claim(got == want, &format!("{got}, not {want}"))
    }

    /// Which version answered.
    pub(crate) fn by(self, want: &str) -> Result<Self> {
        let got = self.reply.header("x-version").unwrap_or_default();
        self.claim(got == want, &format!("answered by {got:?}, not {want}"))
    }

    /// The target as the server got it.
    pub(crate) fn path(self, want: &str) -> Result<Self> {
        let got = self.server["path"].clone();
        self.claim(got == want, &format!("path {got}, not {want}"))
    }

    /// The authority as the server got it.
    pub(crate) fn host(self, want: &str) -> Result<Self> {
        let got = self.server["host"].clone();
        self.claim(got == want, &format!("host {got}, not {want}"))
    }

    /// A header of the request as the server got it; `-`: none.
    pub(crate) fn sent(self, name: &str, want: &str) -> Result<Self> {
        let got = self.server["headers"][name].as_str().unwrap_or("-").to_owned();
        self.claim(got == want, &format!("request header {name}: {got:?}, not {want:?}"))
    }

    /// A header of the answer; `-`: none.
    pub(crate) fn got(self, name: &str, want: &str) -> Result<Self> {
        let got = self.reply.header(name).unwrap_or_else(|| "-".to_owned());
        self.claim(got == want, &format!("response header {name}: {got:?}, not {want:?}"))
    }

    /// The answer.
    pub(crate) fn reply(&self) -> &Reply {
        &self.reply
    }

    fn claim(self, holds: bool, why: &str) -> Result<Self> {
        ensure!(holds, "{}: {why}: {:?}", self.asked, self.reply);
        Ok(self)
    }
}
