//! What can go wrong between a plugin and its origin.

use super::Request;
use bytes::Bytes;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One way to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answer late.
    Delay(Duration),
    /// Take the request and never answer.
    Silence,
    /// Close the connection instead of answering.
    Reset,
    /// Answer with bytes that are not HTTP.
    Garbage,
    /// Answer this instead.
    Answer {
        /// Three digits.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// Content.
        body: Bytes,
    },
    /// Promise the whole content and close after so many bytes of it.
    CutBody(usize),
    /// Act as if no range had been asked for.
    IgnoreRange,
    /// Say something else in a header of the answer.
    ReplaceHeader(String, String),
}

impl Fault {
    /// An answer without content.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Bytes::new() }
    }
}

/// Which requests a fault hits, and how many of them.
struct Rule {
    reads_only: bool,
    left: u32,
    fault: Fault,
}

/// The faults of an origin; none at first.
#[derive(Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    /// Every request from now on.
    pub fn always(&self, fault: Fault) {
        self.push(false, u32::MAX, fault);
    }

    /// The next so many requests.
    pub fn next(&self, count: u32, fault: Fault) {
        self.push(false, count, fault);
    }

    /// The next so many requests for an object's bytes: GET with a `range` header, or without a query.
    pub fn next_reads(&self, count: u32, fault: Fault) {
        self.push(true, count, fault);
    }

    /// No faults any more.
    pub fn clear(&self) {
        self.rules().clear();
    }

    fn push(&self, reads_only: bool, left: u32, fault: Fault) {
        self.rules().push(Rule { reads_only, left, fault });
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault this request meets: the first rule that fits it and is not used up.
    pub(super) fn take(&self, request: &Request) -> Option<Fault> {
        let mut rules = self.rules();
        let at = rules.iter().position(|rule| rule.hits(request))?;
        let rule = &mut rules[at];
        rule.left = rule.left.saturating_sub(u32::from(rule.left != u32::MAX));
        let fault = rule.fault.clone();
        if rule.left == 0 {
            rules.remove(at);
        }
        Some(fault)
    }
}

impl Rule {
    fn hits(&self, request: &Request) -> bool {
        let reads = || request.header("range").is_some() || !request.target.contains('?');
        !self.reads_only || (request.method == "GET" && reads())
    }
}
