//! A way to a daemon that can be broken.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Passes on what comes to it, until it is told to break its connections. Its threads end with the test.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Bytes that still pass before all connections break; below 0: they do not break by themselves.
    budget: AtomicI64,
    connections: Mutex<Vec<TcpStream>>,
    made: AtomicUsize,
}

impl Proxy {
    /// In front of this address.
    pub fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            budget: AtomicI64::new(-1),
            connections: Mutex::default(),
            made: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // A daemon that is down refuses, and so does whoever stands before it.
                let Ok(server) = TcpStream::connect(to) else { continue };
                accepting.made.fetch_add(1, Ordering::Relaxed);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let shared = Arc::clone(&accepting);
                    std::thread::spawn(move || shared.pass_on(from, to));
                }
                accepting.connections.lock().unwrap().extend([client, server]);
            }
        });
        Self { address, shared }
    }

    /// Connections that were made through it.
    pub fn made(&self) -> usize {
        self.shared.made.load(Ordering::Relaxed)
    }

    /// Breaks all connections when so many more bytes have passed, wherever that is.
    pub fn break_after(&self, bytes: i64) {
        self.shared.budget.store(bytes, Ordering::Relaxed);
    }

    /// Whether the connections that [`break_after`](Self::break_after) was about are broken.
    pub fn has_broken(&self) -> bool {
        self.shared.budget.load(Ordering::Relaxed) < 0
    }

    /// Breaks all connections.
    pub fn cut(&self) {
        self.shared.cut();
    }
}

impl Shared {
    fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            // Broken already, then.
            connection.shutdown(Shutdown::Both).ok();
        }
    }

    /// Small pieces, so that it may break anywhere.
    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = [0; 512];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            let before = self.budget.load(Ordering::Relaxed);
            let passes = if before < 0 { read } else { read.min(usize::try_from(before).unwrap()) };
            if to.write_all(&piece[..passes]).is_err() {
                break;
            }
            if before >= 0 {
                let rest = self.budget.fetch_sub(i64::try_from(read).unwrap(), Ordering::Relaxed);
                if rest - i64::try_from(read).unwrap() < 0 {
                    self.budget.store(-1, Ordering::Relaxed);
                    self.cut();
                }
            }
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }
}
