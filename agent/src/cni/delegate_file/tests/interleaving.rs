//! Another program writes, replaces and removes the file between any two system calls of ours, and
//! the agent crashes between any two.

use std::cell::RefCell;

use proptest::prelude::*;

use super::{
    super::exchange::{Step, Steps, update},
    *,
};

/// What another program does to the file.
#[derive(Clone, Copy, Debug)]
enum Act {
    Remove,
    /// As multus writes: into the file, or a new one.
    Write(u8),
    /// As a program that renames.
    Replace(u8),
}

/// Another program, and a crash, at numbered steps.
struct Other<'a> {
    file: &'a Path,
    acts: Vec<(usize, Act)>,
    crash: Option<usize>,
    step: usize,
    /// What this program wrote last; `None`: it removed the file.
    last: RefCell<Option<String>>,
}

impl Steps for Other<'_> {
    fn at(&mut self, _: Step) -> Result<(), DelegateFileError> {
        for (_, act) in self.acts.iter().filter(|(step, _)| *step == self.step) {
            self.act(*act);
        }
        let crashed = self.crash == Some(self.step);
        self.step += 1;
        if crashed {
            return Err(DelegateFileError::Contended(PathBuf::from("crash")));
        }
        Ok(())
    }
}

impl Other<'_> {
    fn act(&self, act: Act) {
        let content = |salt: u8| COLD.replace("second", &format!("written-{salt}-at-{}", self.step));
        let written = match act {
            Act::Remove => {
                let _ = fs::remove_file(self.file);
                None
            }
            Act::Write(salt) => {
                fs::write(self.file, content(salt)).unwrap();
                Some(content(salt))
            }
            Act::Replace(salt) => {
                let beside = self.file.with_file_name("beside");
                fs::write(&beside, content(salt)).unwrap();
                fs::rename(&beside, self.file).unwrap();
                Some(content(salt))
            }
        };
        *self.last.borrow_mut() = written;
    }
}

/// Runs one change beside `acts` and `crash`, the sweep after a crash, and checks what is left.
fn change_beside(acts: Vec<(usize, Act)>, crash: Option<usize>, removes: bool) {
    let scene = format!("{acts:?}, crash {crash:?}, removes {removes}");
    let (dir, file) = directory(COLD);
    append(dir.path(), &sandbox(), &entry("red", "hot1")).unwrap();
    let ours = entry::text(&entry("blue", "hot0")).unwrap();
    let mut other = Other {
        file: &file,
        acts,
        crash,
        step: 0,
        last: RefCell::new(Some(COLD.to_owned())),
    };
    let outcome = update(
        dir.path(),
        &sandbox(),
        |_, list| {
            Ok(if removes {
                list.without(&interface("hot1"), &network("red"))
            } else {
                list.with(&interface("hot0"), &ours)
            })
        },
        &mut other,
    );
    if outcome.is_err() {
        assert!(
            other.crash.is_some_and(|crash| crash < other.step),
            "{scene}: {outcome:?}"
        );
        sweep(dir.path()).unwrap();
        assert_eq!(sweep(dir.path()).unwrap(), 0, "{scene}");
    }
    assert_eq!(litter(&dir), [""; 0], "{scene}");
    let last = other.last.take();
    assert_eq!(file.exists(), last.is_some(), "{scene}: made again, or lost");
    let Some(last) = last else {
        let written = matches!(outcome, Ok(Outcome::Written));
        assert!(!written, "{scene}: written into a file that is gone");
        return;
    };
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(others(&text), last, "{scene}: bytes of others");
    // The last try has five steps; what the other program writes in it may come after ours.
    let is_undisturbed = other.acts.iter().all(|(step, _)| step + 5 < other.step);
    if is_undisturbed && matches!(outcome, Ok(Outcome::Written)) {
        let is_listed = listed(&file).contains(&"default/blue@hot0".to_owned());
        assert_ne!(is_listed, removes, "{scene}");
    }
}

#[test]
fn another_program_and_a_crash_at_every_step_lose_nothing() {
    let mut acts: Vec<Vec<(usize, Act)>> = vec![Vec::new()];
    for step in 0..10 {
        for act in [Act::Remove, Act::Write(1), Act::Replace(2)] {
            acts.push(vec![(step, act)]);
        }
    }
    for acts in acts {
        for crash in (0..14).map(Some).chain([None]) {
            for removes in [false, true] {
                change_beside(acts.clone(), crash, removes);
            }
        }
    }
}

#[test]
fn a_change_whose_file_was_exchanged_outlives_a_crash() {
    for (crash, is_listed) in [(0, false), (1, false), (2, true), (3, true), (4, true)] {
        let (dir, file) = directory(COLD);
        let ours = entry::text(&entry("blue", "hot0")).unwrap();
        let mut other = Other {
            file: &file,
            acts: Vec::new(),
            crash: Some(crash),
            step: 0,
            last: RefCell::new(None),
        };
        let edit = |_: &Path, list: &List<'_>| Ok(list.with(&interface("hot0"), &ours));
        update(dir.path(), &sandbox(), edit, &mut other).unwrap_err();
        sweep(dir.path()).unwrap();
        let listed = listed(&file).contains(&"default/blue@hot0".to_owned());
        assert_eq!(listed, is_listed, "crash at step {crash}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn any_writes_of_another_program_lose_nothing(
        acts in proptest::collection::vec((0_usize..24, prop_oneof![
            Just(Act::Remove),
            any::<u8>().prop_map(Act::Write),
            any::<u8>().prop_map(Act::Replace),
        ]), 0..6),
        removes in any::<bool>(),
    ) {
        change_beside(acts, None, removes);
    }
}

#[test]
fn a_program_that_never_stops_writing_is_given_up() {
    let (dir, file) = directory(COLD);
    let ours = entry::text(&entry("blue", "hot0")).unwrap();
    let acts = (0..1000).map(|step| (step, Act::Replace(u8::try_from(step % 250).unwrap())));
    let mut other = Other {
        file: &file,
        acts: acts.collect(),
        crash: None,
        step: 0,
        last: RefCell::new(None),
    };
    let edit = |_: &Path, list: &List<'_>| Ok(list.with(&interface("hot0"), &ours));
    let outcome = update(dir.path(), &sandbox(), edit, &mut other);
    assert!(
        matches!(outcome, Err(DelegateFileError::Contended(_))),
        "{outcome:?}"
    );
}
