//! The part of the CRI that the agent speaks, generated without protoc.
