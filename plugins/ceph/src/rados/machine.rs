//! What a driver drives: a [`Cluster`], or a machine that is built around one.

use super::action::{Action, LinkId};
use super::cluster::{Cluster, Status};
use super::request::{OpId, OpRequest};
use crate::msgr::{AeadFactory, Arrived, Want};
use crate::payload::Payload;
use crate::time::Now;
use std::convert::Infallible;
use std::net::IpAddr;

/// A [`Cluster`], or a machine around one that takes some of its [actions](Action) for itself and hands the others on: the file system
/// client, which speaks to metadata servers over it.
///
/// The driver's duties are those that [`Cluster`] names, and one more: it takes what [`poll_done`](Self::poll_done) has.
/// What happens to connections is told to the cluster inside, and then the machine around it [settles](Self::settle).
pub trait Machine: 'static {
    /// Bytes of objects.
    type Payload: Payload;
    /// Makes ciphers.
    type Ciphers: AeadFactory + Clone + 'static;
    /// What it tells its user beside the ends of requests on objects.
    type Done: 'static;

    /// The cluster inside.
    fn cluster(&self) -> &Cluster<Self::Payload, Self::Ciphers>;

    /// The cluster inside. Whoever calls something of it that leads to actions, calls [`settle`](Self::settle) afterwards.
    fn cluster_mut(&mut self) -> &mut Cluster<Self::Payload, Self::Ciphers>;

    /// Takes what the cluster inside has done.
    fn settle(&mut self, now: Now);

    /// What is to be done next.
    fn poll_action(&mut self) -> Option<Action<Self::Payload, <Self::Ciphers as AeadFactory>::Aead>>;

    /// What the user is to be told next.
    fn poll_done(&mut self) -> Option<Self::Done>;

    /// The number of the call that this answers; `None`: nobody asked.
    fn answers(done: &Self::Done) -> Option<u64>;

    /// What a call waits for, in words; `None`: it has ended, or there are no calls.
    fn waits_for(&self, call: u64) -> Option<String> {
        let _ = call;
        None
    }

    /// Nobody waits for this call any more.
    fn give_up(&mut self, call: u64, now: Now);

    /// Whether it can be used.
    fn status(&self) -> Status;

    /// When [`on_time`](Self::on_time) wants to be called, on the monotonic clock.
    fn next_timer(&self) -> Option<u64>;

    /// Time has passed.
    fn on_time(&mut self, now: Now);

    /// [`Cluster::want`].
    fn want(&self, link: LinkId) -> Option<Want> {
        self.cluster().want(link)
    }

    /// [`Cluster::connected`].
    fn connected(&mut self, link: LinkId, local: Option<IpAddr>, now: Now) {
        self.cluster_mut().connected(link, local, now);
        self.settle(now);
    }

    /// [`Cluster::failed`].
    fn failed(&mut self, link: LinkId, reason: &str, now: Now) {
        self.cluster_mut().failed(link, reason, now);
        self.settle(now);
    }

    /// [`Cluster::received`].
    fn received(&mut self, link: LinkId, arrived: Arrived<Self::Payload>, now: Now) {
        self.cluster_mut().received(link, arrived, now);
        self.settle(now);
    }

    /// [`Cluster::opened`].
    fn opened(&mut self, link: LinkId, plain: Option<Self::Payload>, now: Now) {
        self.cluster_mut().opened(link, plain, now);
        self.settle(now);
    }

    /// [`Cluster::sealed`].
    fn sealed(&mut self, link: LinkId, sealed: Self::Payload, now: Now) {
        self.cluster_mut().sealed(link, sealed, now);
        self.settle(now);
    }

    /// [`Cluster::written`].
    fn written(&mut self, link: LinkId, now: Now) {
        self.cluster_mut().written(link, now);
        self.settle(now);
    }

    /// [`Cluster::submit`].
    fn submit(&mut self, request: OpRequest<Self::Payload>, now: Now) -> OpId {
        let op = self.cluster_mut().submit(request, now);
        self.settle(now);
        op
    }

    /// [`Cluster::cancel`].
    fn cancel(&mut self, op: OpId, now: Now) {
        self.cluster_mut().cancel(op, now);
        self.settle(now);
    }
}

impl<P: Payload, F: AeadFactory + Clone + 'static> Machine for Cluster<P, F> {
    type Payload = P;
    type Ciphers = F;
    type Done = Infallible;

    fn cluster(&self) -> &Self {
        self
    }

    fn cluster_mut(&mut self) -> &mut Self {
        self
    }

    fn settle(&mut self, _now: Now) {}

    fn poll_action(&mut self) -> Option<Action<P, F::Aead>> {
        Self::poll_action(self)
    }

    fn poll_done(&mut self) -> Option<Infallible> {
        None
    }

    fn answers(done: &Infallible) -> Option<u64> {
        match *done {}
    }

    fn give_up(&mut self, _call: u64, _now: Now) {}

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn next_timer(&self) -> Option<u64> {
        Self::next_timer(self)
    }

    fn on_time(&mut self, now: Now) {
        Self::on_time(self, now);
    }
}
