//! What the pages of the admin server show about pods. Their handlers run on any thread; the pods
//! are on one.

use agent_core::explain::AttachmentCounts;
use tokio::sync::{mpsc, oneshot};

use crate::pods::Pods;

/// So many questions may wait.
const QUEUE: usize = 16;

/// Asks about pods.
#[derive(Clone, Debug)]
pub struct Reports(mpsc::Sender<Question>);

/// The questions that wait for [`serve`].
pub struct Questions(mpsc::Receiver<Question>);

#[derive(Debug)]
enum Question {
    Explain(String, oneshot::Sender<Option<String>>),
    Counts(oneshot::Sender<(AttachmentCounts, i64)>),
}

/// Both ends.
pub fn channel() -> (Reports, Questions) {
    let (ask, questions) = mpsc::channel(QUEUE);
    (Reports(ask), Questions(questions))
}

impl Reports {
    /// What the agent wants, sees and waits for in the pod `namespace/name`; `None`: it has nothing
    /// to do for it.
    pub async fn explain(&self, pod: String) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question::Explain(pod, reply)).await.ok()?;
        answer.await.ok().flatten()
    }

    /// Attachments by state, and pods with a worker. None before the records are read.
    pub async fn counts(&self) -> (AttachmentCounts, i64) {
        let (reply, answer) = oneshot::channel();
        // While the agent waits for the records, nothing answers: the page must not wait for that.
        if self.0.try_send(Question::Counts(reply)).is_err() {
            return Default::default();
        }
        let waited = tokio::time::timeout(std::time::Duration::from_secs(1), answer).await;
        waited.ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// Answers questions, without end.
pub async fn serve(Questions(mut questions): Questions, pods: &Pods) {
    while let Some(question) = questions.recv().await {
        // The caller may have disconnected.
        match question {
            Question::Explain(pod, reply) => drop(reply.send(pods.explain(&pod))),
            Question::Counts(reply) => drop(reply.send(pods.counts())),
        }
    }
}
