//! All histories of every scope: see `agent_simulation::explore`.

use agent_simulation::explore::{explore, scope};

#[test]
fn edits_failing_calls_and_sandboxes_that_end() {
    explore(&scope::LIFE);
}

#[test]
fn one_interface_and_failing_calls() {
    explore(&scope::ONE_INTERFACE);
}

#[test]
fn two_interfaces_and_failing_calls() {
    explore(&scope::TWO_INTERFACES);
}

#[test]
fn sandboxes_and_pods_that_end() {
    explore(&scope::SANDBOXES);
}

#[test]
fn a_disk_and_a_status_that_refuse_writes() {
    explore(&scope::WRITING);
}

#[test]
fn dependencies_that_go_and_networks_that_change() {
    explore(&scope::DEPENDENCIES);
}

#[test]
fn incidents_in_the_middle_of_the_work() {
    explore(&scope::IN_BETWEEN);
}

#[test]
fn questions_without_an_answer() {
    explore(&scope::QUESTIONS);
}

#[test]
fn networks_that_plugins_refuse() {
    explore(&scope::REFUSED);
}

#[test]
fn plugins_that_are_missing() {
    explore(&scope::MISSING_PLUGINS);
}

#[test]
fn slow_and_late_effects() {
    explore(&scope::SLOW);
}

#[test]
fn first_sight() {
    explore(&scope::FIRST_SIGHT);
}

#[test]
fn host_network() {
    explore(&scope::HOST_NETWORK);
}

#[test]
fn everything_together() {
    explore(&scope::EVERYTHING);
}

#[test]
fn edits_that_the_watch_shows_late() {
    explore(&scope::LATE_WATCH);
}
