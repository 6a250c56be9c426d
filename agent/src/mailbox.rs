//! How a worker hears of its pod: the latest state only, whatever came before it, and what may have cured its failures.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use shared::names::NetworkName;
use tokio::sync::Notify;

use crate::pod::Pod;

/// What the watch says about a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Known {
    /// The first list has not come yet: absence means nothing.
    #[default]
    Unknown,
    /// It exists.
    Present(Rc<Pod>),
    /// It does not exist (any more).
    Gone,
}

/// Something that may have cured failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cured {
    /// Multus can be reached again.
    Multus,
    /// The network is at this version now.
    Network(NetworkName, Option<String>),
    /// The API server can be reached again, or records can be written again. Whatever has failed may have failed for that.
    Anything,
}

/// One pod's mailbox. Any number of letters while the worker is busy is one look afterwards.
#[derive(Debug, Default)]
pub struct Mailbox {
    known: RefCell<Known>,
    cured: RefCell<Vec<Cured>>,
    news: Cell<bool>,
    notify: Notify,
}

impl Mailbox {
    /// The pod's latest state.
    pub fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// Tells a new state of the pod.
    pub fn tell(&self, known: Known) {
        self.known.replace(known);
        self.nudge();
    }

    /// Tells of a cure.
    pub fn cure(&self, cured: Cured) {
        self.cured.borrow_mut().push(cured);
        self.nudge();
    }

    /// Asks for another look.
    pub fn nudge(&self) {
        self.news.set(true);
        self.notify.notify_one();
    }

    /// Something has come that has not been taken.
    pub fn has_news(&self) -> bool {
        self.news.get()
    }

    /// Takes everything that has come.
    pub fn take(&self) -> (Known, Vec<Cured>) {
        self.news.set(false);
        (self.known(), self.cured.take())
    }

    /// Returns when something has come.
    pub async fn wait(&self) {
        while !self.has_news() {
            self.notify.notified().await;
        }
    }
}
