//! The rule book: everything about the networks annotation, pure. Both programs obey it; nothing here does I/O,
//! reads a clock or knows a Kubernetes client.

