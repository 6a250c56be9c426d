//! The admission webhook: fills, refuses and validates the networks annotation.
