//! What happens to a pod of `long_restart` that is created while the agent is away.

/// One pod. `{0}` and `{1}` are the names that multus gives to the first two unnamed elements.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Its annotations, one after the other.
    pub(crate) lists: &'static [&'static str],
    /// What it must have in the end, all of it with names.
    pub(crate) wanted: &'static str,
    /// Interfaces of that which must not be touched.
    pub(crate) kept: &'static [&'static str],
    /// It is edited before it has started.
    pub(crate) early: bool,
    /// It is deleted in the end.
    pub(crate) deleted: bool,
}

pub(crate) fn scenarios() -> [Scenario; 9] {
    let new = Scenario::new;
    [
        new("another", &["blue@hot0", "red@hot0"], "red@hot0"),
        new("early", &["blue@hot0", "red@hot0"], "red@hot0").early(),
        new("emptied", &["blue@cold", "[]"], ""),
        new("swapped", &["blue@a,red@b", "red@a,blue@b"], "red@a,blue@b"),
        new("more", &["blue@cold", "blue@cold,red@hot"], "blue@cold,red@hot").keeping(&["cold"]),
        new("back", &["blue@cold", "[]", "red@cold", "blue@cold"], "blue@cold").keeping(&["cold"]),
        new(
            "unnamed-more",
            &["blue,red", "blue,red,blue@hot"],
            "blue@{0},red@{1},blue@hot",
        )
        .keeping(&["{0}", "{1}"]),
        new(
            "unnamed-then-named",
            &["blue,red", "red@{1},blue@{0}"],
            "blue@{0},red@{1}",
        )
        .keeping(&["{0}", "{1}"]),
        new("gone", &["blue@cold", "red@hot"], "").deleted(),
    ]
}

impl Scenario {
    fn new(name: &'static str, lists: &'static [&'static str], wanted: &'static str) -> Self {
        Self {
            name,
            lists,
            wanted,
            kept: &[],
            early: false,
            deleted: false,
        }
    }

    fn keeping(self, kept: &'static [&'static str]) -> Self {
        Self { kept, ..self }
    }

    fn early(self) -> Self {
        Self { early: true, ..self }
    }

    fn deleted(self) -> Self {
        Self {
            deleted: true,
            ..self
        }
    }
}
