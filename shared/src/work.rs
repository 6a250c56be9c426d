//! Counts the steps that parsing takes, in unit tests only: they hold that parsing is linear
//! without a clock.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    static STEPS: Cell<usize> = const { Cell::new(0) };
}

/// Counts `steps` visits of a byte or of a member of an object.
#[cfg(test)]
pub(crate) fn add(steps: usize) {
    STEPS.with(|counted| counted.set(counted.get() + steps));
}

/// Counts nothing.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn add(_steps: usize) {}

/// The steps of this thread since the last call.
#[cfg(test)]
pub(crate) fn take() -> usize {
    STEPS.with(Cell::take)
}
