//! Each step of a rotation, and what is kept in the Secret meanwhile.

use super::*;

fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn certificates(state: &CaState) -> usize {
    state.bundle().matches("BEGIN CERTIFICATE").count()
}

/// A state whose CA is due for a successor, and the moment at which it is.
fn old() -> (CaState, OffsetDateTime) {
    let mut state = CaState::default();
    assert_eq!(state.step(start(), |_| true).unwrap(), Some(Step::Created));
    let due = state.due().unwrap();
    (state, due)
}

#[test]
fn a_young_ca_is_left_alone() {
    let (mut state, due) = old();

    assert_eq!(state.step(due - Duration::seconds(1), |_| true).unwrap(), None);
}

#[test]
fn a_successor_signs_after_a_grace_period_of_trust() {
    let (mut state, now) = old();
    let first = state.active.as_ref().unwrap().certificate_pem().to_owned();
    let active = |state: &CaState| state.active.as_ref().unwrap().certificate_pem().to_owned();

    assert_eq!(state.step(now, |_| false).unwrap(), Some(Step::SuccessorCreated));
    assert_eq!((certificates(&state), active(&state)), (2, first.clone()));

    let much_later = now + GRACE * 10;
    assert_eq!(state.step(much_later, |_| false).unwrap(), None);
    assert_eq!(
        state.step(much_later, |_| true).unwrap(),
        Some(Step::SuccessorTrusted)
    );
    assert_eq!(state.due(), Some(much_later + GRACE));
    assert_eq!(
        state
            .step(much_later + GRACE - Duration::seconds(1), |_| true)
            .unwrap(),
        None
    );
    // A registration that lost the bundle meanwhile holds it up.
    assert_eq!(state.step(much_later + GRACE, |_| false).unwrap(), None);
    assert_eq!(active(&state), first);

    assert_eq!(
        state.step(much_later + GRACE, |_| true).unwrap(),
        Some(Step::SuccessorActivated)
    );
    assert_ne!(active(&state), first);
    assert_eq!(certificates(&state), 2, "the former one is still trusted");
    assert!(state.bundle().contains(&first));
}

#[test]
fn every_state_survives_the_secret() {
    let (mut state, now) = old();
    let mut data = Data::from([("mine".to_owned(), b"x".to_vec())]);
    for moment in [now, now, now + GRACE, now + GRACE] {
        let before = state.bundle();
        data = state.write(&data);
        state = CaState::read(&data, moment);
        assert_eq!(state.bundle(), before);
        assert_eq!(data["mine"], b"x");
        state.step(moment, |_| true).unwrap();
    }
    assert!(
        !state.write(&data).contains_key("next-ca.key"),
        "promoted, and not kept twice"
    );
}

#[test]
fn the_former_ca_is_forgotten_when_it_expires() {
    let (mut state, now) = old();
    for moment in [now, now, now + GRACE] {
        state.step(moment, |_| true).unwrap();
    }
    let data = state.write(&Data::new());

    assert_eq!(certificates(&CaState::read(&data, now + GRACE)), 2);
    assert_eq!(
        certificates(&CaState::read(
            &data,
            start() + certs::CA_LIFETIME + Duration::days(1)
        )),
        1
    );
}

#[test]
fn an_existing_successor_replaces_a_lost_ca() {
    let (mut state, now) = old();
    state.step(now, |_| true).unwrap();
    let mut data = state.write(&Data::new());
    data.remove("ca.key");
    let next = data["next-ca.crt"].clone();
    let mut state = CaState::read(&data, now);

    assert_eq!(state.step(now, |_| true).unwrap(), Some(Step::Created));

    assert_eq!(state.active.unwrap().certificate_pem().as_bytes(), next);
}

#[test]
fn neither_keys_nor_garbage_end_up_in_the_bundle() {
    let (state, now) = old();
    let mut data = state.write(&Data::new());
    data.insert("previous-ca.crt".to_owned(), b"garbage".to_vec());
    data.insert("next-ca.crt".to_owned(), vec![0xff; 10]);

    let bundle = CaState::read(&data, now).bundle();

    assert_eq!(bundle, state.bundle());
    assert!(!bundle.contains("PRIVATE KEY"));
}
