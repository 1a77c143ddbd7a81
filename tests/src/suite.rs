//! Many cases on one sandbox, named, chosen and counted as libtest does with its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Result, anyhow};

/// A sentence, and what shows that it holds. An assertion that fails counts as an error.
pub type Case<W> = (&'static str, fn(&W) -> Result<()>);

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wanted {
    list: bool,
    exact: bool,
    words: Vec<String>,
    skip: Vec<String>,
}

/// Brings up the world once, runs the cases in it, `threads` at a time, and says how each ended.
pub fn run<W: Sync>(up: impl FnOnce() -> Result<W>, threads: usize, cases: &[Case<W>]) -> ExitCode {
    let wanted = Wanted::read(std::env::args().skip(1));
    let chosen: Vec<&Case<W>> = cases.iter().filter(|(name, _)| wanted.takes(name)).collect();
    if wanted.list {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    println!("\nrunning {} tests", chosen.len());
    let failures = if chosen.is_empty() { Vec::new() } else { play(up, threads, &chosen) };
    if !failures.is_empty() {
        println!("\nfailures:");
        failures.iter().for_each(|(name, error)| println!("\n---- {name} ----\n{error:#}"));
    }
    let word = if failures.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        chosen.len() - failures.len(),
        failures.len(),
        cases.len() - chosen.len(),
        begun.elapsed().as_secs_f64()
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Failures = Vec<(&'static str, anyhow::Error)>;

fn play<W: Sync>(up: impl FnOnce() -> Result<W>, threads: usize, chosen: &[&Case<W>]) -> Failures {
    let world = match up() {
        Ok(world) => world,
        Err(error) => {
            chosen.iter().for_each(|(name, _)| println!("test {name} ... FAILED"));
            let none = chosen.iter().skip(1).map(|(name, _)| (*name, anyhow!("the world is not up")));
            return std::iter::once((chosen[0].0, error)).chain(none).collect();
        }
    };
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Failures::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, case)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let ended = catch_unwind(AssertUnwindSafe(|| case(&world)));
                    let ended = ended.unwrap_or_else(|panic| Err(anyhow!("{}", said(&*panic))));
                    let word = if ended.is_ok() { "ok" } else { "FAILED" };
                    println!("test {name} ... {word} <{:.1}s>", begun.elapsed().as_secs_f64());
                    if let Err(error) = ended {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push((name, error));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}

impl Wanted {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut wanted = Self::default();
        while let Some(word) = arguments.next() {
            match word.as_str() {
                "--list" => wanted.list = true,
                "--exact" => wanted.exact = true,
                "--skip" => wanted.skip.extend(arguments.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(arguments.next()),
                flag if flag.starts_with('-') => {}
                _ => wanted.words.push(word),
            }
        }
        wanted
    }

    fn takes(&self, name: &str) -> bool {
        let hit = |word: &String| if self.exact { name == word } else { name.contains(word.as_str()) };
        (self.words.is_empty() || self.words.iter().any(hit))
            && !self.skip.iter().any(|word| name.contains(word.as_str()))
    }
}
