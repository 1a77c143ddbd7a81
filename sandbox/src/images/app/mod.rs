//! The programs of ours that stand for well-known images.
//!
//! Each is a hidden verb: `sandbox-node app NAME ARG…`, and serves until it is told to end.
mod echo;
mod http_echo;
mod httpbin;
mod nginx;
mod serve;

use std::ffi::OsString;
use std::io;

/// Runs the program that the first argument names.
pub fn main(arguments: &[OsString]) -> io::Result<()> {
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some((name, rest)) = words.split_first() else { return Err(io::Error::other("app: which?")) };
    match name.as_str() {
        "http-echo" => http_echo::main(rest),
        "httpbin" => httpbin::main(80, rest),
        "go-httpbin" => httpbin::main(8080, rest),
        "echo" => echo::main(),
        "echo-advanced" => echo::advanced::main(rest),
        "nginx" => nginx::main(rest),
        _ => Err(io::Error::other(format!("app {name} is not known"))),
    }
}
