//! What the API server said of a token, for a few seconds: an agent that asks for a hundred certificates is one question.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Digest;
use super::claims::Denial;

/// How long an answer is good for. A yes is looked at beside the pod's record and the token's end each time.
const KEEP: Duration = Duration::from_secs(10);
/// Answers of each kind that are kept.
const MOST: usize = 4096;

/// Yes and no are apart, so that those who are refused cannot drive out those who are not.
#[derive(Debug, Default)]
pub(super) struct Memory {
    good: HashMap<Digest, Instant>,
    bad: HashMap<Digest, (Instant, Denial)>,
}

impl Memory {
    /// What was said of a token, if that is not too long ago.
    pub(super) fn recall(&self, token: &Digest, now: Instant) -> Option<Result<(), Denial>> {
        let fresh = |at: Instant| now.saturating_duration_since(at) < KEEP;
        if self.good.get(token).is_some_and(|at| fresh(*at)) {
            return Some(Ok(()));
        }
        self.bad.get(token).filter(|(at, _)| fresh(*at)).map(|(_, denial)| Err(*denial))
    }

    /// Keeps an answer; of two the later one counts.
    pub(super) fn keep(&mut self, token: Digest, said: Result<(), Denial>, now: Instant) {
        self.forget(&token);
        match said {
            Ok(()) => {
                make_room(&mut self.good, |at| *at, now);
                self.good.insert(token, now);
            }
            Err(denial) => {
                make_room(&mut self.bad, |(at, _)| *at, now);
                self.bad.insert(token, (now, denial));
            }
        }
    }

    /// Forgets a token.
    pub(super) fn forget(&mut self, token: &Digest) {
        self.good.remove(token);
        self.bad.remove(token);
    }
}

fn make_room<T>(kept: &mut HashMap<Digest, T>, at: impl Fn(&T) -> Instant, now: Instant) {
    if kept.len() >= MOST {
        kept.retain(|_, entry| now.saturating_duration_since(at(entry)) < KEEP);
    }
    if kept.len() >= MOST {
        kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn an_answer_is_kept_for_ten_seconds_and_the_later_one_counts() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        memory.keep(token(1), Ok(()), start);
        assert_eq!(memory.recall(&token(1), start + Duration::from_secs(9)), Some(Ok(())));
        assert_eq!(memory.recall(&token(1), start + KEEP), None);
        memory.keep(token(1), Err(Denial::Rejected), start);
        assert_eq!(memory.recall(&token(1), start), Some(Err(Denial::Rejected)));
        memory.forget(&token(1));
        assert_eq!(memory.recall(&token(1), start), None);
    }

    #[test]
    fn ten_thousand_wrong_tokens_neither_fill_the_memory_nor_drive_out_a_good_one() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        memory.keep(token(0), Ok(()), start);
        for number in 1..10_000 {
            memory.keep(token(number), Err(Denial::Rejected), start);
        }
        assert!(memory.bad.len() <= MOST);
        assert_eq!(memory.recall(&token(0), start), Some(Ok(())));
    }
}
