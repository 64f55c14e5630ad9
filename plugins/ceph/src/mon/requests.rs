//! What the monitors have been asked and have not answered yet.

use super::{RequestId, messages};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::types::Fsid;
use std::collections::BTreeMap;

/// Questions, each kept until it is answered: the next monitor is asked the same.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<RequestId, Request>,
    last: u64,
}

#[derive(Debug)]
struct Request {
    question: Question,
    /// The monitor of the present session has been asked.
    asked: bool,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// Versions of the map with this name.
    Version(String),
    /// A command in JSON.
    Command(String),
    /// The room in the cluster, or for a pool.
    Usage(Option<i64>),
}

impl Requests {
    /// Something new to ask.
    pub(super) fn add(&mut self, question: Question) -> RequestId {
        self.last += 1;
        let id = RequestId(self.last);
        self.open.insert(id, Request { question, asked: false });
        id
    }

    /// Answered, or of no interest any more; whether it was open.
    pub(super) fn remove(&mut self, id: RequestId) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Whether nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The next monitor has not been asked anything.
    pub(super) fn forget_asked(&mut self) {
        for request in self.open.values_mut() {
            request.asked = false;
        }
    }

    /// Messages for what has not been asked. Those that name the cluster wait until it is known.
    pub(super) fn messages<P: Payload>(&mut self, fsid: Option<Fsid>) -> Vec<Message<P>> {
        let unasked = self.open.iter_mut().filter(|(_, request)| !request.asked);
        let messages = unasked.filter_map(|(id, request)| {
            let message = match (&request.question, fsid) {
                (Question::Version(what), _) => messages::get_version(id.0, what),
                (Question::Command(json), Some(fsid)) => messages::command(id.0, fsid, json),
                (Question::Usage(pool), Some(fsid)) => messages::statfs(id.0, fsid, *pool),
                (Question::Command(_) | Question::Usage(_), None) => return None,
            };
            request.asked = true;
            Some(message)
        });
        messages.collect()
    }
}
