//! Certificates: the self-managed CA and serving pairs.
//!
//! Pure except for the random source of key generation: every decision about time takes `now` as an
//! argument, and no function reads a file or calls an API server. *ring* creates and uses the keys.

mod authority;
mod pair;

pub use authority::{Authority, AuthorityError, CA_LIFETIME, SERVING_LIFETIME, service_names};
pub use pair::{Pair, PairError, expires_after};

use time::OffsetDateTime;

/// How far the start of a validity lies in the past, so that a peer whose clock is behind accepts
/// the certificate at once.
const BACKDATE: time::Duration = time::Duration::minutes(10);

/// When to renew: after two thirds of a lifetime, early enough to survive a long outage of the API
/// server.
pub fn renewal_time(not_before: OffsetDateTime, not_after: OffsetDateTime) -> OffsetDateTime {
    not_before + (not_after - not_before) * 2 / 3
}
