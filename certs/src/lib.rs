//! Certificates: the self-managed CA and serving pairs.
