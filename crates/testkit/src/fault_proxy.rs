//! A TCP proxy between a program and its server that counts bytes, and breaks or stops the conversation at an exact one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the program to its server.
    ToServer,
    /// From the server to the program.
    ToProgram,
}

/// What happens at the byte that it is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All connections are cut.
    Cut,
    /// Nothing passes any more, and nobody is told.
    Stall,
}

/// What the connections know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Struck(Fault),
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    to_server: AtomicU64,
    to_program: AtomicU64,
    plan: Option<(Way, u64, Fault)>,
    state: watch::Sender<State>,
}

/// A proxy on a port of its own, in front of one server. Dropping it cuts everything.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
    connections: Arc<Mutex<tokio::task::JoinSet<()>>>,
}

impl FaultProxy {
    /// A proxy in front of the server that `url` names. With a plan, exactly so many bytes pass that way, over all connections, and
    /// then the fault strikes.
    ///
    /// # Panics
    /// If the URL names no host and port, or no port is to be had.
    pub async fn start(url: &SecretString, plan: Option<(Way, u64, Fault)>) -> Self {
        let target = target(url);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its own address");
        let (to_server, to_program) = (AtomicU64::new(0), AtomicU64::new(0));
        let state = watch::Sender::new(State::Open);
        let shared = Arc::new(Shared { target, to_server, to_program, plan, state });
        let connections = Arc::new(Mutex::new(tokio::task::JoinSet::new()));
        let accepting = tokio::spawn(accept(listener, shared.clone(), connections.clone()));
        Self { address, shared, accepting, connections }
    }

    /// The same URL, through the proxy.
    ///
    /// # Panics
    /// If it is no URL.
    pub fn url(&self, url: &SecretString) -> SecretString {
        let mut url = url::Url::parse(url.expose_secret()).expect("a URL");
        url.set_ip_host(self.address.ip()).expect("a host");
        url.set_port(Some(self.address.port())).expect("a port");
        SecretString::from(String::from(url))
    }

    /// How many bytes have passed that way.
    pub fn passed(&self, way: Way) -> u64 {
        self.shared.count(way).load(Ordering::Relaxed)
    }

    /// Returns once the fault has struck.
    pub async fn struck(&self) {
        let mut state = self.shared.state.subscribe();
        // The sender lives as long as this proxy.
        state.wait_for(|state| *state != State::Open).await.ok();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Ok(mut connections) = self.connections.lock() {
            connections.abort_all();
        }
    }
}

impl Shared {
    fn count(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToProgram => &self.to_program,
        }
    }

    /// Counts bytes that are about to pass. How many of them may, and whether the fault strikes after them.
    fn take(&self, way: Way, wanted: u64) -> (u64, Option<Fault>) {
        let before = self.count(way).fetch_add(wanted, Ordering::Relaxed);
        match self.plan {
            Some((planned, after, fault)) if planned == way && before + wanted >= after => {
                (after.saturating_sub(before), Some(fault))
            }
            _ => (wanted, None),
        }
    }
}

fn target(url: &SecretString) -> SocketAddr {
    let url = url::Url::parse(url.expose_secret()).expect("a URL");
    let mut addresses = url.socket_addrs(|| Some(5432)).expect("a host and a port");
    addresses.pop().expect("an address")
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    connections: Arc<Mutex<tokio::task::JoinSet<()>>>,
) {
    while let Ok((program, _)) = listener.accept().await {
        if *shared.state.borrow() == State::Struck(Fault::Cut) {
            continue;
        }
        if let Ok(mut connections) = connections.lock() {
            connections.spawn(serve(program, shared.clone()));
        }
    }
}

async fn serve(program: TcpStream, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(shared.target).await else { return };
    let (from_program, to_program) = program.into_split();
    let (from_server, to_server) = server.into_split();
    let mut state = shared.state.subscribe();
    tokio::select! {
        () = forward(from_program, to_server, Way::ToServer, &shared) => {}
        () = forward(from_server, to_program, Way::ToProgram, &shared) => {}
        _ = state.wait_for(|state| *state == State::Struck(Fault::Cut)) => {}
    }
}

/// Forwards until one side ends, or the fault strikes. A stall never returns: both connections stay open.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, shared: &Shared) {
    let mut buffer = vec![0; 16 * 1024];
    let mut state = shared.state.subscribe();
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        if *state.borrow_and_update() != State::Open {
            return std::future::pending().await;
        }
        let (passes, fault) = shared.take(way, read as u64);
        let passes = usize::try_from(passes).unwrap_or(read).min(read);
        if to.write_all(&buffer[..passes]).await.is_err() {
            return;
        }
        if let Some(fault) = fault {
            // What may pass has reached the other side's kernel before anything is cut.
            to.flush().await.ok();
            shared.state.send_replace(State::Struck(fault));
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SecretString {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        SecretString::from(format!("postgres://127.0.0.1:{port}/x"))
    }

    async fn connect(proxy: &FaultProxy) -> TcpStream {
        TcpStream::connect(proxy.address).await.unwrap()
    }

    #[tokio::test]
    async fn exactly_so_many_bytes_pass() {
        let url = echo().await;
        for way in [Way::ToServer, Way::ToProgram] {
            let proxy = FaultProxy::start(&url, Some((way, 5, Fault::Cut))).await;
            let mut one = connect(&proxy).await;
            one.write_all(b"abc").await.unwrap();
            let mut seen = [0; 3];
            one.read_exact(&mut seen).await.unwrap();
            assert_eq!((&seen, proxy.passed(Way::ToServer)), (b"abc", 3));
            let mut two = connect(&proxy).await;
            two.write_all(b"defg").await.unwrap();
            let mut rest = Vec::new();
            two.read_to_end(&mut rest).await.ok();
            assert!(b"de".starts_with(&rest), "{rest:?}");
            proxy.struck().await;
            assert_eq!(one.read(&mut seen).await.unwrap_or(0), 0, "all are cut");
        }
    }

    #[tokio::test]
    async fn a_stall_tells_nobody() {
        let url = echo().await;
        let proxy = FaultProxy::start(&url, Some((Way::ToServer, 1, Fault::Stall))).await;
        let mut one = connect(&proxy).await;
        one.write_all(b"abc").await.unwrap();
        proxy.struck().await;
        let mut seen = [0; 1];
        let silent = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(silent, one.read(&mut seen)).await.is_err());
        let through = proxy.url(&url);
        assert!(through.expose_secret().contains(&proxy.address.port().to_string()));
    }
}
