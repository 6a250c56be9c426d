//! The node agent: plugs and unplugs pod interfaces to match the networks annotation.
