//! A listening socket for IPv4 and IPv6 alike, on nodes that have both or only one of them.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener},
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on `address`. Where it is `[::]`, clients of both families are served: on `0.0.0.0`
/// instead where the node has no IPv6.
///
/// # Errors
/// The address cannot be bound, or this is no thread of a tokio runtime's.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_by(address, bind)
}

fn listen_by(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<StdListener>,
) -> io::Result<TcpListener> {
    let bound = match bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    };
    TcpListener::from_std(bound?)
}

fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted program takes the port over from connections that are still being closed.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The kernel has no IPv6, or it is switched off for every interface.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    const EVERYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

    #[tokio::test]
    async fn clients_of_both_families_are_served() {
        let listener = listen(EVERYWHERE).await.unwrap();
        let address = listener.local_addr().unwrap();

        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port()))
            .await
            .unwrap();
        if address.is_ipv6() && StdListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, address.port()))
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_node_without_ipv6_is_listened_on_by_ipv4() {
        for missing in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let without_ipv6 = |address: SocketAddr| match address {
                SocketAddr::V6(_) => Err(missing.into()),
                SocketAddr::V4(_) => bind(address),
            };
            let listener = listen_by(EVERYWHERE, without_ipv6).unwrap();
            assert!(listener.local_addr().unwrap().is_ipv4());
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let first = listen(EVERYWHERE).await.unwrap();
        let error = listen(first.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
