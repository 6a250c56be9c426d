//! A rate with room for bursts.

use std::time::Duration;

/// Holds up to `size` tokens and gains one every `refill`.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    size: u32,
    refill: Duration,
    tokens: u32,
    /// When the last token was gained.
    gained: Duration,
}

impl TokenBucket {
    /// Full.
    pub(super) fn new(size: u32, refill: Duration, now: Duration) -> Self {
        Self {
            size,
            refill,
            tokens: size,
            gained: now,
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        self.take_leaving(0, now)
    }

    /// Takes a token, if so many are left afterwards.
    pub(super) fn take_leaving(&mut self, left: u32, now: Duration) -> bool {
        self.gain(now);
        let taken = self.tokens > left;
        self.tokens -= u32::from(taken);
        taken
    }

    /// Gives back a token that was taken.
    pub(super) fn give_back(&mut self) {
        self.tokens = self.size.min(self.tokens + 1);
    }

    /// When there is a token: now or later.
    pub(super) fn due(&self, now: Duration) -> Duration {
        if self.tokens > 0 {
            now
        } else {
            now.max(self.gained + self.refill)
        }
    }

    fn gain(&mut self, now: Duration) {
        while self.tokens < self.size && self.gained + self.refill <= now {
            self.tokens += 1;
            self.gained += self.refill;
        }
        if self.tokens == self.size {
            self.gained = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn take_all(bucket: &mut TokenBucket, now: Duration) -> u32 {
        let mut taken = 0;
        while bucket.take(now) {
            taken += 1;
        }
        taken
    }

    #[test]
    fn gives_a_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::new(3, SECOND, Duration::ZERO);
        assert_eq!(take_all(&mut bucket, Duration::ZERO), 3);
        assert_eq!(bucket.due(Duration::ZERO), SECOND);
        assert_eq!(take_all(&mut bucket, SECOND * 5 / 2), 2);
        assert_eq!(bucket.due(SECOND * 5 / 2), SECOND * 3);
        assert_eq!(take_all(&mut bucket, SECOND * 3), 1);
    }

    #[test]
    fn takes_back_a_token_that_was_not_needed() {
        let mut bucket = TokenBucket::new(3, SECOND, Duration::ZERO);
        bucket.give_back();
        assert_eq!(take_all(&mut bucket, Duration::ZERO), 3);
        bucket.give_back();
        assert_eq!(take_all(&mut bucket, Duration::ZERO), 1);
    }

    #[test]
    fn saves_no_more_than_its_size() {
        let mut bucket = TokenBucket::new(3, SECOND, Duration::ZERO);
        assert_eq!(take_all(&mut bucket, SECOND * 1000), 3);
        assert_eq!(bucket.due(SECOND * 1000), SECOND * 1001);
    }
}
