use super::*;

const SANDBOX: &str = "5a4d";

fn call(began: u128, command: &str, interface: &str) -> SeenCall {
    SeenCall {
        began,
        ended: Some(began + 5),
        command: command.to_owned(),
        sandbox: SANDBOX.to_owned(),
        interface: interface.to_owned(),
    }
}

/// A pod with `net1`, from which `net2` was removed.
fn at_rest() -> Scene {
    let seen = ("02:00:00:00:00:01".to_owned(), vec!["10.1.1.10".to_owned()]);
    Scene {
        live: vec![LiveSandbox {
            pod: "p".to_owned(),
            id: SANDBOX.to_owned(),
            wanted: vec!["net1".to_owned()],
            foreign: vec![],
            kernel: [("net1".to_owned(), seen.clone())].into(),
            status: [("net1".to_owned(), seen)].into(),
            records: vec!["net1".to_owned()],
            cached: vec![format!("podnet-{SANDBOX}-eth0"), format!("blue-{SANDBOX}-net1")],
        }],
        ended: vec![("dead".to_owned(), vec![], vec![])],
        leases: vec![lease("10.1.1.10", SANDBOX, "net1")],
        subnets: vec!["10.1.1.".to_owned()],
        calls: vec![
            call(10, "ADD", "net1"),
            call(20, "ADD", "net2"),
            call(30, "DEL", "net2"),
            call(40, "DEL", "net2"),
        ],
    }
}

fn lease(address: &str, sandbox: &str, interface: &str) -> Lease {
    Lease {
        address: address.to_owned(),
        sandbox: sandbox.to_owned(),
        interface: interface.to_owned(),
    }
}

fn breaches_after(plant: impl FnOnce(&mut Scene)) -> Vec<Breach> {
    let mut scene = at_rest();
    plant(&mut scene);
    breaches(&scene).into_iter().collect()
}

fn named(breach: fn(String, String) -> Breach, whose: &str, what: &str) -> Vec<Breach> {
    vec![breach(whose.to_owned(), what.to_owned())]
}

#[test]
fn finds_nothing_where_all_is_well() {
    assert_eq!(breaches_after(|_| {}), []);
}

#[test]
fn expects_a_foreign_interface_without_a_record() {
    let foreign = |scene: &mut Scene| {
        let live = &mut scene.live[0];
        live.foreign.push("default".to_owned());
        live.kernel.insert("default".to_owned(), <_>::default());
        live.status.insert("default".to_owned(), <_>::default());
    };
    assert_eq!(breaches_after(foreign), []);
    let recorded = breaches_after(|scene| {
        foreign(scene);
        scene.live[0].records.push("default".to_owned());
    });
    assert_eq!(recorded, named(Breach::RecordDiffers, "p", "default"));
    let lost = breaches_after(|scene| {
        foreign(scene);
        scene.live[0].kernel.remove("default");
        scene.live[0].status.remove("default");
    });
    assert_eq!(lost, named(Breach::NotPlugged, "p", "default"));
}

#[test]
fn finds_a_lease_of_a_sandbox_that_is_gone() {
    let found = breaches_after(|scene| scene.leases.push(lease("10.1.1.11", "dead", "net1")));
    assert_eq!(found, named(Breach::LeakedLease, "dead", "10.1.1.11"));
}

#[test]
fn finds_a_lease_of_an_interface_that_was_removed() {
    let found = breaches_after(|scene| scene.leases.push(lease("10.1.1.11", SANDBOX, "net2")));
    assert_eq!(found, named(Breach::LeakedLease, SANDBOX, "10.1.1.11"));
}

#[test]
fn finds_an_address_that_nobody_reserved() {
    let found = breaches_after(|scene| scene.leases.clear());
    assert_eq!(found, named(Breach::MissingLease, "p", "10.1.1.10"));
}

#[test]
fn finds_a_link_that_nobody_wants() {
    let found = breaches_after(|scene| {
        scene.live[0]
            .kernel
            .insert("stray".to_owned(), (String::new(), vec![]));
    });
    let all = [Breach::NotWanted, Breach::RecordDiffers, Breach::StatusDiffers];
    assert_eq!(
        found,
        all.map(|breach| breach("p".to_owned(), "stray".to_owned()))
    );
}

#[test]
fn finds_a_wanted_interface_that_is_missing() {
    let found = breaches_after(|scene| scene.live[0].wanted.push("net3".to_owned()));
    assert_eq!(found, named(Breach::NotPlugged, "p", "net3"));
}

#[test]
fn finds_a_status_with_another_address() {
    let found = breaches_after(|scene| {
        if let Some((_, addresses)) = scene.live[0].status.get_mut("net1") {
            addresses.push("10.1.1.66".to_owned());
        }
    });
    assert_eq!(found, named(Breach::StatusDiffers, "p", "net1"));
}

#[test]
fn finds_a_record_of_nothing() {
    let found = breaches_after(|scene| scene.live[0].records.push("net2".to_owned()));
    assert_eq!(found, named(Breach::RecordDiffers, "p", "net2"));
}

#[test]
fn finds_a_cache_entry_of_an_interface_that_was_removed() {
    let entry = format!("blue-{SANDBOX}-net2");
    let found = breaches_after(|scene| scene.live[0].cached.push(entry.clone()));
    assert_eq!(found, named(Breach::LeakedCacheEntry, "p", &entry));
}

#[test]
fn finds_what_a_sandbox_left_behind() {
    let found = breaches_after(|scene| {
        scene.ended[0].1.push("blue-dead-net1".to_owned());
        scene.ended[0].2.push("net1".to_owned());
    });
    let expected = [
        named(Breach::LeakedCacheEntry, "dead", "blue-dead-net1"),
        named(Breach::LeakedRecord, "dead", "net1"),
    ];
    assert_eq!(found, expected.concat());
}

#[test]
fn finds_a_del_that_was_never_sent() {
    let found = breaches_after(|scene| scene.calls.retain(|call| call.command != "DEL"));
    assert_eq!(found, named(Breach::MissingDel, SANDBOX, "net2"));
}

#[test]
fn finds_two_adds_in_a_row() {
    let found = breaches_after(|scene| scene.calls.push(call(50, "ADD", "net1")));
    assert_eq!(found, named(Breach::AddedTwice, SANDBOX, "net1"));
}

#[test]
fn finds_calls_of_one_sandbox_that_overlap() {
    let found = breaches_after(|scene| scene.calls.push(call(43, "DEL", "net2")));
    assert_eq!(found, named(Breach::Overlap, SANDBOX, "net2"));
}

#[test]
fn finds_a_long_call_that_reaches_over_its_neighbour() {
    let found = breaches_after(|scene| {
        scene
            .calls
            .extend([60, 70, 80].map(|began| call(began, "DEL", "net2")));
        let first = scene.calls.len() - 3;
        scene.calls[first].ended = Some(81);
    });
    assert_eq!(found, named(Breach::Overlap, SANDBOX, "net2"));
}

#[test]
fn finds_a_call_that_began_while_one_without_an_end_may_run() {
    let found = breaches_after(|scene| {
        scene
            .calls
            .extend([60, 70].map(|began| call(began, "DEL", "net2")));
        let first = scene.calls.len() - 2;
        scene.calls[first].ended = None;
    });
    assert_eq!(found, named(Breach::Overlap, SANDBOX, "net2"));
}
