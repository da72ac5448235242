//! A server below HTTP, for answers that no HTTP library would give.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What becomes of a connection once the request has come.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// These bytes, then an orderly end.
    Say(&'static str),
    /// These bytes, then a reset.
    Reset(&'static str),
    /// Nothing, with the connection kept open.
    Silence,
}

/// Does the same to every connection; answers the address.
pub async fn server(act: Act) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, act));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, act: Act) {
    read_request(&mut stream).await;
    match act {
        Act::Say(bytes) => {
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Act::Reset(bytes) => {
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.flush().await;
            // No lingering: the other side sees a reset and no end.
            let _ = stream.set_zero_linger();
        }
        Act::Silence => std::future::pending().await,
    }
}

/// Head and body, by its length.
async fn read_request(stream: &mut TcpStream) {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = got.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if got.len() >= end + 4 + length {
                return;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
        }
    }
}

/// An address where nobody listens.
pub async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    listener.local_addr().expect("address")
}
