//! A task's way to the database: a relay that can be cut.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use url::Url;

use crate::world::World;

/// A relay. Dropping it ends it with all its connections.
pub(crate) struct Relay {
    port: u16,
    running: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Relay {
    /// Listens on a free port.
    pub(crate) fn start(world: &Arc<World>, cut: watch::Receiver<bool>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let port = listener.local_addr()?.port();
        let running = tokio::spawn(run(world.clone(), listener, cut)).abort_handle();
        Ok(Self { port, running })
    }

    /// The database's URL through this relay.
    pub(crate) fn lead(&self, url: &str) -> Option<String> {
        let mut url = Url::parse(url).ok()?;
        url.set_port(Some(self.port)).ok()?;
        Some(url.into())
    }
}

async fn run(world: Arc<World>, listener: TcpListener, mut cut: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // One that is cut is taken and let go: the task sees a broken connection.
                Ok((stream, _)) if !*cut.borrow() => {
                    connections.spawn(connect(world.clone(), stream));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            changed = cut.changed() => {
                if changed.is_err() {
                    return;
                }
                if *cut.borrow() {
                    connections.shutdown().await;
                }
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(world: Arc<World>, mut from: TcpStream) {
    let Some(port) = world.ports().database else { return };
    // A database that does not answer is for the task to see: its connection closes.
    let Ok(mut to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    from.set_nodelay(true).and_then(|()| to.set_nodelay(true)).unwrap_or_default();
    tokio::io::copy_bidirectional(&mut from, &mut to).await.map(drop).unwrap_or_default();
}
