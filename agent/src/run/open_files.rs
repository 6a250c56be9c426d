//! How many files and sockets this process may open.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as the process may. Where systemd starts the runtime without
/// `LimitNOFILE`, it is 1,024 at first, which an agent on a full node can need.
///
/// # Errors
/// The kernel refuses.
pub fn raise_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raises_the_soft_limit_to_the_hard_one() {
        raise_limit().unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
