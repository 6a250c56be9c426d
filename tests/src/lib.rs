//! The test harness: the local cluster, scripted peers, verbs.
