//! Certificates: the self-managed CA and serving pairs.
//!
//! Pure but for the random source of key generation: every decision about time takes `now` as an argument, and
//! nothing here reads a file or talks to an API server. Keys are made and used with *ring*.

mod authority;
mod pair;

pub use authority::{Authority, AuthorityError, CA_LIFETIME, SERVING_LIFETIME, service_names};
pub use pair::{Pair, PairError, expires_after};

use time::OffsetDateTime;

/// How far a certificate's beginning is put into the past, so that a peer whose clock is behind accepts it at once.
const BACKDATE: time::Duration = time::Duration::minutes(10);

/// When two thirds of a lifetime are over: the moment to renew, early enough to survive a long outage of whatever
/// renewal needs.
pub fn renewal_time(not_before: OffsetDateTime, not_after: OffsetDateTime) -> OffsetDateTime {
    not_before + (not_after - not_before) * 2 / 3
}
