//! A cluster's client that tells what comes from monitors and peers, without a file system around it.

use super::{Cluster, DEADLINE_MS};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use wasmount_ceph::mon::{RequestId, Usage};
use wasmount_ceph::msgr::Message;
use wasmount_ceph::rados::{Action, Config, Machine, PeerId, Status};
use wasmount_ceph::types::{EntityAddr, entity};
use wasmount_ceph::{Now, rados};
use wasmount_ceph_native::{Aes128Gcm, Aes128GcmFactory, Client, NativeCluster};

/// The only peer.
pub const PEER: PeerId = PeerId(0);

/// What was told.
#[derive(Debug)]
pub enum Told {
    Delivered(u16),
    Usage(RequestId, Usage),
    Ready { resumed: bool },
    Reset,
    Message(Message<Bytes>),
    Lost { reason: String, permanent: bool },
    Blocklisted(String),
}

/// The machine.
pub struct Observer {
    pub cluster: NativeCluster,
    /// Where connections to these ports go instead.
    pub detours: HashMap<u16, u16>,
    actions: VecDeque<Action<Bytes, Aes128Gcm>>,
    told: VecDeque<Told>,
}

impl Machine for Observer {
    type Payload = Bytes;
    type Ciphers = Aes128GcmFactory;
    type Done = Told;

    fn cluster(&self) -> &NativeCluster {
        &self.cluster
    }

    fn cluster_mut(&mut self) -> &mut NativeCluster {
        &mut self.cluster
    }

    fn settle(&mut self, _now: Now) {
        while let Some(action) = self.cluster.poll_action() {
            let told = match action {
                Action::Delivered(message) => Told::Delivered(message.kind),
                Action::Usage { request, usage } => Told::Usage(request, usage),
                Action::PeerReady { resumed, .. } => Told::Ready { resumed },
                Action::PeerReset { .. } => Told::Reset,
                Action::PeerMessage { message, .. } => Told::Message(message),
                Action::PeerLost { reason, permanent, .. } => Told::Lost { reason, permanent },
                Action::Blocklisted { address } => Told::Blocklisted(address),
                Action::Connect { link, host, port } => {
                    let port = self.detours.get(&port).copied().unwrap_or(port);
                    self.actions.push_back(Action::Connect { link, host, port });
                    continue;
                }
                other => {
                    self.actions.push_back(other);
                    continue;
                }
            };
            self.told.push_back(told);
        }
    }

    fn poll_action(&mut self) -> Option<Action<Bytes, Aes128Gcm>> {
        self.actions.pop_front()
    }

    fn poll_done(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    fn answers(_done: &Told) -> Option<u64> {
        None
    }

    fn give_up(&mut self, _call: u64, _now: Now) {}

    fn status(&self) -> Status {
        self.cluster.status()
    }

    fn next_timer(&self) -> Option<u64> {
        self.cluster.next_timer()
    }

    fn on_time(&mut self, now: Now) {
        self.cluster.on_time(now);
        self.settle(now);
    }
}

/// An observer, and what it tells.
pub struct Observed {
    pub client: Client<Observer>,
    told: Receiver<Told>,
}

impl Observed {
    pub fn begin(mut config: Config) -> Self {
        config.services = vec![entity::OSD, entity::MDS];
        let make = move |ciphers, entropy, now| {
            let cluster = rados::Cluster::new(config, ciphers, entropy, now)?;
            let mut observer = Observer {
                cluster,
                detours: HashMap::new(),
                actions: VecDeque::new(),
                told: VecDeque::new(),
            };
            observer.settle(now);
            Ok(observer)
        };
        let (client, told) = Client::begin(make, 30_000).unwrap();
        Self { client, told }
    }

    /// Calls the cluster.
    pub fn tell<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut NativeCluster, Now) -> T + Send + 'static,
    ) -> T {
        let tell = move |observer: &mut Observer, now: Now| {
            let told = what(&mut observer.cluster, now);
            observer.settle(now);
            told
        };
        self.client.tell(tell).unwrap()
    }

    pub fn open(&self, address: EntityAddr) {
        self.tell(move |cluster, now| cluster.peer_open(PEER, address, now));
    }

    pub fn send(&self, message: Message<Bytes>) {
        self.tell(move |cluster, now| cluster.peer_send(PEER, message, now));
    }

    /// Lets connections to one port go to another.
    pub fn detour(&self, from: SocketAddr, to: SocketAddr) {
        let insert = move |observer: &mut Observer, _: Now| {
            observer.detours.insert(from.port(), to.port());
        };
        self.client.tell(insert).unwrap();
    }

    /// The next thing that was told, if something is within this time.
    pub fn within(&self, time: Duration) -> Option<Told> {
        self.told.recv_timeout(time).ok()
    }

    /// Waits for the first thing that this makes something of.
    pub fn until<T>(&self, what: impl Fn(Told) -> Option<T>) -> T {
        let begin = Instant::now();
        while let Some(left) = Duration::from_millis(DEADLINE_MS).checked_sub(begin.elapsed()) {
            match self.within(left).map(&what) {
                Some(Some(found)) => return found,
                Some(None) => {}
                None => break,
            }
        }
        panic!("it was not told");
    }

    /// Waits for the next message of the peer of this kind.
    pub fn message(&self, kind: u16) -> Message<Bytes> {
        self.until(|told| match told {
            Told::Message(message) if message.kind == kind => Some(message),
            Told::Lost { reason, permanent: true } => panic!("{reason}"),
            _ => None,
        })
    }
}

/// Where the metadata server of rank 0 is, once it is active.
pub fn active_mds(cluster: &Cluster) -> EntityAddr {
    let info = active(cluster);
    let addresses = info["addrs"]["addrvec"].as_array().unwrap();
    let address = addresses.iter().find(|address| address["type"] == "v2").unwrap();
    let nonce = u32::try_from(address["nonce"].as_u64().unwrap()).unwrap();
    EntityAddr::msgr2(address["addr"].as_str().unwrap().parse().unwrap(), nonce)
}

/// Its name: `a`.
pub fn active_name(cluster: &Cluster) -> String {
    active(cluster)["name"].as_str().unwrap().to_owned()
}

fn active(cluster: &Cluster) -> serde_json::Value {
    let begin = Instant::now();
    loop {
        let dump: serde_json::Value =
            serde_json::from_str(&cluster.run(&["ceph", "fs", "dump", "-f", "json"])).unwrap();
        let info = dump["filesystems"][0]["mdsmap"]["info"].as_object().unwrap();
        if let Some(active) = info.values().find(|info| info["state"] == "up:active") {
            return active.clone();
        }
        assert!(begin.elapsed() < Duration::from_millis(DEADLINE_MS), "no metadata server becomes active");
        std::thread::sleep(Duration::from_millis(100));
    }
}
