//! A port where nobody listens.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of this machine that refuses connections for as long as this is kept. One that was only free a moment ago may be another test's
/// server by the time it is asked.
#[derive(Debug)]
pub struct ClosedPort {
    _socket: TcpSocket,
    address: SocketAddr,
}

impl ClosedPort {
    /// Takes one: bound, and never listened on.
    ///
    /// # Panics
    /// The machine has no free port.
    #[expect(clippy::new_without_default, reason = "it takes something of the machine")]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        Self { _socket: socket, address }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.address.port()
    }

    /// With the host, as it stands in a URL.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn it_refuses_connections_and_nobody_else_gets_it() {
        let port = ClosedPort::new();
        let error = TcpStream::connect(port.address()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let taken = TcpListener::bind(port.address()).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }
}
