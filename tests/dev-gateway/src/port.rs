//! A port that stays ours while nobody listens on it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port that the system gives to nobody else for as long as this lives: neither to who asks for a free one, nor to a
/// client as the port that it connects from.
///
/// Connections to it are refused until somebody listens, which whoever names the port and sets `SO_REUSEADDR` may do
/// (tokio, Go, Java and Mosquitto do), again and again: Linux lets several sockets of this option be bound to a port as
/// long as at most one listens (`man 7 socket`).
pub struct HeldPort {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl HeldPort {
    /// Holds the port of this address; port 0 stands for one that is free.
    ///
    /// # Errors
    ///
    /// When somebody listens there, or the address is not this machine's.
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { address: socket.local_addr()?, _bound: socket })
    }

    /// Holds a port that is free at every address, and names it at 127.0.0.1.
    ///
    /// One that is free there alone may be a client's of another address: whoever listens at all of them is refused then.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn free() -> Self {
        // Both families, where there are two.
        let all = Self::at((Ipv6Addr::UNSPECIFIED, 0).into())
            .or_else(|_| Self::at((Ipv4Addr::UNSPECIFIED, 0).into()));
        let Self { address, _bound } = all.expect("a port is free");
        Self { address: (Ipv4Addr::LOCALHOST, address.port()).into(), _bound }
    }

    /// The address, with its port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn refuses_until_somebody_listens_and_again_afterwards() {
        let held = HeldPort::free();
        for _ in 0..2 {
            let refused = TcpStream::connect(held.address()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let listener = TcpListener::bind(held.address()).unwrap();
            drop(TcpStream::connect(held.address()).unwrap());
            assert_eq!(HeldPort::at(held.address()).err().unwrap().kind(), ErrorKind::AddrInUse);
            drop(listener);
        }
    }

    #[test]
    fn is_given_to_nobody_who_asks_for_a_free_one_at_any_address() {
        let held = HeldPort::free();
        for address in ["127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0"] {
            // More often than there are ports, each let go at once: one that is not held would come up.
            let others = (0..100_000).map(|_| TcpListener::bind(address).unwrap());
            let mut ports = others.map(|it| it.local_addr().unwrap().port());
            assert!(!ports.any(|it| it == held.port()), "{address}");
        }
    }
}
